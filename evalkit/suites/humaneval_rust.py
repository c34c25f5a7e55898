"""HumanEval-X's Rust file: 164 tasks whose tests stand in the same source as the solution."""

import re
from pathlib import Path
from typing import Any

from evalkit.records import Language, Problem
from evalkit.suites.lines import read_lines

CRATES = {"rand": r"\brand::|\bRng\b|\bgen_range\b", "regex": r"\bRegex\b", "md5": r"\bmd5::"}
"""Crates that the file declares everywhere, and what in a source shows that one is needed. A bare rustc has none."""


def read_humaneval_rust(path: Path) -> list[Problem]:
    """Problems whose prompt is the comment and the declaration. Raises DataError with the line number.

    Every declaration imports all three crates; those that neither solution nor test needs are taken out of it, so that
    rustc alone compiles it. What is left in names the problems that need one.
    """
    return read_lines(path, _problem)


def needed_crates(problem: Problem) -> tuple[str, ...]:
    """Crates that a problem's source still imports."""
    return tuple(name for name in CRATES if re.search(rf"^use {name}\b", problem.prompt, re.MULTILINE))


def _problem(row: dict[str, Any]) -> Problem:
    declaration, solution, test = row["declaration"], row["canonical_solution"], row["test"]
    for name, signs in CRATES.items():
        if not re.search(signs, solution + test + re.sub(r"^use .*$", "", declaration, flags=re.MULTILINE)):
            declaration = re.sub(rf"^use {name}\b.*;[ \t]*\n", "", declaration, flags=re.MULTILINE)
    prompt = f"{row['prompt'].strip()}\n{declaration.rstrip()}"
    functions = re.findall(r"^\s*(?:pub )?fn (\w+)", declaration, re.MULTILINE)
    if not functions:
        raise ValueError("the declaration has no function")
    return Problem(
        id=str(row["task_id"]),
        suite="humaneval-rust",
        language=Language.RUST,
        prompt=prompt,
        entry_point=functions[-1],
        test_program=test,
        solution=f"{prompt}\n{solution.strip(chr(10))}\n",
    )
