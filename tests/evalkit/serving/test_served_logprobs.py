"""Logprobs: those of a direct forward in fp32, in every form, also where the head is padded."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from serving_model import NAME, PROMPTS, Served, make_model, make_tokenizer, served

from evalkit.endpoint.reading import read_logprobs
from evalkit.models import scoring

PADDING = 37
CLOSE = 1e-3
"""A random model with large weights rounds coarsely, most of all where it is fed one position at a time."""


@pytest.fixture(scope="module", params=[0, PADDING], ids=["plain", "padded"])
def either(request: pytest.FixtureRequest, server: Served) -> Iterator[Served]:
    """The usual server, and one whose head has rows that the tokenizer knows nothing of."""
    if request.param == 0:
        yield server
        return
    tokenizer = make_tokenizer()
    with served(make_model(tokenizer, padding=PADDING), tokenizer) as padded:
        yield padded


def direct(server: Served, ids: list[int]) -> torch.Tensor:
    """Log-softmax over the real ids, `(positions, ids)`: row i is about the token behind the i-th."""
    with torch.no_grad():
        logits = server.model(torch.tensor([ids])).logits[0].float()
    return logits[:, : len(server.tokenizer)].log_softmax(-1)


def test_the_padded_rows_would_be_chosen(either: Served) -> None:
    with torch.no_grad():
        best = either.model(torch.tensor([either.tokenizer("x")["input_ids"]])).logits[0, -1].argmax()
    assert (int(best) >= len(either.tokenizer)) == (either.model.config.vocab_size > len(either.tokenizer))


def test_drawn_tokens_have_the_logprobs_of_a_direct_forward(either: Served) -> None:
    size = len(either.tokenizer)
    asked = {"prompt": PROMPTS, "n": 2, "seed": 8, "max_tokens": 15, "temperature": 0.6}
    reply = either.post("completions", **asked, logprobs=size)
    for choice in reply["choices"]:
        prompt = PROMPTS[choice["index"] // 2]
        told = choice["logprobs"]
        ids = either.tokenizer(prompt)["input_ids"]
        by_text = {text_of(either, id): id for id in range(size)}
        for token, logprob, top in zip(told["tokens"], told["token_logprobs"], told["top_logprobs"], strict=True):
            row = direct(either, ids)[-1]
            assert logprob == pytest.approx(float(row[by_text[token]]), abs=CLOSE)
            assert top == pytest.approx({text: float(row[id]) for text, id in by_text.items()}, abs=CLOSE)
            ids.append(by_text[token])
        assert (
            either.tokenizer.decode(ids[len(either.tokenizer(prompt)["input_ids"]) :], skip_special_tokens=True)
            == choice["text"]
        )
        for offset, token in zip(told["text_offset"], told["tokens"], strict=True):
            if not token.startswith("bytes:") and token not in ("<pad>", "<eos>"):
                assert (
                    choice["text"][offset:].lstrip("\ufffd").startswith(token)
                )  # behind broken bytes: where these begin


def text_of(server: Served, id: int) -> str:
    return server.engine.vocabulary.text(id)


def test_the_chat_form(server: Served) -> None:
    with openai.OpenAI(base_url=server.url, api_key="none") as client:
        found = client.chat.completions.create(
            model=NAME,
            messages=[{"role": "user", "content": "é"}],
            temperature=0,
            max_tokens=12,
            logprobs=True,
            top_logprobs=3,
        )
    (choice,) = found.choices
    assert choice.logprobs is not None
    assert choice.logprobs.content is not None
    ids = server.tokenizer("<user>é<ai>")["input_ids"]
    for place in choice.logprobs.content:
        values, best = direct(server, ids)[-1].topk(3)
        assert [top.logprob for top in place.top_logprobs] == pytest.approx(values.tolist(), abs=CLOSE)
        assert [top.token for top in place.top_logprobs] == [text_of(server, int(id)) for id in best]
        assert place.token == place.top_logprobs[0].token
        ids.append(int(best[0]))
    raw = b"".join(bytes(place.bytes or []) for place in choice.logprobs.content)
    assert raw.decode(errors="replace") == choice.message.content
    read = read_logprobs(choice.logprobs.model_dump(), "t")
    assert read is not None
    assert len(read.tokens) == len(choice.logprobs.content)


@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_scored_prompts_equal_a_direct_log_softmax_in_both_forms(either: Served, data: st.DataObject) -> None:
    size = len(either.tokenizer)
    ids = st.lists(st.integers(0, size - 1), min_size=1, max_size=40)
    prompts = data.draw(st.lists(ids, min_size=1, max_size=4))
    k = data.draw(st.sampled_from([0, 1, 5, size, size + 99, -1]))
    scoring_slice, scoring.SLICE = scoring.SLICE, data.draw(st.sampled_from([1, 3 * size, 1 << 23]))
    try:
        places = either.post("completions", prompt=prompts, max_tokens=data.draw(st.integers(0, 1)), prompt_logprobs=k)
        lists = either.post("completions", prompt=prompts, max_tokens=0, echo=True, logprobs=max(k, 0))
    finally:
        scoring.SLICE = scoring_slice
    for prompt, place, listed in zip(prompts, places["choices"], lists["choices"], strict=True):
        expected = direct(either, prompt)
        scored = place["prompt_logprobs"]
        assert len(scored) == len(prompt)
        assert scored[0] is None
        for i, entries in enumerate(scored[1:]):
            check_place(either, entries, expected[i], prompt[i + 1], size if k == -1 else min(k, size))
        check_lists(either, listed, expected, prompt, max(k, 0))


def check_place(server: Served, entries: dict[str, Any], row: torch.Tensor, actual: int, k: int) -> None:
    """vLLM's form: the k likeliest and the actual one."""
    assert str(actual) in entries
    assert k <= len(entries) <= k + 1
    for id, entry in entries.items():
        assert entry["logprob"] == pytest.approx(float(row[int(id)]), abs=CLOSE)
        assert entry["decoded_token"] == text_of(server, int(id))
        above = int((row > row[int(id)] + CLOSE).sum())
        assert above < entry["rank"] <= int((row > row[int(id)] - CLOSE).sum())
    if k == len(row):
        assert sorted(entry["rank"] for entry in entries.values()) == list(range(1, k + 1))
        total = torch.tensor([entry["logprob"] for entry in entries.values()]).exp().sum()
        assert float(total) == pytest.approx(1, abs=1e-4)


