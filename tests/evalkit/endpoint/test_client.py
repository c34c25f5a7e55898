"""The client against a real server: nothing is paid twice, nothing is lost, the budget holds, the key stays secret."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from endpoint_server import MODEL, Server
from starlette.responses import JSONResponse, Response

from evalkit.endpoint import Answer, Endpoint, Journal, Request, ask_many
from evalkit.endpoint.answer import key_of
from evalkit.errors import ConfigError, DataError, EndpointError, NotServed


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.stop()


def endpoint(server: Server, **changes: Any) -> Endpoint:
    return Endpoint(**{"base_url": server.url, "model": MODEL, "max_concurrency": 8, **changes})


def requests(number: int) -> list[Request]:
    return [Request(id=str(i), messages=({"role": "user", "content": f"q{i}"},)) for i in range(number)]


def key(request: Request) -> str:
    return key_of(request.content(MODEL, {}))


def priced_key(request: Request) -> str:
    return key_of(request.content(MODEL, {"max_tokens": 200}))


def test_answers_come_in_order_and_are_never_asked_twice(server: Server, tmp_path: Path) -> None:
    with Journal(tmp_path / "j.sqlite") as journal:
        first = ask_many(endpoint(server), journal, requests(50))
        again = ask_many(endpoint(server), journal, requests(60))
    assert list(again) == [str(i) for i in range(60)]
    assert all(isinstance(answer, Answer) for answer in again.values())
    assert [getattr(first[str(i)], "text", None) for i in range(50)] == [f"answer to q{i}" for i in range(50)]
    assert set(server.answered.values()) == {1}


@pytest.mark.slow
def test_faults_are_tried_again(server: Server, tmp_path: Path) -> None:
    server.failing = {
        "q0": [JSONResponse({"error": {"message": "busy"}}, 503)],
        "q1": [Response('{"choices": [', media_type="application/json")],
        "q2": [JSONResponse({"id": "x", "object": "chat.completion", "choices": []})],
        "q3": [JSONResponse({"error": {"message": "busy"}}, 500) for _ in range(9)],
    }
    with Journal(tmp_path / "j.sqlite") as journal:
        answers = ask_many(endpoint(server), journal, requests(6))
    assert isinstance(answers["3"], EndpointError)
    assert "server_error" in str(answers["3"])
    assert sum(isinstance(answer, Answer) for answer in answers.values()) == 5


def test_a_storm_of_429_delays_and_loses_nothing(server: Server, tmp_path: Path) -> None:
    server.storm_until = time.monotonic() + 1.5
    with Journal(tmp_path / "j.sqlite") as journal:
        answers = ask_many(endpoint(server, max_concurrency=16), journal, requests(80))
    assert all(isinstance(answer, Answer) for answer in answers.values())
    assert 0 < server.refused < 200  # waiting frees the slots: the server is not hammered


def test_a_wrong_model_stops_at_once(server: Server, tmp_path: Path) -> None:
    with Journal(tmp_path / "j.sqlite") as journal, pytest.raises(EndpointError, match="404"):
        ask_many(endpoint(server, model="other"), journal, requests(50))


def test_nobody_there(tmp_path: Path) -> None:
    nowhere = Endpoint(base_url="http://127.0.0.1:9/v1", model=MODEL)
    with Journal(tmp_path / "j.sqlite") as journal, pytest.raises(NotServed, match="check that the server is up"):
        ask_many(nowhere, journal, requests(50))


def test_the_budget_holds_under_concurrency(server: Server, tmp_path: Path) -> None:
    server.delay = 0.02
    priced = endpoint(server, input_usd_per_million=0.0, output_usd_per_million=1000.0, max_concurrency=16)
    asked = [r.model_copy(update={"params": {"max_tokens": 200}}) for r in requests(60)]
    with Journal(tmp_path / "j.sqlite") as journal:
        answers = ask_many(priced, journal, asked, max_usd=3.05)
        assert journal.spending().worst <= 3.05
        again = ask_many(priced, journal, asked, max_usd=3.05)
        assert journal.spending().worst <= 3.05
    paid = sum(isinstance(answer, Answer) for answer in answers.values())
    assert 15 <= paid <= 30  # each costs $0.10 and reserves $0.20
    assert paid <= sum(isinstance(answer, Answer) for answer in again.values()) <= 30
    assert sum(server.answered.values()) * 0.1 <= 3.05


def test_an_unknown_price_refuses_a_budget(server: Server, tmp_path: Path) -> None:
    with Journal(tmp_path / "j.sqlite") as journal, pytest.raises(ConfigError, match="unknown"):
        ask_many(endpoint(server), journal, requests(1), max_usd=1.0)
    assert not server.answered


def test_the_key_comes_from_the_environment_and_stays_there(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_KEY", "sk-very-secret")
    with Journal(tmp_path / "j.sqlite") as journal:
        ask_many(endpoint(server, api_key_env="SECRET_KEY"), journal, requests(3))
    assert all(b"sk-very-secret" not in file.read_bytes() for file in tmp_path.iterdir())
    monkeypatch.delenv("SECRET_KEY")
    with pytest.raises(ConfigError, match="SECRET_KEY is not set"):
        Endpoint(base_url="https://example.org/v1", model="m", api_key_env="SECRET_KEY").key()


def test_torn_and_foreign_journals_are_refused(tmp_path: Path) -> None:
    torn = tmp_path / "torn.sqlite"
    torn.write_bytes(b"SQLite format 3\x00" + b"\xff" * 500)
    foreign = tmp_path / "foreign.sqlite"
    with sqlite3.connect(foreign) as db:
        db.execute("CREATE TABLE theirs (x)")
    for path, said in ((torn, "not a readable journal"), (foreign, "another program")):
        with pytest.raises(DataError, match=said), Journal(path):
            pass


SCRIPT = """
import json, sys
from evalkit.endpoint import Endpoint, Journal, Request, ask_many
url, path, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
asked = [Request(id=str(i), messages=({"role": "user", "content": f"q{i}"},)) for i in range(number)]
with Journal(path) as journal:
    priced = {"input_usd_per_million": 0, "output_usd_per_million": 1000, "params": {"max_tokens": 200}}
    ask_many(Endpoint(base_url=url, model="echo", max_concurrency=8, **priced), journal, asked)
