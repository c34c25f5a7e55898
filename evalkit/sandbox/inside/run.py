"""How far a test has come, and what is told of it."""

from typing import Any


class Broken(BaseException):
    """The candidate's side is gone or talks nonsense, or raised what no test may catch (`name`: SystemExit, say)."""

    def __init__(self, text: str, name: str = "Broken") -> None:
        super().__init__(text)
        self.name = name


class Run:
    """How far a test has come."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.lines, self.required = job["lines"], set(job["required"])
        self.held: set[int] = set()
        self.at = -1

    def enter(self, number: int) -> None:
        self.at = number

    def told(self, what: str, error: BaseException | None = None) -> list[Any]:
        """The verdict's frame: what came of it, assertions held and in all, the one that failed, the exception."""
        at = self.at
        failed = self.lines[at] if 0 <= at < len(self.lines) and at not in self.held else None
        try:
            text = "" if error is None else str(error)[:300].encode("utf-8", "replace").decode()
        except Exception:  # it asks an object of the candidate for its text
            text = ""
        name = None if error is None else error.name if isinstance(error, Broken) else type(error).__name__
        return [what, len(self.held), len(self.lines), failed, name, text]

    def whole(self) -> bool:
        """Whether a run that raised nothing has shown enough."""
        return bool(self.held) and self.required <= self.held
