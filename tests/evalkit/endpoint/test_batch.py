"""Batches: submitted once, collected after a kill, failures go into the next round, money at the batch price."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from endpoint_server import Server
from test_client import endpoint, key, requests, server  # noqa: F401  (a fixture)

from evalkit.endpoint import Answer, Journal, Request, Status
from evalkit.endpoint.batch import _address, _alone, batch_each
from evalkit.errors import ConfigError, EndpointError, NotServed, OverBudget

PRICED = {"input_usd_per_million": 0.0, "output_usd_per_million": 1000.0, "batch_share": 0.5}


def batch(server: Server, path: Path, number: int = 20, **options: Any) -> tuple[dict[str, Any], Status]:  # noqa: F811
    results: dict[str, Any] = {}
    status = Status()

    def keep(request: Request, result: Answer | EndpointError) -> None:
        assert request.id not in results
        results[request.id] = result

    asked = options.pop("asked", None) or endpoint(server, params={"max_tokens": 200}, **PRICED)
    with Journal(path / "j.sqlite") as journal:
        batch_each(asked, journal, requests(number), keep, status=status, **options)
    return results, status


def test_a_batch_is_submitted_once_and_costs_half(server: Server, tmp_path: Path) -> None:  # noqa: F811
    results, status = batch(server, tmp_path)
    assert [results[str(i)].text for i in range(20)] == [f"answer to q{i}" for i in range(20)]
    assert {answer.cost_usd for answer in results.values()} == {0.05}
    assert status.stats["batches"] == 1
    again, status = batch(server, tmp_path)
    assert all(answer.from_journal for answer in again.values())
    assert len(server.batches.batches) == 1
    with Journal(tmp_path / "j.sqlite") as journal:
        assert journal.spending().worst == pytest.approx(1.0)
        assert journal.rows("SELECT * FROM batches") == []


def test_what_failed_or_expired_goes_into_the_next_round(server: Server, tmp_path: Path) -> None:  # noqa: F811
    server.batches.failing.update({"q5": 1, "q6": 9})
    server.batches.expiring = 3
    results, status = batch(server, tmp_path)
    assert isinstance(results["6"], EndpointError)
    assert sum(isinstance(answer, Answer) for answer in results.values()) == 19
    assert set(server.answered.values()) == {1}
    assert status.stats["expired"] == 3


def test_a_refused_parameter_is_learnt_for_the_next_round(server: Server, tmp_path: Path) -> None:  # noqa: F811
    server.refuses = {"response_format": "Unknown parameter: 'response_format'."}
    asked = endpoint(server, params={"max_tokens": 200, "response_format": {"type": "json_object"}}, **PRICED)
    results, _ = batch(server, tmp_path, asked=asked)
    assert all(isinstance(answer, Answer) for answer in results.values())
    assert len(server.batches.batches) == 2


def test_the_budget_bounds_the_batch(server: Server, tmp_path: Path) -> None:  # noqa: F811
    results, _ = batch(server, tmp_path, max_usd=0.95)  # each may cost $0.10 at worst and costs $0.05
    paid = sum(isinstance(answer, Answer) for answer in results.values())
    assert paid == 9
    assert all(isinstance(result, OverBudget) for result in results.values() if not isinstance(result, Answer))


def test_a_batch_refused_as_a_whole_says_why(server: Server, tmp_path: Path) -> None:  # noqa: F811
    server.batches.invalid = "the file is of no use"
    with pytest.raises(EndpointError, match="the file is of no use"):
        batch(server, tmp_path)
    with Journal(tmp_path / "j.sqlite") as journal:
        assert journal.spending().worst == 0


def test_an_endpoint_without_a_batch_api_says_so(server: Server, tmp_path: Path) -> None:  # noqa: F811
    asked = endpoint(server, base_url=server.url.replace("/v1", "/v2"))
    with pytest.raises(NotServed, match="Batch API"):
        batch(server, tmp_path, asked=asked)
    with Journal(tmp_path / "j.sqlite") as journal:
        assert journal.spending().worst == 0  # what was never created costs nothing
        assert not journal.holds()


def test_one_process_submits_at_a_time(server: Server, tmp_path: Path) -> None:  # noqa: F811
    with (
        Journal(tmp_path / "j.sqlite") as journal,
        _alone(journal),
        pytest.raises(ConfigError, match="another process"),
    ):
        batch(server, tmp_path)


def test_answers_that_the_endpoint_threw_away_stay_charged(server: Server, tmp_path: Path) -> None:  # noqa: F811
    server.batches.forgetful = True
    results, status = batch(server, tmp_path)
    assert all(isinstance(result, Answer) for result in results.values())
    assert "knows batch batch_0 no more" in status.notes[0]
    with Journal(tmp_path / "j.sqlite") as journal:
        assert journal.spending().worst == pytest.approx(20 * 0.1 + 1.0)


def test_a_strange_row_is_a_failure_of_its_own(server: Server, tmp_path: Path) -> None:  # noqa: F811
    server.choice = {"finish_reason": ["stop", {"deep": 1}]}
    results, _ = batch(server, tmp_path, number=2)
    assert all(isinstance(result, Answer) for result in results.values())
    server.choice = {"message": {"content": {"not": "text"}}}
    results, _ = batch(server, tmp_path / "2", number=2)
    assert all(isinstance(result, EndpointError) for result in results.values())


SCRIPT = """
import sys
from evalkit.endpoint import Endpoint, Journal, Request
from evalkit.endpoint.batch import _address, _alone, batch_each
url, path = sys.argv[1:]
asked = [Request(id=str(i), messages=({"role": "user", "content": f"q{i}"},)) for i in range(40)]
with Journal(path) as journal:
    batch_each(Endpoint(base_url=url, model="echo"), journal, asked, lambda request, result: None)
