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
    """One program and its tests. Exactly one of `tests`, `test_program` and `stdio` is given; in a language other than
    Python none is needed, and then the program is only compiled."""

    id: str
    program: str
    entry_point: str = ""
    """The function that tests call; a program that is judged by what it prints has none."""
    tests: tuple[str, ...] = ()
    test_program: str | None = None
    stdio: tuple[tuple[str, str], ...] = ()
    """Pairs of what the program finds on standard input and what it must print, each in a run of its own. Compared
    line by line, blanks at the end of a line and empty lines at the end apart."""
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
        kinds = bool(self.tests) + (self.test_program is not None) + bool(self.stdio)
        if self.language is not Language.PYTHON and not kinds:
            return self
        if kinds != 1:
            raise ValueError("exactly one of `tests`, `test_program` and `stdio` is needed")
        if self.stdio and self.language is not Language.PYTHON:
            raise ValueError("`stdio` is for Python programs")
        if not self.stdio and not self.entry_point and self.language is Language.PYTHON:
            raise ValueError("`entry_point` is needed")
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
