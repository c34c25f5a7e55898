"""What a check says, and what all of them say together."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from pydantic import Field

from evalkit.errors import ConfigError, DataError, ModelError, PotstillError
from evalkit.records import Record


class Standing(StrEnum):
    OK = "ok"
    WARNING = "warning"
    REFUSAL = "refusal"


class Boundary(StrEnum):
    """Where a refusal comes from: which error of evalkit.errors it becomes."""

    CONFIG = "config"
    DATA = "data"
    MODEL = "model"


ERRORS: dict[Boundary, type[PotstillError]] = {
    Boundary.CONFIG: ConfigError,
    Boundary.DATA: DataError,
    Boundary.MODEL: ModelError,
}

ANYWAY = "to train all the same, set preflight: false"
"""Ends the advice of those refusals that are a judgement and not a fact."""


class Finding(Record):
    """One thing that was looked at. `facts` are the figures behind the words: bytes, seconds, shares, counts."""

    topic: str
    name: str
    standing: Standing
    what: str
    why: str = ""
    """What it means for the run."""
    fix: str = ""
    """What to do."""
    boundary: Boundary = Boundary.CONFIG
    facts: dict[str, Any] = Field(default_factory=dict)


def ok(topic: str, name: str, what: str, **facts: Any) -> Finding:
    return Finding(topic=topic, name=name, standing=Standing.OK, what=what, facts=facts)


def warn(topic: str, name: str, what: str, *, why: str, fix: str, **facts: Any) -> Finding:
    return Finding(topic=topic, name=name, standing=Standing.WARNING, what=what, why=why, fix=fix, facts=facts)


def refuse(topic: str, name: str, what: str, *, why: str, fix: str, boundary: Boundary, **facts: Any) -> Finding:
    return Finding(
        topic=topic,
        name=name,
        standing=Standing.REFUSAL,
        what=what,
        why=why,
        fix=fix,
        boundary=boundary,
        facts=facts,
    )


def refused_by(topic: str, name: str, error: PotstillError) -> Finding:
    """The refusal that an error of ours is."""
    boundary = next((b for b, kind in ERRORS.items() if isinstance(error, kind)), Boundary.CONFIG)
    what = f"{error.where}: {error.what}" if error.where else error.what
    return refuse(topic, name, what, why="training would stop here.", fix=error.fix, boundary=boundary)


class Span(Record):
    """A piece of the sample whose tokens fare alike. `weight` is 0 where nothing is learned."""

    kind: str
    """`read`, `learned` or `end` (the end-of-text that closes a row)."""
    text: str
    tokens: int
    weight: float


class Report(Record):
    """Everything that was found, in the order in which it was looked at."""

    output: str
    method: str
    findings: tuple[Finding, ...]
    sample: tuple[Span, ...] = ()
    seconds: float

    def of(self, standing: Standing) -> list[Finding]:
        return [finding for finding in self.findings if finding.standing is standing]

    @property
    def refused(self) -> bool:
        return bool(self.of(Standing.REFUSAL))

    @property
    def line(self) -> str:
        """All of it in a line."""
        found = {standing: len(self.of(standing)) for standing in Standing}
        parts = [counted(found[Standing.REFUSAL], "refusal"), counted(found[Standing.WARNING], "warning")]
        return f"preflight: {', '.join(parts)}, {found[Standing.OK]} ok ({self.seconds:.1f} s)"


def counted(number: int, noun: str, many: str = "") -> str:
    """`1 row`, `2 rows`, `4,319 rows`."""
    return f"{number:,} {noun if number == 1 else many or noun + 's'}"


def raise_refusals(findings: Iterable[Finding]) -> None:
    """Raises one error that names all refusals: that of their boundary where they share one, else ConfigError."""
    refusals = [finding for finding in findings if finding.standing is Standing.REFUSAL]
    if not refusals:
        return
    kinds = {ERRORS[finding.boundary] for finding in refusals}
    kind = kinds.pop() if len(kinds) == 1 else ConfigError
    if len(refusals) == 1:
        raise kind(refusals[0].what, where="preflight", fix=refusals[0].fix)
    said = "; ".join(f"{i}. {f.what}" + (f" ({f.fix})" if f.fix else "") for i, f in enumerate(refusals, 1))
    raise kind(f"{len(refusals)} refusals: {said}", where="preflight")
