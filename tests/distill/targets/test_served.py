"""A served teacher: asked once by a real server, journalled, and the same as the teacher itself where all ids are said."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from toy import toy_recipe

from evalkit.errors import EndpointError, ModelError


@pytest.fixture(scope="module")
def teacher(toy_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from distill.jobs.train import train

    folder = tmp_path_factory.mktemp("teacher") / "run"
    train(toy_recipe(toy_dataset, folder, tokenizer={"vocab_size": 300}))
    return folder / "model"


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """`evalkit serve` on a port of its own, in this process."""
    from evalkit.models.folder import load_folder
    from evalkit.serving.engine import Engine
    from evalkit.serving.port import bind
    from evalkit.serving.server import Server

    with bind("127.0.0.1", 0) as bound:
        up = threading.Event()
        server = Server(Engine(*load_folder(folder, None), 8), "teacher", bound, up.set)
        thread = threading.Thread(target=server.run_until_signal, daemon=True)
        thread.start()
        assert up.wait(60)
        try:
            yield f"http://127.0.0.1:{bound.getsockname()[1]}/v1"
        finally:
            server.should_exit = True
            thread.join(30)


def recipe(dataset: Path, output: Path, url: str, tokenizer: Path, k: int = 300, **more: Any):
    sections = {"method": "kd", "served": {"base_url": url, "model": "teacher", "k": k}, "loss": {"alpha": 0.2}}
    return toy_recipe(dataset, output, **(sections | {"tokenizer": {"path": str(tokenizer)}} | more))


@pytest.mark.parametrize("divergence", ["forward_kl", pytest.param("jsd", marks=pytest.mark.slow)])
def test_all_ids_said_is_the_teacher_itself(divergence: str, toy_dataset: Path, teacher: Path, tmp_path: Path):
    from distill.jobs.train import train

    loss = {"alpha": 0.2, "divergence": divergence}
    with serving(teacher) as url:
        one = train(recipe(toy_dataset, tmp_path / "served", url, teacher, loss=loss))
    other = train(
        toy_recipe(toy_dataset, tmp_path / "local", method="kd", teacher=str(teacher), tokenizer={}, loss=loss)
    )
    for a, b in zip(one["log"], other["log"], strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-3)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-2)


def test_a_server_is_asked_once(toy_dataset: Path, teacher: Path, tmp_path: Path):
    """Its answers are in the run: training again under a server that is gone goes on from them."""
    from distill.jobs.train import train

    with serving(teacher) as url:
        made = recipe(toy_dataset, tmp_path / "run", url, teacher, k=5)
        train(made)
    (tmp_path / "run" / "summary.json").unlink()
    assert train(made)["steps"] == 4
    assert json.loads((tmp_path / "run" / "targets" / "summary.json").read_text())["k"] == 5


def test_another_tokenizer_is_refused(toy_dataset: Path, teacher: Path, tmp_path: Path):
    from distill.jobs.train import train

    train(toy_recipe(toy_dataset, tmp_path / "other", tokenizer={"vocab_size": 280}))
    with serving(teacher) as url, pytest.raises(ModelError, match="the server"):
        train(recipe(toy_dataset, tmp_path / "run", url, tmp_path / "other" / "model", k=280))


class Deaf(BaseHTTPRequestHandler):
    """Answers as servers do that ignore prompt_logprobs."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps(
            {"choices": [{"text": "x", "finish_reason": "stop"}], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
        ).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


def test_a_server_that_does_not_score_is_refused(toy_dataset: Path, teacher: Path, tmp_path: Path):
    from distill.jobs.train import train

    server = ThreadingHTTPServer(("127.0.0.1", 0), Deaf)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(EndpointError, match="did not score the prompt"):
            train(recipe(toy_dataset, tmp_path / "run", f"http://127.0.0.1:{server.server_port}/v1", teacher))
    finally:
        server.shutdown()
