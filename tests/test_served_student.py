"""A student trained here, behind a real OpenAI-compatible server: the same completions as on this machine, by both routes."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from evalkit.jobs.run import read_rows

STEPS = {"max_steps": 150, "per_device_train_batch_size": 8, "save_steps": 150, "learning_rate": 5e-3}


def problem(i: int) -> dict[str, object]:
    word, op = [("sum", "+"), ("difference", "-"), ("product", "*")][i % 3]
    prompt = f'def {word}_{i}(a, b):\n    """Return the {word} of a and b."""'
    return {
        "id": f"toy/{i}",
        "suite": "toy",
        "prompt": prompt,
        "entry_point": f"{word}_{i}",
        "tests": [f"assert {word}_{i}(3, 2) == {eval(f'3 {op} 2')}"],
        "solution": f"{prompt}\n    return a {op} b\n",
    }


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model that has learned three operators, and the problems it is asked."""
    folder = tmp_path_factory.mktemp("served")
    data = folder / "data"
    data.mkdir()
    rows = [json.dumps({"problem": problem(i), "evidence": {}}) for i in range(48)]
    (data / "train.jsonl").write_text("\n".join(rows) + "\n")
    (folder / "asked.jsonl").write_text("".join(json.dumps({"problem": problem(i)}) + "\n" for i in range(50, 62)))
    recipe = {
        "method": "sft",
        "output": str(folder / "run"),
        "data": {"folder": str(data)},
        "tokenizer": {"vocab_size": 300},
        "student": {"layers": 2, "hidden": 32, "heads": 2},
        "eval": {"samples": 0},
        "training": STEPS,
    }
    (folder / "recipe.json").write_text(json.dumps(recipe))
    command("distill", "train", str(folder / "recipe.json"))
    return folder


@pytest.fixture(scope="module")
def server(student: Path) -> Iterator[str]:
    """`transformers serve` on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = "from transformers.cli.transformers import main; main()"
    with (student / "server.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", code, "serve", str(student / "run/model"), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"],
            stdout=log, stderr=log, env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )  # fmt: skip
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)
                break
            except OSError:
                if process.poll() is not None:
                    pytest.fail(f"the server ended: {(student / 'server.log').read_text()[-800:]}")
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait()


def command(name: str, *arguments: str) -> None:
    code = f"from {name}.cli import main; main()"
    environment = {key: value for key, value in os.environ.items() if key != "OPENAI_API_KEY"}
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("route", ["completions", "chat"])
def test_the_same_completions_as_without_a_server(student: Path, server: str, route: str) -> None:
    model, common = str(student / "run/model"), ("--file", str(student / "asked.jsonl"), "--max-new-tokens", "40")
    command("evalkit", "run", "heldout", "--model", model, "--out", str(student / f"local-{route}"), *common)
    served = ("--endpoint", server, "--model", model, "--route", route, "--out", str(student / route))
    command("evalkit", "run", "heldout", *served, *common)
    here, there = read_rows(student / f"local-{route}"), read_rows(student / route)
    assert not any(row.error for row in there)
    passed = [row.problem_id for row in here if row.verdict and row.verdict.passed]
    assert len(passed) >= 6, "the student should have learned its three operators"
    assert passed == [row.problem_id for row in there if row.verdict and row.verdict.passed]
    if route == "completions":
        assert [row.completion.text for row in here] == [row.completion.text for row in there]
