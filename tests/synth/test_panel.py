"""The panel: everything that a waiting user asks for stands in it, on a terminal and in a log."""

import io
from collections import Counter
from types import SimpleNamespace
from typing import Any

from rich.console import Console

from evalkit.endpoint import Spending, Status
from synth.panel import Panel


def panel(spending: Spending, **stats: int) -> Panel:
    pace = SimpleNamespace(under_way=12, allowed=12.4, why="429: paused for 2 s")
    line: Any = SimpleNamespace(endpoint=SimpleNamespace(label="m at host"), pace=pace, closed=None)
    status = Status(stats=Counter(stats), lines=[line], completion_tokens=5000, spending=lambda: spending)
    proving: Any = SimpleNamespace(kept=30, waiting=5, rejected=Counter(stub=2, syntax=1))
    made = Panel(100, status, proving, max_usd=2.0)
    made.done = 40
    return made


def test_everything_is_shown() -> None:
    shown = panel(Spending(0.4, 0.1, 0, 3), answered=40, rate_limited=7)
    console = Console(file=io.StringIO(), width=110, record=True)
    console.print(shown.render())
    drawn = console.export_text()
    for text in (drawn, shown.line()):
        for said in (
            "40",
            "answers/s",
            "tokens/s",
            "s left",
            "30, 5 to be proven",
            "stub 2, syntax 1",
            "$0.4000, $0.5000 at worst, about $1.0000 in all, of $2 allowed",
            "12 in flight of 12 allowed (429: paused for 2 s)",
            "rate_limited 7",
        ):
            assert said in text


def test_an_unknown_price_is_never_zero() -> None:
    assert "cost unknown: 40 answers have no price" in panel(Spending(0.0, 0.0, 40, 0), answered=40).line()
