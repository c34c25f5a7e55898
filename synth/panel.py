"""What a run of questions is doing: done, in flight, kept, rejected by reason, speed, dollars, what holds the pace."""

import time
from collections.abc import Mapping

from rich.console import RenderableType
from rich.panel import Panel as Box
from rich.progress_bar import ProgressBar
from rich.table import Table

from evalkit.endpoint import Status
from synth.proving import Proving

FAULTS = (
    "rate_limited",
    "timeout",
    "disconnect",
    "server_error",
    "malformed",
    "empty",
    "refused",
    "expired",
    "fell_back",
)
"""Counts that are shown where they are not zero."""


class Panel:
    """Reads what others count; drawn from another thread."""

    def __init__(self, total: int, status: Status, proving: Proving, *, max_usd: float | None) -> None:
        self.total, self.status, self.proving, self.max_usd = total, status, proving, max_usd
        self.done = 0
        self.start = time.monotonic()
        self.end: float | None = None
        """When the last answer was there: what is proven after it is not asked slowly."""

    def render(self) -> RenderableType:
        """For a terminal."""
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim")
        table.add_column()
        for name, value in self._facts().items():
            table.add_row(name, value)
        rows = Table.grid(expand=True)
        rows.add_row(ProgressBar(total=self.total, completed=self.done))
        rows.add_row(table)
        return Box(rows, title=f"asked {self.done} of {self.total}", title_align="left")

    def line(self) -> str:
        """For a log."""
        facts = "; ".join(f"{name} {value}" for name, value in self._facts().items())
        return f"asked {self.done}/{self.total}; {facts}"

    def _facts(self) -> dict[str, str]:
        if self.done >= self.total and self.end is None:
            self.end = time.monotonic()
        seconds = max((self.end or time.monotonic()) - self.start, 1e-9)
        stats = self.status.stats
        speed = f"{self.done / seconds:.1f} answers/s, {self.status.completion_tokens / seconds:.0f} tokens/s"
        facts = {
            "speed": speed + self._left(seconds),
            "kept": f"{self.proving.kept}, {self.proving.waiting} to be proven",
            "rejected": _counts(self.proving.rejected) or "0",
            "cost": self._cost(),
        }
        for line in self.status.lines:
            state = line.closed.what if line.closed else line.pace.why
            flight = f"{line.pace.under_way} in flight of {int(line.pace.allowed)} allowed"
            facts[line.endpoint.label] = f"{flight} ({state})"
        if known := stats["from_journal"]:
            facts["known already"] = str(known)
        if faults := _counts({name: stats[name] for name in FAULTS if stats[name]}):
            facts["tried again"] = faults
        return facts

    def _left(self, seconds: float) -> str:
        if not self.done or self.done >= self.total:
            return ""
        return f", {(self.total - self.done) * seconds / self.done:.0f} s left"

    def _cost(self) -> str:
        """Dollars so far, at worst, and projected from what the answers of this run have cost."""
        spending = self.status.spending() if self.status.spending else None
        if spending is None:
            return "$0"
        if spending.unpriced:
            return f"unknown: {spending.unpriced} answers have no price"
        said = f"${spending.paid:.4f}"
        if spending.risked:
            said += f", ${spending.worst:.4f} at worst"
        answered = self.status.stats["answered"] + self.status.stats["from_journal"]
        if answered and self.done < self.total and spending.paid:
            said += f", about ${spending.paid / answered * self.total:.4f} in all"
        return said + (f", of ${self.max_usd:g} allowed" if self.max_usd else "")


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda pair: -pair[1]))
