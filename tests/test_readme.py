"""Every command of the README is run as it stands there, in a small world where its files and servers exist."""

import gzip
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import uvicorn
from teacher_server import teacher

from synth.teacher.app import MODEL, create_app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
TOOLS = ("make", "synth", "distill", "evalkit")

HUMANEVAL = {
    "task_id": "HumanEval/0",
    "prompt": 'def double(x):\n    """Return twice x."""\n',
    "canonical_solution": "    return 2 * x\n",
    "test": "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(-1) == -2\n",
    "entry_point": "double",
}


def commands() -> list[str]:
    """Lines of code blocks and inline code that start with one of the tools, without their comments."""
    lines = [line.strip() for line in README.splitlines() if line.startswith("    ")]
    inline = [code.replace("\n", " ") for code in re.findall(r"`([^`]+)`", README)]
    found = [text.split("   #")[0].strip() for text in lines + inline]
    return list(dict.fromkeys(text for text in found if re.match(rf"({'|'.join(TOOLS)}) [a-z]", text)))


class Fixed(BaseHTTPRequestHandler):
    """An OpenAI-compatible model that always answers the same."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        message = {"role": "assistant", "content": f"```python\n{HUMANEVAL['prompt']}    return x + x\n```"}
        answer = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}, "choices": [{"index": 0, "finish_reason": "stop", "message": message}]}  # fmt: skip
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def model_url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Fixed)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()


@pytest.fixture(scope="module")
def teacher_url() -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(create_app(), port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.05)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, teacher_url: str) -> Path:
    """A working folder with what the README speaks of: a finished run, a recipe, a benchmark file, `my-recipe.yaml`."""
    folder = tmp_path_factory.mktemp("world")
    block = re.search(r"with, in `my-recipe.yaml`,\n\n((?:    .*\n)+)", README)
    assert block, "the README shows my-recipe.yaml"
    mine = re.sub(r"^    ", "", block[1], flags=re.MULTILINE)
    mine = mine.replace("https://host/v1", teacher_url).replace("NAME", MODEL).replace("tasks: 500", "tasks: 60")
    (folder / "my-recipe.yaml").write_text(mine + "splits: {heldout: 5, validation: 5}\n")
    (folder / "data.yaml").write_text("output: data\ntasks: 90\nsplits: {heldout: 5, validation: 5}\n")
    (folder / "recipe.yaml").write_text(
        "method: sft\noutput: runs/quickstart/kd\ndata: {folder: data}\ntokenizer: {vocab_size: 300}\n"
        "student: {layers: 1, hidden: 16, heads: 2}\neval: {samples: 2, max_new_tokens: 8}\n"
        "training: {max_steps: 300, per_device_train_batch_size: 2}\n"
    )
    (folder / "cache.yaml").write_text("output: cache\nteacher: runs/quickstart/kd/model\ndata: {folder: data}\n")
    program = {"id": "1", "language": "c", "program": "int one(void) { return 1; }", "entry_point": "one"}
    (folder / "programs.jsonl").write_text(json.dumps(program) + "\n")
    with gzip.open(folder / "HumanEval.jsonl.gz", "wt") as file:
        file.write(json.dumps(HUMANEVAL) + "\n")
    execute("synth generate data.yaml", folder)
    execute("distill train recipe.yaml --set training.max_steps=4", folder)
    return folder


def execute(command: str, folder: Path) -> str:
    tool, *arguments = shlex.split(command)
    program = [sys.executable, "-c", f"from {tool}.cli import main; main()"] if tool != "make" else ["make", "-n", "-C", str(ROOT)]  # fmt: skip
    done = subprocess.run(
        [*program, *arguments], cwd=folder, capture_output=True, text=True, env={**os.environ, "OPENAI_API_KEY": "k"}
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def serve(command: str, folder: Path) -> None:
    """Start it on a free port, wait for its line, ask it, end it."""
    program = [sys.executable, "-c", "from evalkit.cli import main; main()", *shlex.split(command)[1:]]
    program[-1] = "0"
    with subprocess.Popen(program, cwd=folder, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        said = next(line for line in server.stderr if "http://" in line)
        url = re.search(r"http://\S+", said)
        assert url
        with urllib.request.urlopen(f"{url[0]}/models", timeout=60) as answer:
            assert json.load(answer)["data"][0]["id"] == "kd"
        server.send_signal(signal.SIGINT)
        assert server.wait(60) == 0


def test_the_readme_has_commands() -> None:
    assert {"make quickstart", "make test", "evalkit suites", "synth generate my-recipe.yaml"} <= set(commands())


@pytest.mark.slow
def test_every_command_runs_as_written(world: Path, model_url: str) -> None:
    """In their order: later ones read what earlier ones wrote."""
    for command in commands():
        if command.startswith("distill train recipe.yaml"):
            command = f"{command} --set training.max_steps=4"  # the run that the fixture has finished
        if command.startswith("distill preflight"):
            command = f"{command} --set training.max_steps=4 --set output=looked-over"
        if command.startswith("evalkit serve"):
            serve(command, world)
            continue
        if command.startswith("synth serve-teacher"):
            with teacher(8811, *shlex.split(command)[2:]):  # it serves until it is ended
                continue
        execute(command.replace("http://127.0.0.1:8000/v1", model_url).replace("NAME", "m"), world)
    assert "kd" in (world / "report.html").read_text()
    assert json.loads((world / "runs/served/summary.json").read_text())["passed"] == 1
    assert json.loads((world / "runs/mine/summary.json").read_text())["kept"] > 30
