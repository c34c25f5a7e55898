"""What is run: a program, its tests, its limits."""

from pydantic import Field, model_validator

from evalkit.records import Language, Problem, Record

MAX_FIXTURES = 4 << 20


class Limits(Record):
    """What one execution may use."""

    cpu: float | None = Field(default=None, gt=0)
    """CPU seconds; None: from the reference's own time on this machine, else `DEFAULT_CPU`."""
    wall: float = Field(default=10.0, gt=0)
    """Seconds from the start of the execution; a backstop only."""


class Job(Record):
    """One program and its tests. Exactly one of `tests` and `test_program` is given; in a language other than Python
    neither is needed, and then the program is only compiled."""

    id: str
    program: str
    entry_point: str
    tests: tuple[str, ...] = ()
    test_program: str | None = None
    language: Language = Language.PYTHON
    imports: str = ""
    """Trusted source that the tests may use: imports, and the helpers that a prompt brings."""
    files: dict[str, str] = Field(default_factory=dict)
    reference: str | None = None
    """A complete program that passes: its CPU time sets the limit."""
    limits: Limits = Limits()
    any_of: bool = False
    """A probe, not a test: all recorded calls run, whatever came before, and the verdict says which assertions held;
    `passed` means at least one. Used to look for what a program might solve."""
    patience: float = Field(0.02, gt=0)
    """Seconds of CPU time for each call of a probe; one that needs more counts as not answered."""

    @model_validator(mode="after")
    def _whole(self) -> "Job":
        if self.language is not Language.PYTHON and not self.tests and self.test_program is None:
            return self
        if bool(self.tests) == (self.test_program is not None):
            raise ValueError("exactly one of `tests` and `test_program` is needed")
        for name in self.files:
            if name.startswith("/") or ".." in name.split("/") or not name or "\0" in name:
                raise ValueError(f"a fixture must lie in the program's own folder: {name!r}")
        if sum(map(len, self.files.values())) > MAX_FIXTURES:
            raise ValueError(f"fixtures are limited to {MAX_FIXTURES >> 20} MiB")
        return self

    @classmethod
    def of(cls, problem: Problem, program: str, id: str | None = None) -> "Job":
        """The job that judges `program` by a problem's tests."""
        return cls(
            id=problem.id if id is None else id,
            program=program,
            entry_point=problem.entry_point,
            tests=problem.tests,
            test_program=problem.test_program,
            language=problem.language,
            imports=problem.imports,
            files=problem.files,
            reference=problem.solution,
        )
