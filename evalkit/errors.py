"""What can go wrong, named by the boundary it went wrong at.

    PotstillError
    ├── ConfigError     a recipe, a flag or an argument is wrong           exit 2 (the caller's mistake)
    ├── DataError       a file is malformed or missing, or cannot be written  exit 2
    ├── ModelError      a model folder or tokenizer is unusable            exit 2
    ├── EndpointError   a served model vanished or answered junk           exit 3 (the outside world)
    │   ├── OverBudget  not asked, for want of money
    │   └── NotServed   nothing listens there, or key or model is unknown  exit 2
    ├── SandboxError    the sandbox itself broke; never a verdict          exit 3
    │   └── ToolchainMissing  a language's compiler is not here
    └── TrainingError   training stopped: collapse, NaN                    exit 3

A failed gate exits with 1, a gate that cannot tell with 4. Every message says what happened, where, what to do next.
"""

from typing import ClassVar


class PotstillError(Exception):
    """Base of all errors that the command line prints as one line."""

    exit_code: ClassVar[int] = 3

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        self.what, self.where, self.fix = what, where, fix
        super().__init__(str(self))

    def __str__(self) -> str:
        where = f"{self.where}: " if self.where else ""
        fix = f" ({self.fix})" if self.fix else ""
        return f"{where}{self.what}{fix}"

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.what, self.where, self.fix))


def _rebuild(cls: type[PotstillError], what: str, where: str, fix: str) -> PotstillError:
    return cls(what, where=where, fix=fix)


class ConfigError(PotstillError):
    """A recipe, flag or argument is wrong."""

    exit_code = 2


class DataError(PotstillError):
    """A file or dataset is malformed, missing or of another schema version, or there is no room to write one."""

    exit_code = 2


class ModelError(PotstillError):
    """A model folder or tokenizer cannot be used."""

    exit_code = 2


class EndpointError(PotstillError):
    """A served model refused, vanished or answered with something that is no answer."""


class NotServed(EndpointError):
    """Not one answer came from the address that was given: nothing listens there, or it knows no such key or model."""

    exit_code = 2


class OverBudget(EndpointError):
    """Not asked: the answer could have cost more than what is left of the budget."""


class SandboxError(PotstillError):
    """The sandbox itself broke. Never a verdict, never a zero."""


class ToolchainMissing(SandboxError):
    """A compiler or interpreter is not on this machine: what needs it is skipped, and says so."""


class TrainingError(PotstillError):
    """Training stopped for a reason the user must know."""
