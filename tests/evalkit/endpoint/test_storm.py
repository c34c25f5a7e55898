"""The client against the built-in teacher's faults, on a real port: everything completes, nothing is lost."""

import time
from pathlib import Path

import httpx2
import pytest
from teacher_server import teacher

from evalkit.endpoint import Answer, Endpoint, Journal, Request, Status, ask_many
from evalkit.records import Level
from synth.prompts import load_categories, render_task
from synth.teacher.app import MODEL


def tasks(number: int) -> list[Request]:
    category = load_categories()["lists"]
    texts = [render_task(category=category, level=Level.EASY, number=i) for i in range(number)]
    return [Request(id=str(i), messages=({"role": "user", "content": text},)) for i, text in enumerate(texts)]


def test_everything_completes_with_faults_of_every_kind(tmp_path: Path) -> None:
    shares = ("rate_limited", "server_error", "malformed", "empty", "disconnect")
    faults = [word for name in shares for word in ("--fault", f"{name}=0.06")]
    status = Status()
    with teacher(18831, "--flaws", "0", "--latency", "0.01", *faults) as url, Journal(tmp_path / "j") as journal:
        assert httpx2.get(f"{url}/models").json()["data"][0]["id"] == MODEL
        answers = ask_many(Endpoint(base_url=url, model=MODEL), journal, tasks(400), status=status)
    assert all(isinstance(answer, Answer) for answer in answers.values())
    assert all(status.stats[name] > 5 for name in (*shares[:-1], "disconnect"))
    assert status.stats["sent"] == 400 + sum(status.stats[name] for name in shares)


def test_cut_off_answers_are_not_asked_for_again(tmp_path: Path) -> None:
    faults = ("--fault", "truncation=0.3", "--fault", "wrong_finish=0.3")
    with teacher(18832, "--flaws", "0", *faults) as url, Journal(tmp_path / "j") as journal:
        status = Status()
        answers = ask_many(Endpoint(base_url=url, model=MODEL), journal, tasks(100), status=status)
    finishes = [answer.finish_reason for answer in answers.values() if isinstance(answer, Answer)]
    assert 15 < finishes.count("length") < 45
    assert status.stats["sent"] == 100


@pytest.mark.slow
def test_a_minute_of_429_loses_no_row(tmp_path: Path) -> None:
    """Every request is refused for 60 s, each refusal asking for 1 s; then all are answered."""
    start = time.monotonic()
    status = Status()
    with (
        teacher(18833, "--storm", "60", "--retry-after", "1") as url,
        Journal(tmp_path / "j") as journal,
    ):
        answers = ask_many(Endpoint(base_url=url, model=MODEL), journal, tasks(500), status=status)
    seconds = time.monotonic() - start
    print(f"\n60 s of 429: {status.stats['rate_limited']} refusals, 500 asked, {seconds:.1f} s")
    assert sum(isinstance(answer, Answer) for answer in answers.values()) == 500
    assert 60 < seconds < 75
    assert status.stats["rate_limited"] < 150  # about one a second, once the concurrency has fallen
