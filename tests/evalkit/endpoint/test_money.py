"""Money: prices, worst cases, budgets under concurrency, faults and several processes."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from endpoint_server import Server
from starlette.responses import JSONResponse, Response
from test_client import endpoint, requests, server  # noqa: F401  (a fixture)

from evalkit.endpoint import Answer, Endpoint, Journal, Status, ask_many
from evalkit.endpoint.client import TRIES
from evalkit.endpoint.prices import find_price
from evalkit.errors import ConfigError

PRICED = {"input_usd_per_million": 0.0, "output_usd_per_million": 1000.0}
"""An answer of the server costs $0.10."""


def test_cached_and_reasoning_tokens_are_counted_as_billed(server: Server, tmp_path: Path) -> None:  # noqa: F811
    server.usage = {
        "prompt_tokens": 1000,
        "completion_tokens": 500,
        "prompt_tokens_details": {"cached_tokens": 800},
        "completion_tokens_details": {"reasoning_tokens": 450},
    }
    priced = endpoint(server, input_usd_per_million=2.0, cached_usd_per_million=0.5, output_usd_per_million=8.0)
    with Journal(tmp_path / "j.sqlite") as journal:
        answer = ask_many(priced, journal, requests(1))["0"]
        assert isinstance(answer, Answer)
        assert answer.cost_usd == pytest.approx((200 * 2.0 + 800 * 0.5 + 500 * 8.0) / 1e6)
        assert answer.usage is not None
        assert answer.usage.reasoning_tokens == 450
        assert journal.spending().paid == answer.cost_usd


def test_the_table_knows_dated_names_and_guesses_at_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = find_price("https://api.openai.com/v1", "gpt-4o-mini")
    assert known is not None
    assert find_price("https://api.openai.com/v1", "gpt-4o-mini-2024-07-18") == known
    assert find_price("https://api.openai.com/v1", "gpt-4o-mini-audio") is None
    assert find_price("https://elsewhere.example/v1", "gpt-4o-mini") is None
    assert Endpoint(base_url="https://api.openai.com/v1", model="gpt-4o-mini").batch_discount == 0.5
    own = tmp_path / "prices.yaml"
    own.write_text("as_of: '2030-01-01'\nhosts: {elsewhere.example: {models: {gpt-4o-mini: {input: 1, output: 2}}}}\n")
    monkeypatch.setenv("POTSTILL_PRICES", str(own))
    found = find_price("https://elsewhere.example/v1", "gpt-4o-mini")
    assert found is not None
    assert found.of(1_000_000, 1_000_000) == 3.0
    own2 = tmp_path / "torn.yaml"
    own2.write_text("hosts: [")
    monkeypatch.setenv("POTSTILL_PRICES", str(own2))
    with pytest.raises(ConfigError, match="price table"):
        find_price("https://elsewhere.example/v1", "m")


@pytest.mark.slow
def test_a_lost_answer_stays_charged_at_its_worst(server: Server, tmp_path: Path) -> None:  # noqa: F811
    """Connections that break may have been billed; refusals are not; an empty reply with usage was."""
    server.delay = 0.3
    slow = endpoint(server, timeout=0.1, params={"max_tokens": 200}, **PRICED)
    with Journal(tmp_path / "j.sqlite") as journal:
        ask_many(slow, journal, requests(1))
        spending = journal.spending()
        assert spending.open == TRIES
        assert spending.risked == pytest.approx(TRIES * 0.2)
    time.sleep(0.5)  # the server still works on what nobody waits for any more
    server.delay = 0.0
    empty = JSONResponse({"id": "x", "choices": [], "usage": {"prompt_tokens": 0, "completion_tokens": 50}})
    server.failing = {"q0": [empty, JSONResponse({"error": {"message": "busy"}}, 503), Response("{", 200)]}
    with Journal(tmp_path / "k.sqlite") as journal:
        ask_many(endpoint(server, params={"max_tokens": 200}, **PRICED), journal, requests(1))
        spending = journal.spending()
        assert spending.paid == pytest.approx(0.10 + 0.05)
        assert (spending.open, spending.risked) == (1, pytest.approx(0.2))  # the torn reply


def test_the_budget_holds_with_faults_and_is_used_up(server: Server, tmp_path: Path) -> None:  # noqa: F811
    server.delay = 0.01
    for i in range(0, 100, 3):
        server.failing[f"q{i}"] = [Response("{", 200), JSONResponse({"error": {"message": "slow"}}, 429)]
    asked = endpoint(server, max_concurrency=16, params={"max_tokens": 200}, **PRICED)
    status = Status()
    with Journal(tmp_path / "j.sqlite") as journal:
        answers = ask_many(asked, journal, requests(100), max_usd=5.0, status=status)
        spending = journal.spending()
    assert spending.worst <= 5.0 + 1e-9
    assert spending.worst > 5.0 - 0.2 - 1e-9  # nothing that still fits is left out
    assert sum(isinstance(answer, Answer) for answer in answers.values()) + status.stats["over_budget"] == 100
    assert sum(server.answered.values()) * 0.1 <= 5.0


SPENDER = """
import sys
from evalkit.endpoint import Endpoint, Journal, Request, ask_many
url, path, name = sys.argv[1:]
asked = [Request(id=str(i), messages=({"role": "user", "content": f"{name}{i}"},)) for i in range(60)]
priced = Endpoint(base_url=url, model="echo", input_usd_per_million=0, output_usd_per_million=1000, params={"max_tokens": 200})
with Journal(path) as journal:
    ask_many(priced, journal, asked, max_usd=4.0)
"""


def test_two_processes_share_a_budget(server: Server, tmp_path: Path) -> None:  # noqa: F811
    server.delay = 0.02
    path = str(tmp_path / "j.sqlite")
    both = [subprocess.Popen([sys.executable, "-c", SPENDER, server.url, path, name]) for name in ("p", "q")]
    assert [process.wait() for process in both] == [0, 0]
    with Journal(path) as journal:
        assert journal.spending().worst <= 4.0 + 1e-9
    assert sum(server.answered.values()) <= 40


def test_the_key_is_in_no_traceback(server: Server, tmp_path: Path) -> None:  # noqa: F811
    script = (
        "from evalkit.endpoint import *\n"
        f"e = Endpoint(base_url={server.url!r}, model='nope')\n"
        f"with Journal({str(tmp_path / 'j.sqlite')!r}) as j:\n"
        "    ask_many(e, j, [Request(id='1', messages=({'role': 'user', 'content': 'x'},))])\n"
    )
    environment = {**os.environ, "OPENAI_API_KEY": "sk-very-secret", "OPENAI_LOG": "debug"}
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False)
    assert "Traceback" in run.stderr
    assert "very-secret" not in run.stderr + run.stdout
