"""One process and two (gloo) take the same optimizer step."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


WORKER = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import torch
from test_invariances import gradient
found = gradient(sys.argv[3], Path(sys.argv[2]), accumulation=2, processes=2)
if os.environ["RANK"] == "0":
    torch.save({name.removeprefix("module."): grad for name, grad in found.items()}, Path(sys.argv[2]) / "two.pt")
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sft", "kd", "cached"])
def test_two_processes_have_the_gradient_of_one(method: str, tmp_path: Path):
    from test_invariances import gap, gradient

    common = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(Path(__file__).parent), str(tmp_path), method],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank), "ACCELERATE_USE_CPU": "true"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for worker in workers:
        _, errors = worker.communicate(timeout=240)
        assert worker.returncode == 0, errors[-3000:]
    assert gap(gradient(method, tmp_path / "one"), torch.load(tmp_path / "two.pt")) < 1e-6
