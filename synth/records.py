"""What synth makes: samples with their evidence, and rejects with stage and reason."""

from enum import StrEnum
from typing import Any

from pydantic import Field

from evalkit.records import Problem, Record, Verdict


class Stage(StrEnum):
    """Where a row was dropped, in the order in which rows are checked."""

    REQUEST = "request"
    """The teacher's endpoint gave no answer."""
    PARSE = "parse"
    """The answer holds no task of the asked form."""
    SYNTAX = "syntax"
    """The solution is not Python, or lacks its entry point."""
    DUPLICATE = "duplicate"
    """The same task was kept already."""
    SOLUTION = "solution"
    """The solution fails its own tests."""
    STUB = "stub"
    """An empty body passes the tests: they test nothing."""
    CONTAMINATION = "contamination"
    """The solution solves a task of an evaluation suite."""


class Split(StrEnum):
    TRAIN = "train"
    VALIDATION = "validation"
    HELDOUT = "heldout"


class Evidence(Record):
    """Why a sample may be trusted, and what it cost."""

    teacher: str
    model: str
    prompt_digest: str
    """Digest of the messages that asked for it."""
    request: str
    """Key of the answer in the journal."""
    usage: dict[str, int] = Field(default_factory=dict)
    cost_usd: float | None = None
    """Dollars, corrections included; None where the price is unknown."""
    corrections: int = 0
    """Times the answer was sent back because it held no task of the asked form."""
    adapted: tuple[str, ...] = ()
    """Parameters that the teacher's endpoint did not take, and what was done."""
    verdict: Verdict
    """Of the solution on its own tests."""
    stub_verdict: Verdict
    """Of an empty body on the same tests: never `passed`."""
    normal_form: str
    """Digest of the solution's normalised AST: what splits and duplicates are decided on."""
    contamination: dict[str, Any] = Field(default_factory=dict)
    """What the solution was checked against, how, and the nearest match."""
    split: Split


class Sample(Record):
    """A proven task: the problem (its `solution` is the complete program) and the evidence."""

    id: str
    problem: Problem
    evidence: Evidence


class Reject(Record):
    """A dropped row: where, why, and all that is known of it."""

    id: str
    stage: Stage
    reason: str
    category: str
    level: str
    request: str = ""
    text: str = ""
    """The teacher's answer as it came."""
    verdict: Verdict | None = None
