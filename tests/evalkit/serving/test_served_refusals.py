"""What the server refuses, and how: OpenAI's error form, the parameter by name, never in silence."""

import json
import time
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving_model import CLIENT, NAME, ROOM, Served, make_model, make_tokenizer, served

SAID = [{"role": "user", "content": "x"}]
TEXT = {"prompt": "x", "max_tokens": 2}
TALK = {"messages": SAID, "max_tokens": 2}

REFUSED = [
    ("completions", {**TEXT, "tools": [{}]}, "tools"),
    ("completions", {**TEXT, "presence_penalty": 0.5}, "presence_penalty"),
    ("completions", {**TEXT, "logit_bias": {"3": 1}}, "logit_bias"),
    ("completions", {**TEXT, "best_of": 2}, "best_of"),
    ("completions", {**TEXT, "suffix": "y"}, "suffix"),
    ("completions", {**TEXT, "top_k": 5}, "top_k"),
    ("completions", {**TEXT, "made_up": 1}, "made_up"),
    ("completions", {**TEXT, "messages": SAID}, "messages"),
    ("completions", {**TEXT, "top_logprobs": 3}, "top_logprobs"),
    ("completions", {**TEXT, "temperature": -1}, "temperature"),
    ("completions", {**TEXT, "temperature": "1"}, "temperature"),
    ("completions", {**TEXT, "temperature": True}, "temperature"),
    ("completions", {**TEXT, "temperature": 10**400}, "temperature"),
    ("completions", {**TEXT, "top_p": 1.5}, "top_p"),
    ("completions", {**TEXT, "n": 0}, "n"),
    ("completions", {**TEXT, "n": 1.0}, "n"),
    ("completions", {**TEXT, "n": True}, "n"),
    ("completions", {**TEXT, "n": 5000}, "n"),
    ("completions", {"prompt": ["x"] * 100, "n": 100}, "n"),
    ("completions", {**TEXT, "max_tokens": -1}, "max_tokens"),
    ("completions", {**TEXT, "max_completion_tokens": 3}, "max_completion_tokens"),
    ("completions", {**TEXT, "seed": 1 << 63}, "seed"),
    ("completions", {**TEXT, "stop": ""}, "stop"),
    ("completions", {**TEXT, "stop": [1]}, "stop"),
    ("completions", {**TEXT, "stop": ["x"] * 65}, "stop"),
    ("completions", {**TEXT, "logprobs": True}, "logprobs"),
    ("completions", {**TEXT, "logprobs": -1}, "logprobs"),
    ("completions", {**TEXT, "prompt_logprobs": -2}, "prompt_logprobs"),
    ("completions", {**TEXT, "prompt_logprobs": 1, "stream": True}, "prompt_logprobs"),
    ("completions", {**TEXT, "echo": 1}, "echo"),
    ("completions", {**TEXT, "stream": "yes"}, "stream"),
    ("completions", {**TEXT, "stream_options": {}}, "stream_options"),
    ("completions", {**TEXT, "stream": True, "stream_options": {"x": 1}}, "stream_options.x"),
    ("completions", {**TEXT, "user": 3}, "user"),
    ("completions", {}, "prompt"),
    ("completions", {"prompt": []}, "prompt"),
    ("completions", {"prompt": [[]]}, "prompt"),
    ("completions", {"prompt": ["x", 1]}, "prompt"),
    ("completions", {"prompt": [[1], "x"]}, "prompt"),
    ("completions", {"prompt": [1, 2.5]}, "prompt"),
    ("completions", {"prompt": [True]}, "prompt"),
    ("completions", {"prompt": [-1]}, "prompt"),
    ("completions", {"prompt": [10**9]}, "prompt"),
    ("completions", {"prompt": {"a": 1}}, "prompt"),
    ("completions", {"prompt": "\ud800"}, "prompt"),
    ("completions", {"prompt": "x " * ROOM}, "prompt"),
    ("completions", {"prompt": ["x" * 200] * 70, "prompt_logprobs": -1}, "prompt_logprobs"),
    ("chat/completions", {**TALK, "response_format": {"type": "json_object"}}, "response_format"),
    ("chat/completions", {**TALK, "tool_choice": "auto"}, "tool_choice"),
    ("chat/completions", {**TALK, "prompt_logprobs": 1}, "prompt_logprobs"),
    ("chat/completions", {**TALK, "echo": True}, "echo"),
    ("chat/completions", {**TALK, "top_logprobs": 3}, "top_logprobs"),
    ("chat/completions", {**TALK, "logprobs": 3}, "logprobs"),
    ("chat/completions", {**TALK, "max_tokens": 0}, "max_tokens"),
    ("chat/completions", {"max_tokens": 1}, "messages"),
    ("chat/completions", {"messages": []}, "messages"),
    ("chat/completions", {"messages": ["x"]}, "messages[0]"),
    ("chat/completions", {"messages": [{"role": "user"}]}, "messages[0].content"),
    ("chat/completions", {"messages": [{"role": "user", "content": "\udfff"}]}, "messages"),
    ("chat/completions", {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content"),
    ("chat/completions", {"messages": [{"role": "user", "content": "x", "tool_calls": [1]}]}, "messages[0].tool_calls"),
]


def refusal(response: httpx2.Response, status: int = 400) -> dict[str, Any]:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


@pytest.mark.parametrize(("route", "body", "param"), REFUSED)
def test_a_refusal_names_the_parameter(server: Served, route: str, body: dict[str, Any], param: str) -> None:
    raw = json.dumps({"model": NAME, **body}).encode()
    error = refusal(CLIENT.post(f"{server.url}/{route}", content=raw))
    assert error["param"] == param
    assert error["type"] == "invalid_request_error"
    assert error["message"]


def test_values_that_ask_for_nothing_are_let_through(server: Served) -> None:
    neutral = {
        "presence_penalty": 0.0,
        "frequency_penalty": 0,
        "logit_bias": {},
        "best_of": 1,
        "suffix": None,
        "user": "me",
    }
    server.post("completions", **TEXT, **neutral, seed=None, stop=None, stream=False)
    server.post("chat/completions", **TALK, tools=[], tool_choice="none", response_format={"type": "text"}, store=False)


def test_another_model_is_not_found(server: Served) -> None:
    with openai.OpenAI(base_url=server.url, api_key="none", max_retries=0) as client:
        with pytest.raises(openai.NotFoundError, match=NAME) as caught:
            client.completions.create(model="gpt-5", prompt="x")
        assert caught.value.code == "model_not_found"
        assert [model.id for model in client.models.list()] == [NAME]
    assert refusal(CLIENT.post(f"{server.url}/completions", json={"prompt": "x"}))["param"] == "model"


def test_a_full_context_has_its_own_code(server: Served) -> None:
    full = [5] * ROOM
    error = refusal(server.ask("completions", prompt=full, max_tokens=1))
    assert error["code"] == "context_length_exceeded"
    assert (
        refusal(server.ask("chat/completions", messages=[{"role": "user", "content": "x " * ROOM}]))["code"]
        == error["code"]
    )
    start = time.perf_counter()
    assert refusal(server.ask("completions", prompt="x" * 8_000_000))["code"] == error["code"]
    assert time.perf_counter() - start < 2, "a text that cannot fit is not read"
    assert refusal(server.ask("completions", prompt=[*full, 5], max_tokens=0))["code"] == error["code"]
    scored = server.post("completions", prompt=full, max_tokens=0, prompt_logprobs=1)
    assert len(scored["choices"][0]["prompt_logprobs"]) == ROOM


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"\xff", b"[" * 100_000, b'{"n": ' + b"9" * 5000 + b"}", b"[]", b"null", b'"x"']
)
def test_what_is_no_json_object_is_refused(server: Served, raw: bytes) -> None:
    refusal(CLIENT.post(f"{server.url}/completions", content=raw))


