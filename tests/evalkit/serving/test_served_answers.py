"""What the server says: the same as the model itself, whatever is asked beside it."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx2
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serving_model import CLIENT, NAME, PROMPTS, ROOM, Served, make_model, make_tokenizer, served

from evalkit.models import LocalModel


@pytest.fixture(scope="module")
def client(server: Served):
    with openai.OpenAI(base_url=server.url, api_key="none", max_retries=0) as client:
        yield client


def local(server: Served) -> LocalModel:
    return LocalModel((server.model, server.tokenizer))


def test_greedy_answers_equal_the_local_model(server: Served, client: openai.OpenAI) -> None:
    expected = local(server).complete(PROMPTS, max_new_tokens=24)
    found = client.completions.create(model=NAME, prompt=PROMPTS, temperature=0, max_tokens=24)
    assert [choice.text for choice in found.choices] == [group[0].text for group in expected]
    assert [choice.finish_reason for choice in found.choices] == [group[0].finish_reason for group in expected]
    assert found.usage is not None
    assert found.usage.completion_tokens == sum(group[0].tokens or 0 for group in expected)
    assert found.usage.prompt_tokens == sum(len(server.tokenizer(prompt)["input_ids"]) for prompt in PROMPTS)


def test_samples_equal_the_local_model_of_that_seed(server: Served) -> None:
    expected = local(server).complete(PROMPTS, n=3, temperature=0.8, seed=5, max_new_tokens=12)
    found = server.texts(prompt=PROMPTS, n=3, temperature=0.8, seed=5, max_tokens=12)
    assert found == [sample.text for group in expected for sample in group]
    assert len(set(found[:3])) == 3


def test_an_answer_depends_on_its_content_and_seed_only(server: Served) -> None:
    asked = {"prompt": PROMPTS[1], "n": 2, "temperature": 0.9, "top_p": 0.9, "seed": 11, "max_tokens": 30}
    alone = server.texts(**asked)
    with ThreadPoolExecutor(12) as pool:
        others = [pool.submit(server.texts, prompt=PROMPTS[i % 4], n=3, max_tokens=10 + i) for i in range(10)]
        among = [pool.submit(server.texts, **asked) for _ in range(2)]
        assert all(one.result() == alone for one in among)
        assert all(len(other.result()) == 3 for other in others)
    assert server.texts(**{**asked, "seed": 12}) != alone
    assert server.texts(**{**asked, "n": 1}) == alone[:1]


def test_without_a_seed_answers_differ_and_so_do_equal_prompts(server: Served) -> None:
    first = server.texts(prompt=["x", "x"], max_tokens=12)
    assert first[0] != first[1]
    assert server.texts(prompt=["x", "x"], max_tokens=12) != first


def test_ids_are_continued_as_the_text_is(server: Served) -> None:
    ids = [server.tokenizer(prompt)["input_ids"] for prompt in PROMPTS]
    as_text = server.texts(prompt=PROMPTS, temperature=0, max_tokens=8)
    assert server.texts(prompt=ids, temperature=0, max_tokens=8) == as_text
    assert server.texts(prompt=ids[0], temperature=0, max_tokens=8) == as_text[:1]
    sampled = server.texts(prompt=ids[0], seed=3, max_tokens=8)
    assert server.texts(prompt=ids, seed=3, max_tokens=8)[0] == sampled[0]


def test_an_empty_prompt_and_no_tokens(server: Served) -> None:
    (expected,) = local(server).complete([""], max_new_tokens=5)
    assert server.texts(prompt="", temperature=0, max_tokens=5) == [expected[0].text]
    (choice,) = server.post("completions", prompt="x", max_tokens=0)["choices"]
    assert (choice["text"], choice["finish_reason"], choice["logprobs"]) == ("", "length", None)
    assert server.texts(prompt="x", max_tokens=0, echo=True, n=2) == ["x", "x"]


def test_a_tiny_nucleus_is_greedy_and_a_high_temperature_is_not(server: Served) -> None:
    greedy = server.texts(prompt="x", temperature=0, max_tokens=10)
    assert server.texts(prompt="x", temperature=3, top_p=0, max_tokens=10) == greedy
    assert server.texts(prompt="x", temperature=1e-300, max_tokens=10) == greedy
    assert server.texts(prompt="x", temperature=1e300, seed=1, max_tokens=10) != greedy


def test_the_context_bounds_an_answer(server: Served) -> None:
    reply = server.post("completions", prompt="x", temperature=0, max_tokens=10_000)
    (expected,) = local(server).complete(["x"], max_new_tokens=10_000)
    assert reply["choices"][0]["text"] == expected[0].text
    assert reply["usage"]["total_tokens"] <= ROOM
    full = server.tokenizer("x " * 400)["input_ids"][: ROOM - 1]
    assert server.post("completions", prompt=full, max_tokens=5, temperature=0)["usage"]["completion_tokens"] <= 1


def test_the_chat_template_makes_the_prompt(server: Served, client: openai.OpenAI) -> None:
    said = [{"role": "system", "content": "be"}, {"role": "user", "content": [{"type": "text", "text": "x"}]}]
    found = client.chat.completions.create(model=NAME, messages=said, temperature=0, max_completion_tokens=9)  # type: ignore[arg-type]
    assert (
        found.choices[0].message.content == server.texts(prompt="<system>be<user>x<ai>", temperature=0, max_tokens=9)[0]
    )
    several = client.chat.completions.create(model=NAME, messages=said, n=4, seed=1, max_tokens=9)  # type: ignore[arg-type]
    assert len({choice.message.content for choice in several.choices}) == 4
    assert [choice.index for choice in several.choices] == [0, 1, 2, 3]


def stop_at(text: str, stops: list[str]) -> tuple[str, bool]:
    """Where the first stop string to be complete cuts a text that comes token by token."""
    cuts = [text.find(stop) for stop in stops if stop in text]
    return (text[: min(cuts)], True) if cuts else (text, False)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.data())
def test_stop_strings_cut_anywhere_also_across_tokens(server: Served, seed: int, data: st.DataObject) -> None:
    asked = {"prompt": PROMPTS[seed % 4], "seed": seed, "temperature": 0.7, "max_tokens": 30}
    (whole,) = server.texts(**asked)
    if len(whole) < 2:
        return
    start = data.draw(st.integers(0, len(whole) - 1))
    stop = whole[start : start + data.draw(st.integers(1, 7))]
    reply = server.post("completions", **asked, stop=stop)["choices"][0]
    assert (reply["text"], reply["finish_reason"]) == (whole[: whole.index(stop)], "stop")
    others = ["\x00never", "nor\x00this", stop, "\x00a", "\x00b"]
    assert server.texts(**asked, stop=others) == [stop_at(whole, others)[0]]


def test_the_end_of_text_ends_an_answer(server: Served) -> None:
    reply = server.post("completions", prompt="x", temperature=0, max_tokens=8, logprobs=0)
    first = reply["choices"][0]["logprobs"]["tokens"][0]
    id = server.tokenizer(first)["input_ids"][0]
    before = server.engine.batch.ends
    server.engine.batch.ends = before | {id}
    try:
        reply = server.post("completions", prompt="x", temperature=0, max_tokens=8, logprobs=0)
    finally:
        server.engine.batch.ends = before
    assert reply["choices"][0]["text"] == ""
    assert reply["choices"][0]["finish_reason"] == "stop"
    assert reply["choices"][0]["logprobs"]["tokens"] == []
    assert reply["usage"]["completion_tokens"] == 0


def stream(server: Served, route: str, **body: object) -> list[dict]:
    """The chunks of a streamed answer, which must end as it should."""
    with CLIENT.stream("POST", f"{server.url}/{route}", json={"model": NAME, "stream": True, **body}) as got:
        assert got.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in got.iter_lines() if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.booleans(), st.booleans())
def test_a_stream_says_what_the_whole_answer_says(server: Served, seed: int, echo: bool, stops: bool) -> None:
    asked = {"prompt": PROMPTS[1:], "n": 2, "seed": seed, "max_tokens": 25, "logprobs": 2, "echo": echo}
    asked |= {"stop": ["e", "\n  ", "turn"]} if stops else {}
    whole = server.post("completions", **asked)
    chunks = stream(server, "completions", **asked, stream_options={"include_usage": True})
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == whole["usage"]
    for choice in whole["choices"]:
        parts = [part for chunk in chunks for part in chunk["choices"] if part["index"] == choice["index"]]
        assert "".join(part["text"] for part in parts) == choice["text"]
        assert [part["finish_reason"] for part in parts][-1] == choice["finish_reason"]
        assert all(part["finish_reason"] is None for part in parts[:-1])
        for name, values in choice["logprobs"].items():
            assert close([value for part in parts for value in part["logprobs"][name]], values)
        if not stops and not echo:
            assert len(parts) > 1


def close(a: object, b: object) -> bool:
    """Equal up to the rounding that another batch brings."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(close(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(close, a, b))
    return a == pytest.approx(b, abs=1e-3) if isinstance(a, float) else a == b


