"""Completions that run in circles: the same tokens, or the same lines, again and again."""

import re
from collections.abc import Sequence

_TOKEN = re.compile(r"\w+|[^\w\s]")
LONGEST_PERIOD = 24
"""Tokens of the longest unit that counts as one turn."""
TURNS = 4
LEAST_TOKENS = 24
"""Tokens a loop must cover: a list of a few equal constants is code."""
LONGEST_BLOCK = 6
"""Lines of the longest block that counts as one turn."""


def loops(text: str) -> bool:
    """Whether some unit of 1 to 24 tokens, or block of 1 to 6 lines, stands at least four times in a row."""
    tokens = _TOKEN.findall(text)
    if any(_run(tokens, period) >= max(TURNS * period, LEAST_TOKENS) for period in range(1, LONGEST_PERIOD + 1)):
        return True
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return any(_run(lines, period) >= TURNS * period for period in range(1, LONGEST_BLOCK + 1))


def _run(items: Sequence[str], period: int) -> int:
    """Length of the longest stretch in which every item equals the one `period` before it, that first turn included."""
    longest = current = 0
    for before, item in zip(items, items[period:], strict=False):
        current = current + 1 if before == item else 0
        longest = max(longest, current)
    return longest + period if longest else 0


def repetition_share(texts: Sequence[str]) -> float | None:
    """Share of completions that loop; None for no completions."""
    return sum(map(loops, texts)) / len(texts) if texts else None
