"""`evalkit serve` as a user meets it: its line, its end, its errors; and a suite scored through it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from serving_model import CLIENT, NAME, Served, make_model, make_tokenizer

from evalkit.endpoint import Endpoint
from evalkit.errors import ConfigError
from evalkit.jobs.run import RunRecipe, read_rows, run
from evalkit.jobs.serve import default_name
from evalkit.serving.port import bind

COMMAND = [sys.executable, "-c", "from evalkit.cli import main; main()", "serve"]


def save(folder: Path) -> Path:
    tokenizer = make_tokenizer()
    make_model(tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("route", ["completions", "chat"])
def test_a_suite_scores_the_same_behind_the_server(server: Served, tmp_path: Path, route: str, monkeypatch) -> None:
    monkeypatch.setattr(server.tokenizer, "chat_template", "{{ messages[0].content }}")
    endpoint = Endpoint(base_url=server.url, model=NAME, route=route)
    common = {"suite": "mini-humaneval", "max_new_tokens": 20}
    run(RunRecipe(model=str(save(tmp_path / "model")), **common), tmp_path / "local")
    run(RunRecipe(endpoint=endpoint, **common), tmp_path / "served")
    here, there = read_rows(tmp_path / "local"), read_rows(tmp_path / "served")
    assert len(here) == len(there) > 0
    assert not any(row.error for row in there)
    for a, b in zip(here, there, strict=True):
        assert (a.problem_id, a.passed) == (b.problem_id, b.passed)
        if route == "completions":
            assert a.completion.text == b.completion.text
            assert a.completion.finish_reason == b.completion.finish_reason


@contextmanager
def command(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen([*COMMAND, *arguments], stderr=subprocess.PIPE, text=True, env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_is_and_a_signal_ends_it_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    folder = save(tmp_path / "run/model")
    with command(str(folder), "--port", "0", "--device", "cpu", "--max-batch", "2") as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.fullmatch(
            r"run at (http://127\.0\.0\.1:\d+/v1) \(([\d,]+) parameters on cpu\); Ctrl-C ends it\n", line
        )
        assert found, line
        assert int(found[2].replace(",", "")) > 10_000
        with CLIENT.stream("POST", f"{found[1]}/completions", json={"model": "run", "prompt": "x", "n": 4000, "max_tokens": 200, "stream": True}) as got:  # fmt: skip
            lines = got.iter_lines()
            assert next(lines).startswith("data: ")
            process.send_signal(number)
            last = [line for line in lines if line][-1]
        assert json.loads(last.removeprefix("data: "))["error"]["code"] == "shutting_down"
        assert process.wait(15) == 0
        assert process.stderr.read() == ""


def port_of(listening: socket.socket) -> str:
    return str(listening.getsockname()[1])


def test_a_taken_port_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, command(str(tmp_path), "--port", port_of(other)) as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert len(said.splitlines()) == 1
    assert "--port: cannot listen on port" in said


def test_odd_addresses_are_config_errors() -> None:
    for host in ("no.such.host.invalid", "256.0.0.1", "x" * 300, "198.51.100.7"):
        with pytest.raises(ConfigError, match="cannot listen"):
            bind(host, 0)


def test_a_device_that_is_not_here_is_a_config_error(tmp_path: Path) -> None:
    from evalkit.models.folder import load_folder

    folder = save(tmp_path / "model")
    for device in ("cuda:99", "nonsense", "meta"):
        with pytest.raises(ConfigError, match="no device"):
            load_folder(folder, device)


def test_the_name_is_the_folders_or_its_runs(tmp_path: Path) -> None:
    assert default_name(tmp_path / "kd") == "kd"
    assert default_name(tmp_path / "kd/model") == "kd"
