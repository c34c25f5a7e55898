"""Replies that no server should give, and mistakes of the caller: nothing paid is lost, no total lies, no traceback."""

import json
import math
import time
from pathlib import Path
from typing import Any

import pytest
from endpoint_server import MODEL, Server
from starlette.responses import JSONResponse, Response, StreamingResponse
from test_client import endpoint, requests, server  # noqa: F401  (a fixture)

from evalkit.endpoint import Answer, Endpoint, Journal, ask_many
from evalkit.endpoint.answer import Usage
from evalkit.endpoint.reading import read_logprobs, read_reply, read_usage
from evalkit.errors import DataError, EndpointError, NotServed, OverBudget

PRICED = {"input_usd_per_million": 0.0, "output_usd_per_million": 1000.0}


def ask(found: Any, path: Path, number: int = 8, **options: Any) -> dict[str, Any]:
    with Journal(path / "j.sqlite") as journal:
        return ask_many(found, journal, requests(number), **options)


def test_half_a_character_is_stored_and_its_neighbours_are_not_lost(server: Server, tmp_path: Path) -> None:  # noqa: F811
    odd = b'{"id": "x", "choices": [{"message": {"content": "a\\ud800b"}, "finish_reason": "stop"}]}'
    server.failing = {"q3": [Response(odd, media_type="application/json")]}
    answers = ask(endpoint(server), tmp_path)
    assert all(isinstance(answer, Answer) for answer in answers.values())
    assert answers["3"].text == "a?b"
    assert all(answer.from_journal for answer in ask(endpoint(server), tmp_path).values())


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * 100_000,
        b'{"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": ' + b"9" * 400 + b"}}",
        b'{"choices": {"a": 1}}',
        b'{"choices": [null]}',
        b"null",
        b"\xff\xfe",
        b'{"choices": [{"message": {"content": 5}}]}',
    ],
)
def test_no_reply_is_a_traceback(server: Server, tmp_path: Path, raw: bytes, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr("evalkit.endpoint.client.TRIES", 2)
    server.raw = raw
    for answer in ask(endpoint(server), tmp_path, 2).values():
        assert isinstance(answer, EndpointError) or answer.usage is None


@pytest.mark.parametrize("value", [-math.inf, math.inf, math.nan])
def test_a_logprob_that_is_no_number_does_not_poison_the_journal(server: Server, tmp_path: Path, value: float) -> None:  # noqa: F811
    place = {"token": "a", "logprob": value, "bytes": None, "top_logprobs": [{"token": "b", "logprob": value}]}
    choice = {"message": {"content": "a"}, "finish_reason": "stop", "logprobs": {"content": [place]}}
    server.raw = json.dumps({"id": "x", "choices": [choice]}).encode()
    first = ask(endpoint(server), tmp_path, 1)["0"]
    again = ask(endpoint(server), tmp_path, 1)["0"]
    assert again.from_journal
    assert again.logprobs == first.logprobs
    kept = read_logprobs({"content": [place]}, "t")
    assert kept is None if value != -math.inf else kept is not None and kept.logprobs == (-9999.0,)


@pytest.mark.parametrize(
    ("said", "usage"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 9, "total_tokens": 113}, (10, 103)),  # reasoning left out
        ({"prompt_tokens": 10, "total_tokens": 110}, (10, 100)),
        ({"prompt_tokens": 10}, None),  # unknown is not zero
        ({"prompt_tokens": -10, "completion_tokens": 5}, None),
        ({"prompt_tokens": 10, "completion_tokens": -5}, None),
        ({"prompt_tokens": "ten", "completion_tokens": 5}, None),
        ({}, None),
        (None, None),
    ],
)
def test_usage_is_as_billed_or_unknown(said: Any, usage: tuple[int, int] | None) -> None:
    read = read_usage(said)
    assert read == (None if usage is None else Usage(prompt_tokens=usage[0], completion_tokens=usage[1]))