def test_odd_addresses_and_sizes(server: Served) -> None:
    refusal(CLIENT.get(f"{server.url}/nothing"), 404)
    refusal(CLIENT.get(f"{server.url}/completions"), 405)
    refusal(CLIENT.post(f"{server.url}/completions", content=b" " * ((1 << 24) + 1)), 413)
    refusal(CLIENT.post(f"{server.url}/completions", content=rb'{"model": "\ud800", "prompt": "x"}'), 404)
    refusal(CLIENT.post(f"{server.url}/completions", content=rb'{"model": "tiny", "\ud800": "x"}'), 400)


def test_without_a_chat_template_the_chat_route_says_so(server: Served) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = None
    with served(make_model(tokenizer), tokenizer) as plain:
        assert "chat template" in refusal(plain.ask("chat/completions", **TALK))["message"]
        assert plain.texts(**TEXT)
        tokenizer.chat_template = "{{ raise_exception('only {} talks') }}"
        assert "only {} talks" in refusal(plain.ask("chat/completions", **TALK))["message"]


def test_broken_weights_and_a_failing_model_are_said_and_survived(server: Served) -> None:
    import torch

    tokenizer = make_tokenizer()
    model = make_model(tokenizer)
    with served(model, tokenizer) as broken:
        forward, model.forward = model.forward, None
        error = refusal(broken.ask("completions", **TEXT), 500)
        assert error["type"] == "server_error"
        model.forward = forward
        good = broken.texts(**TEXT, temperature=0)
        with torch.no_grad():
            kept = model.lm_head.weight.clone()
            model.lm_head.weight[:] = float("nan")
        for extra in ({}, {"echo": True, "logprobs": 1}, {"temperature": 0}):
            assert "not finite" in refusal(broken.ask("completions", **TEXT, **extra), 500)["message"]
        with CLIENT.stream("POST", f"{broken.url}/completions", json={"model": NAME, **TEXT, "stream": True}) as got:
            assert '"error"' in got.read().decode()
        with torch.no_grad():
            model.lm_head.weight[:] = kept
        assert broken.texts(**TEXT, temperature=0) == good


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = ("prompt", "messages", "n", "seed", "temperature", "top_p", "stop", "logprobs", "top_logprobs", "echo", "stream",
         "stream_options", "prompt_logprobs", "user", "suffix", "tools", "max_completion_tokens", "logit_bias")  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(["completions", "chat/completions"]), st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4))
def test_no_input_breaks_the_server(server: Served, route: str, odd: dict[str, Any]) -> None:
    base = TEXT if route == "completions" else TALK
    raw = json.dumps({"model": NAME, **base, **odd}).encode()
    response = CLIENT.post(f"{server.url}/{route}", content=raw)
    assert response.status_code in (200, 400), response.text
    if response.status_code == 400:
        assert response.json()["error"]["message"]