"""


def kill_and_resume(server: Server, path: Path, kills: int, number: int) -> None:
    """kill -9 at random moments: committed answers are never asked again, at most those under way are."""
    server.delay = 0.01
    moments = random.Random(1)
    frozen: dict[str, int] = {}
    for _ in range(kills):
        process = subprocess.Popen([sys.executable, "-c", SCRIPT, server.url, str(path), str(number)])
        time.sleep(moments.uniform(0.6, 1.6))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        before = Counter(server.answered)
        if path.exists():
            with Journal(path) as journal:
                committed = {json.loads(row[0])["text"] for row in journal.db.execute("SELECT answer FROM answers")}
            done = {text.removeprefix("answer to ") for text in committed}
            assert sum(before.values()) - len(before) <= 8 * kills
            for text in done:
                frozen.setdefault(text, before[text])
    subprocess.run([sys.executable, "-c", SCRIPT, server.url, str(path), str(number)], check=True)
    assert all(server.answered[text] == count for text, count in frozen.items())
    assert len(server.answered) == number
    with Journal(path) as journal:
        assert len(journal.find(priced_key(request) for request in requests(number))) == number
        spending = journal.spending()
    # Answered and paid once each; what was under way at a kill may have been billed, and is charged at its worst.
    assert spending.paid == pytest.approx(number * 0.1)
    assert spending.risked == pytest.approx(spending.open * 0.2)
    assert sum(server.answered.values()) - number <= spending.open <= 8 * kills
    print(
        f"\n{kills} kills: {sum(server.answered.values())} sent for {number} answers, {spending.open} charged at worst"
    )


def test_kill_9_pays_nothing_twice(server: Server, tmp_path: Path) -> None:
    kill_and_resume(server, tmp_path / "j.sqlite", kills=4, number=1500)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_kill_9_a_hundred_times(server: Server, tmp_path: Path) -> None:
    kill_and_resume(server, tmp_path / "j.sqlite", kills=100, number=30_000)


def test_two_processes_share_a_journal(server: Server, tmp_path: Path) -> None:
    path = str(tmp_path / "j.sqlite")
    both = [subprocess.Popen([sys.executable, "-c", SCRIPT, server.url, path, "400"]) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    with Journal(path) as journal:
        assert len(journal.find(priced_key(request) for request in requests(400))) == 400