def check_lists(server: Served, choice: dict[str, Any], expected: torch.Tensor, prompt: list[int], k: int) -> None:
    """OpenAI's legacy form: the prompt's tokens, the first without a logprob."""
    told = choice["logprobs"]
    assert told["tokens"] == [text_of(server, id) for id in prompt]
    assert told["token_logprobs"][0] is None
    values = [float(expected[i, id]) for i, id in enumerate(prompt[1:])]
    assert told["token_logprobs"][1:] == pytest.approx(values, abs=CLOSE)
    assert choice["text"] == server.tokenizer.decode(prompt, skip_special_tokens=False)
    assert len(told["text_offset"]) == len(prompt)
    if k == 0:
        assert told["top_logprobs"] is None
        return
    assert told["top_logprobs"][0] is None
    for i, top in enumerate(told["top_logprobs"][1:]):
        assert max(top.values()) == pytest.approx(float(expected[i].max()), abs=CLOSE)
        assert top[told["tokens"][i + 1]] == told["token_logprobs"][i + 1]


def test_an_echo_with_an_answer_scores_both(server: Served) -> None:
    reply = server.post("completions", prompt=PROMPTS[1], max_tokens=4, echo=True, logprobs=1, temperature=0, n=2)
    first, second = reply["choices"]
    told = first["logprobs"]
    assert first["text"].startswith(PROMPTS[1])
    assert first["text"] == second["text"] == "".join(told["tokens"])
    assert told["text_offset"] == [sum(map(len, told["tokens"][:i])) for i in range(len(told["tokens"]))]
    again = server.post("completions", prompt=first["text"], max_tokens=0, echo=True, logprobs=1)["choices"][0]
    if again["logprobs"]["tokens"] == told["tokens"]:
        assert again["logprobs"]["token_logprobs"][1:] == pytest.approx(told["token_logprobs"][1:], abs=CLOSE)
    assert read_logprobs(told, "t") is not None


def test_scoring_asks_for_no_slot_of_its_own(server: Served) -> None:
    prompts = [f"def f{i}(x):\n    return x + {i}\n" * (1 + i % 5) for i in range(80)]
    together = server.post("completions", prompt=prompts, max_tokens=0, prompt_logprobs=0)["choices"]
    alone = [server.post("completions", prompt=p, max_tokens=0, prompt_logprobs=0)["choices"][0] for p in prompts[::9]]
    for a, b in zip(together[::9], alone, strict=True):
        for left, right in zip(a["prompt_logprobs"][1:], b["prompt_logprobs"][1:], strict=True):
            assert left.keys() == right.keys()
            assert all(left[id]["logprob"] == pytest.approx(right[id]["logprob"], abs=CLOSE) for id in left)