@pytest.mark.parametrize(
    "params",
    [
        {"max_tokens": 50, "max_completion_tokens": 200},
        {"max_tokens": None},
        {},
        {"max_tokens": 50, "n": 4},
    ],
)
def test_the_worst_case_is_the_worst(server: Server, tmp_path: Path, params: dict[str, Any]) -> None:  # noqa: F811
    """A server that answers as much as it may: the budget holds whatever names the limit, and where none is named."""
    asked = endpoint(server, params=params, **PRICED)

    def most(body: dict[str, Any]) -> int:
        limit = max(body.get("max_tokens") or 0, body.get("max_completion_tokens") or 0)
        return (limit or 10**6) * body.get("n", 1)

    original = server.reply

    def reply(body: dict[str, Any], *, chat: bool) -> tuple[int, dict[str, Any]]:
        server.usage = {"prompt_tokens": 10, "completion_tokens": most(body), "total_tokens": 10 + most(body)}
        return original(body, chat=chat)

    server.reply = reply  # type: ignore[method-assign]
    ask(asked, tmp_path, 30, max_usd=5.0)
    with Journal(tmp_path / "j.sqlite") as journal:
        assert 0 < journal.spending().worst <= 5.0


def test_a_reply_that_trickles_is_late(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """A timeout is for one answer, not for each of its bytes."""
    monkeypatch.setattr("evalkit.endpoint.client.TRIES", 2)

    async def blanks() -> Any:
        import asyncio

        for _ in range(100):
            yield b" "
            await asyncio.sleep(0.1)

    server.failing = {"q0": [StreamingResponse(blanks(), media_type="application/json") for _ in range(2)]}
    start = time.monotonic()
    answers = ask(endpoint(server, timeout=0.5), tmp_path, 1)
    assert "timeout" in str(answers["0"])
    assert time.monotonic() - start < 4


@pytest.mark.slow
def test_a_draining_server_is_waited_for(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """It has answered, then it is away for longer than four attempts take, then it is back."""
    import threading

    with Journal(tmp_path / "j.sqlite") as journal:
        server.delay = 0.05
        asked = endpoint(server, max_concurrency=2)

        def restart() -> None:
            time.sleep(0.6)
            server.stop()
            time.sleep(3.0)
            server.start()

        thread = threading.Thread(target=restart)
        thread.start()
        answers = ask_many(asked, journal, requests(60))
        thread.join()
    assert all(isinstance(answer, Answer) for answer in answers.values())


def test_one_question_that_is_forbidden_does_not_end_the_run(server: Server, tmp_path: Path) -> None:  # noqa: F811
    for _ in range(2):
        server.failing = {"q7": [JSONResponse({"error": {"message": "flagged by moderation"}}, 403)]}
        answers = ask(endpoint(server, max_concurrency=2), tmp_path, 20)
        assert [id for id, answer in answers.items() if isinstance(answer, EndpointError)] == ["7"]
    server.failing = {f"q{i}": [JSONResponse({"error": {"message": "no"}}, 403)] for i in range(5)}
    with pytest.raises(NotServed, match="rights"):
        ask(endpoint(server), tmp_path / "2", 5)


def test_a_gateway_that_gave_up_may_have_been_billed(server: Server, tmp_path: Path) -> None:  # noqa: F811
    server.failing = {"q0": [JSONResponse({"error": {"message": "upstream"}}, 504), JSONResponse({}, 503)]}
    ask(endpoint(server, params={"max_tokens": 200}, **PRICED), tmp_path, 1)
    with Journal(tmp_path / "j.sqlite") as journal:
        assert (journal.spending().open, journal.spending().risked) == (1, pytest.approx(0.2))


def test_who_is_too_dear_leaves_the_question_to_the_next(server: Server, tmp_path: Path) -> None:  # noqa: F811
    server.models = ["dear", "free"]
    free = {"input_usd_per_million": 0.0, "output_usd_per_million": 0.0}
    pair = [
        endpoint(server, model="dear", params={"max_tokens": 200}, **PRICED),
        endpoint(server, model="free", share=0.0, **free),
    ]
    answers = ask(pair, tmp_path, 20, max_usd=0.5)
    assert {answer.model for answer in answers.values()} == {"dear", "free"}
    assert not any(isinstance(answer, OverBudget) for answer in answers.values())


def test_a_closed_endpoint_holds_nobody_back(server: Server, tmp_path: Path) -> None:  # noqa: F811
    """It asks to wait for an hour, then has no credit: who waits for it goes to the next at once."""
    server.models = ["a", "b"]
    later = {"retry-after": "3600"}
    slow = [JSONResponse({"error": {"message": "slow"}}, 429, headers=later)]
    server.failing = {f"q{i}": list(slow) for i in range(1)}
    broke = JSONResponse({"error": {"message": "quota", "code": "insufficient_quota"}}, 429)
    server.failing |= {f"q{i}": [broke] for i in range(1, 8)}
    start = time.monotonic()
    answers = ask([endpoint(server, model="a"), endpoint(server, model="b", share=0.0)], tmp_path, 40)
    assert {answer.model for answer in answers.values()} == {"b"}
    assert time.monotonic() - start < 10


def test_the_key_is_not_echoed(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-mine")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Other: also-secret")
    echo = JSONResponse({"error": {"message": "bad request with Bearer sk-very-secret"}}, 400)
    server.failing = {"q0": [echo]}
    answers = ask(endpoint(server), tmp_path, 2)
    assert "***" in str(answers["0"])
    assert "secret" not in str(answers["0"])
    headers = json.dumps(server.seen_headers)
    assert "sk-very-secret" in headers  # it was used
    assert "org-of-mine" not in headers
    assert "also-secret" not in headers


def test_paid_answers_survive_an_error_that_ends_the_run(server: Server, tmp_path: Path) -> None:  # noqa: F811
    """The credit ends while others are under way: their answers are waited for and kept."""
    server.delay = 0.5
    server.failing = {"q3": [JSONResponse({"error": {"message": "quota", "code": "insufficient_quota"}}, 429)]}
    with pytest.raises((EndpointError, NotServed), match="quota"):
        ask(endpoint(server), tmp_path, 8)
    with Journal(tmp_path / "j.sqlite") as journal:
        assert len(journal) == sum(server.answered.values()) > 0
        assert journal.spending().open == 0


def test_unknown_money_is_never_shown_as_zero(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr("evalkit.endpoint.client.TRIES", 2)
    server.delay = 0.5
    ask(endpoint(server, timeout=0.1), tmp_path, 1)
    with Journal(tmp_path / "j.sqlite") as journal:
        assert journal.spending().unpriced == journal.spending().open == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"params": {"max_tokens": "many"}},
        {"params": {"max_tokens": 0}},
        {"params": {"since": __import__("datetime").date(2026, 1, 1)}},
        {"params": {"temperature": math.nan}},
        {"base_url": "http://host:abc/v1"},
        {"base_url": "http://host:99999/v1"},
    ],
)
def test_mistakes_of_the_caller_are_found_before_anything_is_sent(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"max_tokens|JSON|address"):
        Endpoint(**{"base_url": "http://127.0.0.1:1/v1", "model": MODEL, **changes})


