"""Files of our own: problems, or dataset samples that carry one each."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from evalkit.records import Problem
from evalkit.suites.lines import read_lines


def read_problems(path: Path) -> list[Problem]:
    """Problems of a JSON Lines file whose rows are Problem records, or samples with the key `problem`.

    Raises DataError with the line number where a row is neither, or has not exactly one kind of test.
    """
    return read_lines(path, _problem)


def _problem(row: dict[str, Any]) -> Problem:
    data = row.get("problem", row)
    try:
        problem = Problem.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from error
    if bool(problem.tests) == (problem.test_program is not None):
        raise ValueError("exactly one of tests and test_program must be given")
    return problem
