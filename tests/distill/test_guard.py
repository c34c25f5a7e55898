"""The collapse guard: which texts are collapsed, and when training stops."""

import pytest

from distill.guard import Guard, collapsed_share, is_collapsed
from distill.recipe import GuardPart
from evalkit.errors import TrainingError


@pytest.mark.parametrize("text", ["", "  \n", "return return x", "def def def", "x x x x", "a + " * 30, "\n    " * 20])
def test_collapsed(text: str):
    assert is_collapsed(text)


@pytest.mark.parametrize("text", ["\n    return a + b", "\n    x = 1\n    x += 1\n    return x", "return not x", "x"])
def test_healthy(text: str):
    assert not is_collapsed(text)


def test_share():
    assert collapsed_share(["", "return x"]) == 0.5
    assert collapsed_share([]) is None


def test_warns_then_stops_and_a_healthy_evaluation_resets():
    guard = Guard(GuardPart(patience=2, warmup=10))
    assert guard.judge(10, 1.0) is None
    assert "step 20" in (guard.judge(20, 0.9) or "")
    assert guard.judge(30, 0.1) is None
    assert guard.judge(40, 0.9)
    with pytest.raises(TrainingError, match="last healthy"):
        guard.judge(50, 0.9)
    assert Guard(GuardPart(enabled=False)).judge(50, 1.0) is None