def test_an_unreadable_answer_is_a_clear_line(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.sqlite") as journal, journal.write() as transaction:
        transaction.db.execute("INSERT INTO answers VALUES ('k', '{}', '{\"torn\": 1}')")
    with Journal(tmp_path / "j.sqlite") as journal, pytest.raises(DataError, match="cannot be read"):
        journal.get("k")


def test_a_full_disk_says_so(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.sqlite") as journal:
        journal.db.execute("PRAGMA max_page_count=20")

        def too_much() -> None:
            with journal.write() as transaction:
                for i in range(3000):
                    transaction.reserve(f"key {i}" * 20, 1.0, None)

        with pytest.raises(DataError, match="disk is full"):
            too_much()
        assert not journal.holds()
        with journal.write() as transaction:
            transaction.reserve("k", 1.0, None)
        assert journal.spending().risked == 1.0


def test_read_reply_never_raises_anything_else() -> None:
    from evalkit.endpoint.reading import NoAnswer

    asked = Endpoint(base_url="http://127.0.0.1:1/v1", model=MODEL)
    for reply in (
        {},
        [],
        1,
        {"choices": [{}]},
        {"choices": [{"message": {}}]},
        {"choices": [{"message": {"content": None}}]},
    ):
        with pytest.raises(NoAnswer):
            read_reply(reply, "k", asked, 0.0)