"""


@pytest.mark.parametrize(
    "seconds", [0.8, *(pytest.param(s, marks=pytest.mark.slow) for s in (0.2, 0.5, 1.1, 1.4, 1.7))]
)
def test_kill_9_submits_nothing_twice(server: Server, tmp_path: Path, seconds: float) -> None:  # noqa: F811
    server.batches.seconds = 1.0
    path = tmp_path / "j.sqlite"
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, server.url, str(path)])
    time.sleep(seconds)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    subprocess.run([sys.executable, "-c", SCRIPT, server.url, str(path)], check=True)
    assert len(server.batches.batches) == 1
    assert set(server.answered.values()) == {1}
    with Journal(path) as journal:
        assert len(journal.find(key(request) for request in requests(40))) == 40


def test_created_but_not_noted_is_found_again(server: Server, tmp_path: Path) -> None:  # noqa: F811
    """Killed between the endpoint's answer and our note of its id: the metadata tells."""
    path = tmp_path / "j.sqlite"
    server.batches.seconds = 3600.0
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, server.url, str(path)])
    while not server.batches.batches:
        time.sleep(0.02)
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with Journal(path) as journal, journal.write() as transaction:
        transaction.db.execute("UPDATE batches SET remote = NULL")
    for remote in server.batches.batches.values():
        remote["ready"] = 0.0
    subprocess.run([sys.executable, "-c", SCRIPT, server.url, str(path)], check=True)
    assert len(server.batches.batches) == 1
    assert sum(server.answered.values()) == 40


def test_noted_but_never_created_is_forgotten(server: Server, tmp_path: Path) -> None:  # noqa: F811
    with Journal(tmp_path / "j.sqlite") as journal, journal.write() as transaction:
        transaction.reserve("k", 5.0, None, "ours", "{}")
        asked = endpoint(server, params={"max_tokens": 200}, **PRICED)
        transaction.db.execute("INSERT INTO batches VALUES (?, ?, ?)", ("ours", _address(asked), None))
    results, _ = batch(server, tmp_path)
    assert all(isinstance(answer, Answer) for answer in results.values())
    with Journal(tmp_path / "j.sqlite") as journal:
        assert journal.spending().worst == pytest.approx(1.0)