def test_a_chat_stream_by_the_client(server: Served, client: openai.OpenAI) -> None:
    said = [{"role": "user", "content": "x"}]
    asked = {"model": NAME, "messages": said, "seed": 4, "max_tokens": 20, "n": 2, "logprobs": True}
    whole = client.chat.completions.create(**asked)  # type: ignore[call-overload]
    texts, counts = ["", ""], [0, 0]
    for chunk in client.chat.completions.create(**asked, stream=True):  # type: ignore[call-overload]
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            counts[choice.index] += len(choice.logprobs.content) if choice.logprobs else 0
    assert texts == [choice.message.content for choice in whole.choices]
    assert counts == [len(choice.logprobs.content) for choice in whole.choices]


def test_many_at_once_are_faster_and_say_the_same(server: Served) -> None:
    def ask(i: int) -> list[str]:
        return server.texts(prompt=PROMPTS[i % 4] + str(i), seed=i, temperature=0.7, max_tokens=60, stop="\x00")

    start = time.perf_counter()
    alone = [ask(i) for i in range(32)]
    middle = time.perf_counter()
    with ThreadPoolExecutor(32) as pool:
        together = list(pool.map(ask, range(32)))
    end = time.perf_counter()
    assert together == alone
    assert end - middle < 0.6 * (middle - start)


