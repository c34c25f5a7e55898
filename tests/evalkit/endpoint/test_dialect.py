"""Endpoints differ: parameters they refuse, replies of other forms, logprobs by two routes. Several in one run."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from endpoint_server import MODEL, Server
from starlette.responses import JSONResponse
from test_client import endpoint, requests, server  # noqa: F401  (a fixture)

from evalkit.endpoint import Answer, Endpoint, Journal, Status, ask_many
from evalkit.endpoint.dialect import Dialect
from evalkit.errors import ConfigError, EndpointError, NotServed


def ask(found: Any, path: Path, number: int = 8, **options: Any) -> tuple[dict[str, Any], Status]:
    status = Status()
    with Journal(path / "j.sqlite") as journal:
        return ask_many(found, journal, requests(number), status=status, **options), status


def test_a_reasoning_model_is_asked_as_it_wants(server: Server, tmp_path: Path) -> None:  # noqa: F811
    server.refuses = {
        "max_tokens": "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        "temperature": "Unsupported value: 'temperature' does not support 0.8 with this model. Only the default (1) is supported.",
    }
    asked = endpoint(server, params={"max_tokens": 50, "temperature": 0.8})
    answers, status = ask(asked, tmp_path)
    assert all(isinstance(answer, Answer) for answer in answers.values())
    assert {"max_tokens → max_completion_tokens", "without temperature"} == set(answers["7"].adapted)
    last = server.bodies[-1]
    assert last["max_completion_tokens"] == 50
    assert "temperature" not in last
    assert sum(server.answered.values()) == 8
    assert len(status.notes) == 2
    again, _ = ask(asked, tmp_path)
    assert all(answer.from_journal for answer in again.values())  # what was asked for is what identifies it


@pytest.mark.parametrize(
    ("body", "change"),
    [
        ({"error": {"message": "Unrecognized request argument supplied: response_format"}}, "without response_format"),
        ({"detail": "response_format: Extra inputs are not permitted"}, "without response_format"),
        ({"error": {"message": "bad", "param": "temperature", "code": "unsupported_value"}}, "without temperature"),
        ({"error": {"message": "This model's maximum context length is 4096 tokens", "param": "messages"}}, None),
        ({"error": {"message": "model: unknown", "param": "model"}}, None),
        ("not even JSON", None),
        (None, None),
    ],
)
def test_lessons(body: Any, change: str | None) -> None:
    sent = {"model": "m", "messages": [], "response_format": {}, "temperature": 1, "max_tokens": 5}
    assert Dialect().learn(body, sent) == change


def test_a_refused_request_fails_alone(server: Server, tmp_path: Path) -> None:  # noqa: F811
    too_long = {"error": {"message": "maximum context length exceeded", "code": "context_length_exceeded"}}
    server.failing = {"q3": [JSONResponse(too_long, 400)]}
    answers, _ = ask(endpoint(server), tmp_path)
    assert [id for id, answer in answers.items() if isinstance(answer, EndpointError)] == ["3"]
    assert "context length" in str(answers["3"])


def test_no_credit_stops_at_once_and_is_no_rate_limit(server: Server, tmp_path: Path) -> None:  # noqa: F811
    broke = {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}
    server.failing = {f"q{i}": [JSONResponse(broke, 429)] for i in range(50)}
    with pytest.raises(NotServed, match=r"quota.*add credit"):
        ask(endpoint(server), tmp_path, 50)


def test_an_answer_without_usage_has_no_cost(server: Server, tmp_path: Path) -> None:  # noqa: F811
    server.usage = None
    priced = endpoint(server, input_usd_per_million=1.0, output_usd_per_million=1.0)
    answers, _ = ask(priced, tmp_path)
    assert all(answer.usage is None and answer.cost_usd is None for answer in answers.values())
    with Journal(tmp_path / "j.sqlite") as journal:
        spending = journal.spending()
    assert spending.unpriced == 8
    assert spending.paid > 0  # the worst case, which is all that is known


def test_a_refusal_and_a_thinker_that_met_its_limit_are_answers_that_were_paid(
    server: Server,  # noqa: F811
    tmp_path: Path,
) -> None:
    server.choice = {"message": {"role": "assistant", "content": None, "refusal": "no"}, "finish_reason": "stop"}
    answers, _ = ask(endpoint(server), tmp_path)
    assert {answer.finish_reason for answer in answers.values()} == {"refusal"}
    server.choice = {"message": {"role": "assistant", "content": None}, "finish_reason": "length"}
    answers, _ = ask(endpoint(server), tmp_path / "2")
    assert {(answer.finish_reason, answer.text) for answer in answers.values()} == {("length", "")}
    assert set(server.answered.values()) == {2}  # neither is asked for again


def test_logprobs_are_kept_with_their_tokenizer(server: Server, tmp_path: Path) -> None:  # noqa: F811
    place = {
        "token": "a",
        "logprob": -0.5,
        "bytes": [97],
        "top_logprobs": [{"token": "é", "logprob": -1, "bytes": [195]}],
    }
    server.choice = {"logprobs": {"content": [place, place]}}
    answers, _ = ask(endpoint(server, tokenizer="theirs/tokenizer"), tmp_path, 1)
    kept = answers["0"].logprobs
    assert kept is not None
    assert (kept.tokenizer, kept.tokens, kept.logprobs) == ("theirs/tokenizer", ("a", "a"), (-0.5, -0.5))
    assert kept.top[0] == (("\\xc3", -1.0),)  # half a character: its bytes
    server.choice = {
        "logprobs": {
            "tokens": ["x", "y"],
            "token_logprobs": [None, -2.0],
            "top_logprobs": [None, {"y": -2.0, "z": -3.0}],
        }
    }
    answers, _ = ask(endpoint(server, route="completions"), tmp_path / "2", 1)
    kept = answers["0"].logprobs
    assert kept is not None
    assert (kept.tokenizer, kept.tokens, kept.top) == (MODEL, ("y",), ((("y", -2.0), ("z", -3.0)),))
    with Journal(tmp_path / "2" / "j.sqlite") as journal:
        assert next(journal.answers()).logprobs == kept


def test_several_endpoints_share_the_work(server: Server, tmp_path: Path) -> None:  # noqa: F811
    server.models = ["a", "b"]
    pair = [endpoint(server, model="a", share=3.0), endpoint(server, model="b", share=1.0)]
    answers, _ = ask(pair, tmp_path, 400)
    first = {id: answer.model for id, answer in answers.items()}
    assert 270 < Counter(first.values())["a"] < 330
    again, _ = ask(pair, tmp_path / "2", 400)
    assert {id: answer.model for id, answer in again.items()} == first


@pytest.mark.slow
def test_what_one_cannot_answer_goes_to_the_next(server: Server, tmp_path: Path) -> None:  # noqa: F811
    server.models = ["a", "b"]
    server.failing = {"q1": [JSONResponse({"error": {"message": "no"}}, 500) for _ in range(8)]}
    pair = [endpoint(server, model="a"), endpoint(server, model="b", share=0.0)]
    answers, status = ask(pair, tmp_path)
    assert [answers[str(i)].model for i in range(8)] == ["a", "b", "a", "a", "a", "a", "a", "a"]
    assert status.stats["fell_back"] == 1
    asked_before = sum(server.answered.values())
    again, _ = ask(pair, tmp_path)  # the answer of the second is known: the first is not asked once more
    assert again["1"].model == "b"
    assert sum(server.answered.values()) == asked_before


def test_a_teacher_that_can_never_answer_is_closed_and_the_other_goes_on(server: Server, tmp_path: Path) -> None:  # noqa: F811
    gone = Endpoint(base_url="http://127.0.0.1:9/v1", model="gone")
    answers, status = ask([endpoint(server, model="unknown"), gone, endpoint(server)], tmp_path, 60)
    assert {answer.model for answer in answers.values()} == {MODEL}
    assert len([note for note in status.notes if "is asked no more" in note]) == 2
    with pytest.raises(NotServed):
        ask([endpoint(server, model="unknown"), gone], tmp_path / "2", 60)


@pytest.mark.parametrize("url", ["ftp://x/v1", "http://me:secret@host/v1", "https://host/v1?key=secret", "host/v1"])
def test_an_address_holds_no_secret(url: str) -> None:
    with pytest.raises(ValueError, match="an address"):
        Endpoint(base_url=url, model="m")


def test_a_key_of_strange_characters_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRANGE", "sk-sécret")
    with pytest.raises(ConfigError) as caught:
        Endpoint(base_url="https://host/v1", model="m", api_key_env="STRANGE").key()
    assert "cret" not in str(caught.value)
