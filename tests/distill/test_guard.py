"""The collapse guard: which texts are collapsed, and when training stops."""

import gzip
import json
import re

import pytest
from benchmarks import benchmark

from distill.guard import ENOUGH, LOW_ENTROPY, Guard, collapsed_share, entropy, is_collapsed
from distill.recipe import GuardPart
from evalkit.errors import TrainingError

TWO_WORDS = "x y y x x x y x y y y x y x x y x y x x"
"""Neither a loop nor one word: only its entropy gives it away."""


@pytest.mark.parametrize(
    "text", ["", "  \n", "return return x", "def def def", "x x x x", "a + " * 30, "\n    " * 20, TWO_WORDS]
)
def test_collapsed(text: str):
    assert is_collapsed(text)


@pytest.mark.parametrize("text", ["\n    return a + b", "\n    x = 1\n    x += 1\n    return x", "return not x", "x"])
def test_healthy(text: str):
    assert not is_collapsed(text)


@pytest.mark.parametrize(("name", "key"), [("HumanEval.jsonl.gz", "canonical_solution"), ("mbpp.jsonl.gz", "code")])
def test_no_published_solution_is_low_in_entropy(name: str, key: str):
    with gzip.open(benchmark(name), "rt") as file:
        words = [re.findall(r"\w+|[^\w\s]", json.loads(line)[key]) for line in file]
    assert min(entropy(found) for found in words if len(found) >= ENOUGH) > 2.7 > LOW_ENTROPY + 1


def test_share():
    assert collapsed_share(["", "return x"]) == 0.5
    assert collapsed_share([]) is None


def test_warns_then_stops_and_a_healthy_evaluation_resets():
    guard = Guard(GuardPart(patience=2, warmup=10))
    assert guard.judge(10, 1.0) is None
    assert "step 20" in (guard.judge(20, 0.9) or "")
    assert guard.judge(30, 0.1) is None
    assert guard.judge(40, 0.9)
    with pytest.raises(TrainingError, match="best healthy"):
        guard.judge(50, 0.9)
    assert Guard(GuardPart(enabled=False)).judge(50, 1.0) is None
