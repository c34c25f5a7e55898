"""What can be asked: one visible table of suites, each a reader of problems from a file.

A suite's file is, in this order: what the caller names (`--file`), the suite's file in the folder that the environment
variable POTSTILL_BENCHMARKS names, what ships with the package. Nothing is fetched.
"""

import difflib
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from evalkit.errors import ConfigError, DataError
from evalkit.records import Problem
from evalkit.suites.humaneval import read_humaneval
from evalkit.suites.humaneval_rust import read_humaneval_rust
from evalkit.suites.mbpp import MBPP_TEST, read_mbpp
from evalkit.suites.problems import read_problems

__all__ = ["FOLDER", "SUITES", "Suite", "load_suite", "suite_named"]

FOLDER = "POTSTILL_BENCHMARKS"
"""Environment variable that names the folder with the benchmark files."""


@dataclass(frozen=True)
class Suite:
    """A named set of problems: what it is, the file it stands in, and how that is read."""

    description: str
    read: Callable[[Path], list[Problem]]
    file: str | None = None
    """Name of the file, in the benchmarks' folder or, if `shipped`, in the package; None: the caller must name one."""
    shipped: bool = False
    origin: str = ""
    """Where to get the file."""

    def path(self, name: str, file: str | Path | None = None) -> Path:
        """The file to read. Raises DataError, naming the flag and the variable, where there is none."""
        if file is not None:
            return Path(file)
        if self.shipped and self.file is not None:
            return shipped(self.file)
        folder = os.environ.get(FOLDER)
        if self.file is not None and folder:
            return Path(folder) / self.file
        if self.file is None:
            raise DataError("this suite has no file of its own", where=name, fix="name one with --file FILE.jsonl")
        raise DataError(
            f"{self.file} does not ship with potstill",
            where=name,
            fix=f"get it from {self.origin}, then pass --file FILE, or set {FOLDER} to the folder that holds it",
        )

    def load(self, name: str, file: str | Path | None = None) -> list[Problem]:
        """The problems, ids unique. Raises DataError where the file is missing, malformed or holds none."""
        path = self.path(name, file)
        if not path.is_file():
            raise DataError(
                f"no such file (suite {name})", where=str(path), fix=f"pass --file FILE, or set {FOLDER} to its folder"
            )
        problems = self.read(path)
        if not problems:
            raise DataError("holds no problems", where=str(path))
        seen: set[str] = set()
        for problem in problems:
            if problem.id in seen:
                raise DataError(f"the id {problem.id!r} occurs twice", where=str(path))
            seen.add(problem.id)
        return problems


SUITES: dict[str, Suite] = {
    "mini-humaneval": Suite(
        "20 small Python tasks in HumanEval's form; a smoke alarm, not a ranking",
        read_problems,
        "mini_humaneval.jsonl",
        shipped=True,
    ),
    "humaneval": Suite(
        "HumanEval, 164 Python tasks", read_humaneval, "HumanEval.jsonl.gz", origin="github.com/openai/human-eval"
    ),
    "humaneval-rust": Suite(
        "HumanEval-X, 164 Rust tasks, tests beside the solution (weak verdicts)",
        read_humaneval_rust,
        "humaneval_rust.jsonl.gz",
        origin="huggingface.co/datasets/zai-org/humaneval-x",
    ),
    "mbpp": Suite(
        "MBPP, all 974 Python tasks, assertions shown in the docstring",
        read_mbpp,
        "mbpp.jsonl.gz",
        origin="github.com/google-research/google-research/tree/master/mbpp",
    ),
    "mbpp-test": Suite(
        "MBPP's test split, task ids 11 to 510",
        lambda path: read_mbpp(path, MBPP_TEST),
        "mbpp.jsonl.gz",
        origin="github.com/google-research/google-research/tree/master/mbpp",
    ),
    "heldout": Suite("Problems or dataset samples of your own, one JSON object per line", read_problems),
}


def suite_named(name: str) -> Suite:
    """Raises ConfigError, naming the nearest suite, where there is none of that name."""
    if name in SUITES:
        return SUITES[name]
    near = difflib.get_close_matches(name, SUITES, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}?" if near else f"suites: {', '.join(SUITES)}"
    raise ConfigError(f"no suite is named {name!r}", where="suite", fix=hint)


def load_suite(name: str, file: str | Path | None = None) -> list[Problem]:
    """The problems of a suite. Raises ConfigError for an unknown name, DataError for a bad or missing file."""
    return suite_named(name).load(name, file)


def shipped(name: str) -> Path:
    """A file of data/: inside the installed package, or at the root of a checkout."""
    package = Path(str(files("evalkit")))
    inside = package / "_data" / name
    return inside if inside.is_file() else package.parent / "data" / name
