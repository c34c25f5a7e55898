"""The things that flow: problems, verdicts, completions. Frozen, strict, one JSON object per line on disk."""

import hashlib
import json
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = 1
"""Stamped in every manifest; a folder of another version is refused."""


class Record(BaseModel):
    """Base of everything that is stored: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @property
    def digest(self) -> str:
        """SHA-256 (first 16 hex digits) of the canonical JSON: the identity that programs trust."""
        return digest(self.model_dump(mode="json"))


def digest(data: Any) -> str:
    """SHA-256 (first 16 hex digits) of plain data as canonical JSON (sorted keys, no spaces)."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Language(StrEnum):
    PYTHON = "python"
    RUST = "rust"
    JAVASCRIPT = "javascript"
    C = "c"
    CPP = "cpp"


class Level(StrEnum):
    EASY = "easy"
    MEDIUM = "medium"
    HARD = "hard"


class Problem(Record):
    """One task: what is asked and how an answer is tested.

    `prompt` is source text that an answer continues (signature and docstring, ending without a newline).
    Exactly one of `tests` (single assertions, one per item) and `test_program` (any program that asserts; a function
    `check(candidate)` in it is called with the entry point) is given. `imports` is trusted source that runs before the
    tests, and before the program where it is part of the prompt. `files` are fixtures: name to text, placed in the
    program's working directory before each run.
    """

    id: str
    suite: str
    prompt: str
    entry_point: str
    language: Language = Language.PYTHON
    tests: tuple[str, ...] = ()
    test_program: str | None = None
    imports: str = ""
    files: dict[str, str] = Field(default_factory=dict)
    solution: str | None = None
    """A complete program (prompt included) that passes: the canonical solution."""
    category: str | None = None
    level: Level | None = None
    license: str | None = None
    source: str | None = None


class Outcome(StrEnum):
    """How one program fared. A broken sandbox is not among these: it raises."""

    PASSED = "passed"
    WRONG = "wrong"
    EXCEPTION = "exception"
    SYNTAX_ERROR = "syntax_error"
    NO_ENTRY_POINT = "no_entry_point"
    CPU_TIMEOUT = "cpu_timeout"
    WALL_TIMEOUT = "wall_timeout"
    OUT_OF_MEMORY = "out_of_memory"
    OUTPUT_LIMIT = "output_limit"
    SIGNAL = "signal"
    FORBIDDEN = "forbidden"
    EARLY_EXIT = "early_exit"
    PROTOCOL_VIOLATION = "protocol_violation"


class Method(StrEnum):
    """How a verdict was reached. `inline` can be forged and is never in a headline number."""

    CALLS = "calls"
    SPLIT = "split"
    STDIO = "stdio"
    INLINE = "inline"
    COMPILE = "compile"


class Tier(StrEnum):
    """What isolated the program; `none` only where the caller accepted it explicitly."""

    NAMESPACES = "namespaces"
    LANDLOCK = "landlock"
    NONE = "none"


class Verdict(Record):
    """One judged execution and its facts. CPU and wall in seconds, peak memory in bytes."""

    outcome: Outcome
    method: Method
    tier: Tier
    assertions_total: int = 0
    assertions_held: int = 0
    held: tuple[int, ...] = ()
    """Of a probe only: which assertions held, by index."""
    failed_assertion: str | None = None
    exception: str | None = None
    """Class name of the exception that ended it, as the program reported it (data, not proof)."""
    detail: str = ""
    cpu: float = 0.0
    wall: float = 0.0
    peak_memory: int = 0

    @property
    def passed(self) -> bool:
        return self.outcome is Outcome.PASSED


class Completion(Record):
    """One answer of a model to one problem: raw text, and the program made of it by the prompting contract."""

    problem_id: str
    sample_index: int
    text: str
    program: str
    finish_reason: str
    """`stop` (end-of-text or a stop rule) or `length`."""
    tokens: int | None
    """Generated; None where an endpoint did not say."""
    seconds: float
