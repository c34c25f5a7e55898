"""The collapse guard: has the student begun to repeat itself?

A completion is collapsed when it is empty, one token over and over, a loop such as "return return" or "def def", or
mostly the same few words. Judged on text alone, so it needs no sandbox.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence

from distill.recipe import GuardPart
from evalkit.errors import TrainingError
from evalkit.metrics.repetition import loops

_WORD = re.compile(r"\w+|[^\w\s]")
_LOOP = re.compile(r"\b(return|def|class|if|for|in|import|not|and|or)(\s+\1\b)+")


ENOUGH = 16
"""Words below which their entropy says little."""

LOW_ENTROPY = 1.5
"""Bits per word. Solutions of MBPP and HumanEval of 16 words and more have over 2.7 (tests/distill/test_guard.py)."""


def entropy(words: Sequence[str]) -> float:
    """Shannon entropy of the words' frequencies, in bits per word."""
    counts = Counter(words)
    return -sum(n / len(words) * math.log2(n / len(words)) for n in counts.values())


def is_collapsed(text: str) -> bool:
    """Empty, one word over and over, hardly more than that (low entropy), a keyword loop, or running in circles
    (evalkit.metrics)."""
    words = _WORD.findall(text)
    if not words or (len(words) >= 4 and len(set(words)) == 1):
        return True
    if len(words) >= ENOUGH and entropy(words) < LOW_ENTROPY:
        return True
    return _LOOP.search(text) is not None or loops(text)


def collapsed_share(texts: Sequence[str]) -> float | None:
    """Share of collapsed completions; None where there are none."""
    return sum(map(is_collapsed, texts)) / len(texts) if texts else None


class Guard:
    """Counts collapsed evaluations in a row. `judge` gives a warning, or raises TrainingError at the limit."""

    def __init__(self, part: GuardPart) -> None:
        self.part, self.in_a_row = part, 0

    def count(self, step: int, share: float | None) -> bool:
        """Whether this evaluation is collapsed. On its own: of one that was judged before the run was killed."""
        if not self.judges(step, share):
            return False
        self.in_a_row = self.in_a_row + 1 if self.is_sick(step, share) else 0
        return self.in_a_row > 0

    def judges(self, step: int, share: float | None) -> bool:
        return self.part.enabled and share is not None and step > self.part.warmup

    def is_sick(self, step: int, share: float | None) -> bool:
        """Whether weights with that share of collapsed completions are none to keep."""
        return self.judges(step, share) and share is not None and share >= self.part.share

    def judge(self, step: int, share: float | None, *, kept: bool = True) -> str | None:
        """`kept`: whether healthy weights are."""
        if not self.count(step, share):
            return None
        what = f"{share:.0%} of the completions at step {step} are collapsed (empty or repeating)"
        if self.in_a_row >= self.part.patience:
            raise TrainingError(
                f"training stopped: {what}, {self.in_a_row} evaluations in a row",
                fix=("the best healthy weights are kept in best/; " if kept else "it never was healthy; ")
                + "lower the learning rate or look at the data",
            )
        return f"{what}; training stops if this goes on"