def test_more_rows_than_the_batch_holds_wait_their_turn(server: Served) -> None:
    asked = {"prompt": PROMPTS, "n": 25, "seed": 2, "max_tokens": 6}
    found = server.texts(**asked)
    assert len(found) == 100
    assert found[:2] == server.texts(prompt=PROMPTS[0], n=2, seed=2, max_tokens=6)


@pytest.mark.parametrize("streamed", [False, True])
def test_who_goes_away_frees_the_rows(streamed: bool) -> None:
    tokenizer = make_tokenizer()
    with served(make_model(tokenizer), tokenizer, max_batch=8) as slow:
        slow.engine.batch.ends = frozenset()
        step, gate = slow.engine.batch.step, threading.Event()
        slow.engine.batch.step = lambda: (gate.wait(0.02), step())[1]  # type: ignore[method-assign]
        body = {"model": NAME, "prompt": "x", "n": 20, "max_tokens": 250, "stream": streamed}
        with httpx2.Client() as client:
            if streamed:
                with client.stream("POST", f"{slow.url}/completions", json=body) as got:
                    lines = got.iter_lines()
                    next(lines)
                    slow.wait_for(8)
            else:
                with pytest.raises(httpx2.TimeoutException):
                    client.post(f"{slow.url}/completions", json=body, timeout=0.5)
        slow.wait_for(0)
        assert slow.load()["waiting"] == 0
        assert len(slow.texts(prompt="x", max_tokens=3)) == 1
