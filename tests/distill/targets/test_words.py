"""An API that says what it thought of its own words: a real server in front of a real model, asked, proven, aligned."""

import json
import math
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy import toy_problem, toy_recipe

from evalkit.endpoint import TokenLogprobs
from evalkit.errors import DataError, EndpointError, ModelError
from evalkit.recipes import parse_recipe

K = 6


@pytest.fixture(scope="module")
def teacher(toy_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from distill.jobs.train import train

    folder = tmp_path_factory.mktemp("teacher") / "run"
    train(toy_recipe(toy_dataset, folder, tokenizer={"vocab_size": 300}))
    return folder / "model"


class Api:
    """Says the right solutions, with what a model thinks of their words; every `wrong`th answer is wrong."""

    def __init__(self, folder: Path, wrong: int = 10**9, logprobs: bool = True, silent: int = 10**9) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from evalkit.models.vocabulary import Vocabulary

        self.model = AutoModelForCausalLM.from_pretrained(folder)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.vocabulary = Vocabulary(self.tokenizer)
        self.wrong, self.logprobs, self.asked = wrong, logprobs, list[dict[str, Any]]()
        self.silent = silent
        """Every so many answers one has no log-probabilities."""
        self.letter_by_letter = False
        """Whether the very first answer is said in an unusual cut."""
        self.ending = "```\n"
        """What ends a chat's answer."""
        self.listed = 10**9
        """Every so many chat answers one stands in a list, indented as a whole, with two lines of code."""
        self.lock = threading.Lock()

    def body(self, prompt: str) -> tuple[str, int]:
        number = next(i for i in range(200) if toy_problem(i).prompt == prompt.rstrip())
        solution = toy_problem(number).solution or ""
        return solution.removeprefix(toy_problem(number).prompt), number

    def reply(self, asked: dict[str, Any]) -> dict[str, Any]:
        with self.lock:
            self.asked.append(asked)
            chat = "messages" in asked
            prompt = asked["messages"][-1]["content"] if chat else asked["prompt"]
            body, number = self.body(prompt)
            if number % self.wrong == self.wrong - 1:
                body = body.replace("return", "return 1000 -")
            text = f"Sure:\n```python\n{prompt}{body}{self.ending}" if chat else body
            if number % self.listed == self.listed - 1:
                text = textwrap.indent(text.replace("    return", "    a = a\n    return"), "   ")
            places = self.places("" if chat else prompt, text, asked.get("top_logprobs") or asked.get("logprobs") or 0)
        loud = self.logprobs and number % self.silent != self.silent - 1
        usage = {"prompt_tokens": 10, "completion_tokens": len(places)}
        choice: dict[str, Any] = {
            "index": 0,
            "finish_reason": "length" if chat and "```" not in self.ending else "stop",
        }
        if chat:
            choice["message"] = {"role": "assistant", "content": text}
            spelled = [
                {
                    "token": self.vocabulary.text(id),
                    "bytes": list(self.vocabulary.spelling(id)),
                    "logprob": own,
                    "top_logprobs": [
                        {"token": self.vocabulary.text(i), "bytes": list(self.vocabulary.spelling(i)), "logprob": p}
                        for i, p in top
                    ],
                }
                for id, own, top in places
            ]
            choice["logprobs"] = {"content": spelled} if loud else None
        else:
            choice["text"] = text
            lists = {
                "tokens": [self.vocabulary.text(id) for id, _, _ in places],
                "token_logprobs": [own for _, own, _ in places],
                "top_logprobs": [{self.vocabulary.text(i): p for i, p in top} for _, _, top in places],
            }
            choice["logprobs"] = lists if loud else None
        return {"id": "x", "model": "api", "choices": [choice], "usage": usage}

    def places(self, prompt: str, text: str, k: int) -> list[tuple[int, float, list[tuple[int, float]]]]:
        before = self.tokenizer(prompt)["input_ids"] or [self.tokenizer.eos_token_id]
        pieces = list(text) if self.letter_by_letter and len(self.asked) == 1 else [text]
        said = [id for piece in pieces for id in self.tokenizer(piece, add_special_tokens=False)["input_ids"]]
        with torch.no_grad():
            logits = self.model(torch.tensor([[*before, *said]])).logits[0, len(before) - 1 : -1]
        log_probs = logits.float().log_softmax(-1)
        top = log_probs.topk(max(1, k))
        return [
            (id, log_probs[t, id].item(), list(zip(top.indices[t].tolist(), top.values[t].tolist(), strict=True)))
            for t, id in enumerate(said)
        ]


@contextmanager
def serving(api: Api) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            data = json.dumps(api.reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()


def recipe(dataset: Path, output: Path, url: str, tokenizer: Path, route: str = "completions", **more: Any) -> Any:
    from distill.jobs.words import WordsRecipe

    sections = {
        "data": {"folder": str(dataset)},
        "output": str(output),
        "api": {"base_url": url, "model": "api", "route": route},
        "tokenizer": str(tokenizer),
        "k": K,
    }
    return parse_recipe(WordsRecipe, sections | more)


def as_local(dataset: Path, words: Path, teacher: Path, output: Path) -> Path:
    """The top-k cache of the same rows by the model itself."""
    from distill.jobs.cache import CacheRecipe, cache

    made = {"data": {"folder": str(words)}, "teacher": str(teacher), "mode": "top_k", "k": K, "output": str(output)}
    cache(parse_recipe(CacheRecipe, made))
    return output


def tops(folder: Path) -> dict[bytes, Any]:
    from distill.targets.codec import Form, decode_top
    from distill.targets.store import Store

    manifest = json.loads((folder / "manifest.json").read_text())
    store, form = Store(folder), Form(manifest["valid"], manifest["draws"], manifest["k"])
    return {digest: decode_top(*store.row(digest), form) for digest in store._places}


def test_words_carry_what_the_model_behind_the_api_thinks(toy_dataset: Path, teacher: Path, tmp_path: Path):
    from distill.jobs.words import words

    api = Api(teacher, wrong=8)
    with serving(api) as url:
        summary = words(recipe(toy_dataset, tmp_path / "words", url, teacher))
    assert summary["rejected"] == {"wrong": summary["tasks"] - summary["rows"]}
    assert summary["rows"] > 20
    assert summary["aligned"] > 0.85  # all but the ends of text
    assert summary["k"] == K
    assert {asked["logprobs"] for asked in api.asked} == {K}
    ours, local = tops(tmp_path / "words"), tops(as_local(toy_dataset, tmp_path / "words", teacher, tmp_path / "local"))
    assert ours.keys() == local.keys()
    for digest, top in ours.items():
        np.testing.assert_array_equal(top.ids[:-1], local[digest].ids[:-1])
        np.testing.assert_allclose(top.log_probs[:-1], local[digest].log_probs[:-1], atol=2e-2)
        np.testing.assert_allclose(np.exp(top.rest[:-1]), np.exp(local[digest].rest[:-1]), atol=2e-3)
        assert np.exp(top.log_probs[-1]).tolist() == [1.0] + [0.0] * (K - 1)  # the end: APIs do not show it


def test_a_chat_is_aligned_through_its_fence_and_trained_from(toy_dataset: Path, teacher: Path, tmp_path: Path):
    from distill.jobs.train import train
    from distill.jobs.words import words

    with serving(Api(teacher)) as url:
        made = recipe(
            toy_dataset,
            tmp_path / "words",
            url,
            teacher,
            route="chat",
            data={"folder": str(toy_dataset), "prompt_weight": 0.5},
        )
        summary = words(made)
    assert summary["rows"] == summary["tasks"]
    assert summary["aligned"] > 0.2  # the prompts were given, not said
    folder = str(tmp_path / "words")
    run = train(
        toy_recipe(
            toy_dataset,
            tmp_path / "run",
            method="kd",
            cache=folder,
            data={"folder": folder, "prompt_weight": 0.5},
            tokenizer={},
            loss={"alpha": 0.2},
            eval={"samples": 5},
            guard={"enabled": False},
        )
    )
    assert run["steps"] == 4
    assert all(math.isfinite(entry["divergence"]) for entry in run["log"] if "divergence" in entry)


def test_nothing_is_paid_twice(toy_dataset: Path, teacher: Path, tmp_path: Path):
    from distill.jobs.words import words

    api = Api(teacher)
    with serving(api) as url:
        made = recipe(toy_dataset, tmp_path / "words", url, teacher)
        words(made)
        count = len(api.asked)
        (tmp_path / "words" / "summary.json").unlink()
        before = (tmp_path / "words" / "shard-00000.bin").read_bytes()
        words(made)
    assert len(api.asked) == count
    assert (tmp_path / "words" / "shard-00000.bin").read_bytes() == before


def test_what_cannot_be_is_refused(toy_dataset: Path, teacher: Path, tmp_path: Path):
    from distill.jobs.train import train
    from distill.jobs.words import words

    with (
        serving(Api(teacher, logprobs=False)) as url,
        pytest.raises(EndpointError, match="did not say what it thought"),
    ):
        words(recipe(toy_dataset, tmp_path / "silent", url, teacher))
    other = tmp_path / "other"
    train(toy_recipe(toy_dataset, other, tokenizer={"vocab_size": 420}))
    with serving(Api(teacher)) as url, pytest.raises(ModelError, match="otherwise than this tokenizer"):
        words(recipe(toy_dataset, tmp_path / "cut", url, other / "model"))
    with serving(Api(teacher, wrong=1)) as url:
        api_wrong = recipe(toy_dataset, tmp_path / "wrong", url, teacher)
        with pytest.raises(DataError, match="no answer is left"):
            words(api_wrong)


def test_an_answer_without_what_was_thought_is_left_out(toy_dataset: Path, teacher: Path, tmp_path: Path):
    from distill.jobs.words import words

    with serving(Api(teacher, silent=10)) as url:
        summary = words(recipe(toy_dataset, tmp_path / "words", url, teacher))
    assert summary["rejected"] == {"no_logprobs": 4}
    assert (summary["answers"], summary["rows"]) == (40, 36)


def test_one_unusual_cut_at_the_start_is_no_other_tokenizer(toy_dataset: Path, teacher: Path, tmp_path: Path):
    from distill.jobs.words import words

    api = Api(teacher)
    api.letter_by_letter = True
    with serving(api) as url:
        summary = words(recipe(toy_dataset, tmp_path / "words", url, teacher))
    assert summary["rows"] == 40


def test_a_silent_answer_after_a_rejected_one_ends_nothing(toy_dataset: Path, teacher: Path, tmp_path: Path):
    from transformers import AutoTokenizer

    from distill.data import Row
    from distill.targets.answers import Answers
    from distill.targets.words import Reader
    from evalkit.endpoint import Answer

    made = recipe(toy_dataset, tmp_path / "words", "http://127.0.0.1:9/v1", teacher)
    answers = Answers(made.api, made.data, Reader(AutoTokenizer.from_pretrained(teacher)))
    told = TokenLogprobs(tokenizer="t", tokens=("x",), logprobs=(-0.1,), top=((("x", -0.1),),))
    facts: dict[str, Any] = {"usage": None, "cost_usd": None, "latency": 0.0}
    cut = Answer(key="1", text="\n    return (", finish_reason="length", logprobs=told, **facts)
    silent = Answer(key="2", text="\n    return 1", finish_reason="stop", **facts)
    for answer in (cut, silent):
        answers.take(Row(problem=toy_problem(0)), 0, answer)
    assert answers.rejected == {"cut_off": 1, "no_logprobs": 1}


def test_a_budget_that_ends_is_raised_and_the_rest_is_asked(toy_dataset: Path, teacher: Path, tmp_path: Path):
    from distill.jobs.words import words

    api = Api(teacher)
    with serving(api) as url:
        priced = {
            "base_url": url,
            "model": "api",
            "route": "completions",
            "input_usd_per_million": 1000.0,
            "output_usd_per_million": 1000.0,
        }
        with pytest.raises(EndpointError, match="have no answer yet"):
            words(recipe(toy_dataset, tmp_path / "words", url, teacher, api=priced, max_usd=1.0))
        first = len(api.asked)
        assert 0 < first < 40
        summary = words(recipe(toy_dataset, tmp_path / "words", url, teacher, api=priced, max_usd=100.0))
    assert len(api.asked) == 40
    assert summary["rows"] == 40


def test_a_chat_that_was_cut_off_is_not_learned(toy_dataset: Path, teacher: Path, tmp_path: Path):
    from distill.jobs.words import words

    api = Api(teacher)
    api.ending = "    # and here come some more con"
    with serving(api) as url, pytest.raises(DataError, match="cut_off"):
        words(recipe(toy_dataset, tmp_path / "words", url, teacher, route="chat"))


def test_an_answer_in_a_list_is_left_out(toy_dataset: Path, teacher: Path, tmp_path: Path):
    """Its words stand further to the right than what is learned of it: none of them is that of a token."""
    from distill.jobs.words import words

    api = Api(teacher)
    api.listed = 10
    with serving(api) as url:
        summary = words(recipe(toy_dataset, tmp_path / "words", url, teacher, route="chat"))
    assert summary["rejected"] == {"not_verbatim": 4}
    assert summary["aligned"] > 0.9


def test_reverse_kl_of_a_lone_word_is_refused(toy_dataset: Path, teacher: Path, tmp_path: Path):
    from distill.jobs.train import train
    from distill.jobs.words import words

    with serving(Api(teacher)) as url:
        words(recipe(toy_dataset, tmp_path / "words", url, teacher))
    folder = str(tmp_path / "words")
    sections = {"method": "kd", "cache": folder, "data": {"folder": folder}, "tokenizer": {}}
    with pytest.raises(DataError, match="such a teacher is infinite"):
        train(toy_recipe(toy_dataset, tmp_path / "run", loss={"alpha": 0.2, "divergence": "reverse_kl"}, **sections))


def test_spellings():
    from distill.targets.words import spelling

    assert spelling("bytes:\\xe2\\x9c") == b"\xe2\x9c" == spelling("\\xe2\\x9c")
    assert spelling("\\x41") == b"\\x41"  # the text of an escape, which is a text
    assert spelling("é\n") == "é\n".encode()


@pytest.mark.parametrize("text", ["\n    return 'π✓'\n", "    return 'π✓'\n", "x = 1\n    return 'π✓'\n\nprint(2)"])
def test_an_answer_is_found_wherever_it_stands(teacher: Path, text: str):
    from transformers import AutoTokenizer

    from distill.data import Row, encode
    from distill.targets.words import Reader, as_top
    from evalkit.prompting import PROMPTING

    tokenizer = AutoTokenizer.from_pretrained(teacher)
    reader = Reader(tokenizer)
    problem = toy_problem(0).model_copy(update={"solution": f"{toy_problem(0).prompt}\n    return 'π✓'\n"})
    row, completion = encode(Row(problem=problem), tokenizer, PROMPTING), PROMPTING.split_solution(problem)[1]
    words = [reader.vocabulary.text(i) for i in tokenizer(text, add_special_tokens=False)["input_ids"]]
    said = TokenLogprobs(
        tokenizer="t",
        tokens=tuple(words),
        logprobs=(-0.1,) * len(words),
        top=tuple(((w, -0.1), ("no such", -3.0)) for w in words),
    )
    places = reader.places(text, said, completion, row)
    assert [place.id for place in places] == [label for label in row.labels if label >= 0]
    assert sum(bool(place.likely) for place in places) >= len(places) - 2 - (not text.startswith("\n"))
    assert all(place.likely == ((place.id, -0.1),) for place in places if place.likely)
    hidden = TokenLogprobs(
        tokenizer="t",
        tokens=tuple(word if word.isascii() and not word.startswith("bytes") else "\ufffd" for word in words),
        logprobs=said.logprobs,
        top=said.top,
    )
    assert reader.places(text, hidden, completion, row) == places  # parts of a character, shown as nothing
    top = as_top(places, 3, reader.valid)
    assert all(len(set(ids)) == 3 for ids in top.ids.tolist())
    assert np.allclose(np.exp(top.log_probs).sum(1) + np.exp(top.rest), 1, atol=1e-6)


def test_of_two_blocks_the_last_one_is_meant(teacher: Path):
    from transformers import AutoTokenizer

    from distill.data import Row, encode
    from distill.targets.words import Reader
    from evalkit.prompting import PROMPTING

    tokenizer = AutoTokenizer.from_pretrained(teacher)
    reader, problem = Reader(tokenizer), toy_problem(0)
    row, completion = encode(Row(problem=problem), tokenizer, PROMPTING), PROMPTING.split_solution(problem)[1]
    text = f"```\n{problem.solution}```\nagain\n```\n{problem.solution}```"
    words = [reader.vocabulary.text(i) for i in tokenizer(text)["input_ids"]]
    rates = [-0.5 if i < len(words) / 2 else -0.1 for i in range(len(words))]
    top = tuple(((word, rate),) for word, rate in zip(words, rates, strict=True))
    said = TokenLogprobs(tokenizer="t", tokens=tuple(words), logprobs=tuple(rates), top=top)
    likely = [place.likely for place in reader.places(text, said, completion, row) if place.likely]
    assert {rate for ((_, rate),) in likely} == {-0.1}


def test_what_is_no_probability_is_not_learned(teacher: Path):
    from transformers import AutoTokenizer

    from distill.targets.words import Reader

    reader = Reader(AutoTokenizer.from_pretrained(teacher))
    assert reader._likely((("a", 1e5), ("b", -0.1))) == ()
    assert [rate for _, rate in reader._likely((("a", 1e-6), ("b", -9.0)))] == [0.0, -9.0]
