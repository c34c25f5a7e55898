"""HumanEval (Chen et al. 2021, arXiv 2107.03374): a function to continue, judged by `check(candidate)`."""

import ast
from pathlib import Path
from typing import Any

from evalkit.parsing import parse
from evalkit.records import Problem
from evalkit.suites.lines import read_lines


def read_humaneval(path: Path) -> list[Problem]:
    """Problems of the published file: task_id, prompt, entry_point, canonical_solution, test."""
    return read_lines(path, _problem)


def _problem(row: dict[str, Any]) -> Problem:
    prompt = str(row["prompt"])
    return Problem(
        id=row["task_id"],
        suite="humaneval",
        prompt=prompt.rstrip(),
        entry_point=row["entry_point"],
        test_program=row["test"],
        imports=before_entry_point(prompt + row["canonical_solution"], row["entry_point"]),
        solution=(prompt + row["canonical_solution"]).rstrip() + "\n",
        license="MIT",
        source="github.com/openai/human-eval",
    )


def before_entry_point(program: str, entry_point: str) -> str:
    """What a prompt brings along: imports and the functions that its tests may call (`poly`, `encode_cyclic`).

    Raises ValueError where the program does not define the entry point at its top level.
    """
    for node in parse(program).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == entry_point:
            return "\n".join(program.splitlines()[: node.lineno - 1]).strip()
    raise ValueError(f"the solution defines no {entry_point!r}")
