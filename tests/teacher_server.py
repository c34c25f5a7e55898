"""The built-in teacher as a process of its own, on a port."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2


@contextmanager
def teacher(port: int, *options: str) -> Iterator[str]:
    command = [
        sys.executable,
        "-c",
        "from synth.cli import main; main()",
        "serve-teacher",
        "--port",
        str(port),
        *options,
    ]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    for _ in range(100):
        assert process.poll() is None, "the teacher ended"
        try:
            if httpx2.get(f"{url}/health").status_code == 200:
                break
        except httpx2.TransportError:
            time.sleep(0.1)
    try:
        yield f"{url}/v1"
    finally:
        process.kill()
        process.wait()
