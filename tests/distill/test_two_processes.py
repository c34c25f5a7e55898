"""One process and two (gloo) take the same optimizer step."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from toy import toy_recipe


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


def under_torchrun(folder: Path) -> None:
    """Train by the folder's recipe.json, in two processes."""
    program = "import sys; from distill.cli import app; app(['train', sys.argv[1]])"
    (folder / "program.py").write_text(program)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launcher, str(folder / "program.py"), str(folder / "recipe.json")],
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_two_processes_remember_one_teacher(toy_dataset: Path, tmp_path: Path):
    """Each reads what the other wrote: a run of three epochs learns what one does whose teacher reads all rows anew."""
    from safetensors.torch import load_file

    from distill.jobs.train import train

    train(toy_recipe(toy_dataset, tmp_path / "teacher"))
    products = []
    for gib in (2.0, 0.0):
        recipe = {
            "method": "kd",
            "teacher": str(tmp_path / "teacher" / "model"),
            "output": str(tmp_path / f"run-{gib}"),
            "teacher_memory": gib,
            "data": {"folder": str(toy_dataset)},
            "student": {"layers": 1, "hidden": 16, "heads": 2},
            "eval": {"samples": 0},
            "training": {"num_train_epochs": 3, "per_device_train_batch_size": 4, "learning_rate": 1e-3},
        }
        (tmp_path / "recipe.json").write_text(json.dumps(recipe))
        under_torchrun(tmp_path)
        products.append(load_file(tmp_path / f"run-{gib}" / "model" / "model.safetensors"))
        assert not list((tmp_path / f"run-{gib}").glob("teacher-*"))
    one, two = products
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_a_whole_run_under_torchrun(toy_dataset: Path, tmp_path: Path):
    """Two processes make one run: one tokenizer, one set of evaluations, one product; an early stop stops both."""
    recipe = {
        "method": "sft",
        "output": str(tmp_path / "run"),
        "data": {"folder": str(toy_dataset)},
        "tokenizer": {"vocab_size": 300},
        "student": {"layers": 1, "hidden": 16, "heads": 2},
        "eval": {"every": 2, "samples": 3, "max_new_tokens": 6, "patience": 1, "metric": "syntax_valid"},
        "guard": {"enabled": False},
        "training": {"max_steps": 60, "per_device_train_batch_size": 4, "save_steps": 20, "logging_steps": 10},
    }
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    under_torchrun(tmp_path)
    steps = [json.loads(line)["step"] for line in (tmp_path / "run" / "evaluations.jsonl").read_text().splitlines()]
    assert steps == list(range(2, steps[-1] + 1, 2))
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["steps"] == steps[-1]
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()
