"""What is run: a program, its tests, its limits."""

from pydantic import Field

from evalkit.records import Problem, Record


class Limits(Record):
    """What one execution may use."""

    cpu: float | None = None
    """CPU seconds; None: from the reference's own time on this machine, else `DEFAULT_CPU`."""
    wall: float = 10.0
    """Seconds from the start of the execution; a backstop only."""


class Job(Record):
    """One program and its tests. Exactly one of `tests` and `test_program` is given."""

    id: str
    program: str
    entry_point: str
    tests: tuple[str, ...] = ()
    test_program: str | None = None
    imports: str = ""
    """Trusted source that the tests may use: imports, and the helpers that a prompt brings."""
    files: dict[str, str] = Field(default_factory=dict)
    reference: str | None = None
    """A complete program that passes: its CPU time sets the limit."""
    limits: Limits = Limits()

    @classmethod
    def of(cls, problem: Problem, program: str, id: str | None = None) -> "Job":
        """The job that judges `program` by a problem's tests."""
        return cls(
            id=problem.id if id is None else id,
            program=program,
            entry_point=problem.entry_point,
            tests=problem.tests,
            test_program=problem.test_program,
            imports=problem.imports,
            files=problem.files,
            reference=problem.solution,
        )
