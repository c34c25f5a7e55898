"""Rows that solve a suite's task are found, whatever they do with the arguments of the other tasks."""

from pathlib import Path

import pytest

from evalkit.records import Problem
from evalkit.sandbox import Sandbox
from synth.contamination import decontaminate

DIGITS = """\
def digits(number):
    \"\"\"Add them up.\"\"\"
    total = 0
    while {while_}:
        total, number = total + int(number % 10), number // 10
    return total
"""


def row(id: str, source: str) -> Problem:
    head, _, _ = source.partition('"""\n')
    return Problem(
        id=id, suite="synth", prompt=head + '"""', entry_point="digits", tests=("assert True",), solution=source
    )


def check(tmp_path: Path, *sources: str) -> list[str]:
    rows = [row(f"r{i}", source) for i, source in enumerate(sources)]
    with Sandbox() as sandbox:
        found = decontaminate(rows, ["mini-humaneval"], tmp_path / "clean.jsonl", sandbox)
    return [found[problem.id].match for problem in rows]


@pytest.mark.parametrize("condition", ["number > 0", "number"])
def test_a_solution_that_hangs_elsewhere_is_found(tmp_path: Path, condition: str) -> None:
    assert check(tmp_path, DIGITS.format(while_=condition)) == ["mini/19"]


def test_a_solution_that_takes_the_process_with_it_elsewhere_is_found(tmp_path: Path) -> None:
    leaves = DIGITS.format(while_="number > 0").replace(
        "    total = 0", "    total = 0 if number >= 0 else exit_now()", 1
    )
    assert check(tmp_path, f"{leaves}\n\ndef exit_now():\n    import os\n    os._exit(0)\n") == ["mini/19"]


def test_one_that_swallows_every_exception_is_found(tmp_path: Path) -> None:
    hangs = """\
def digits(number):
    \"\"\"Add them up.\"\"\"
    while number < 0 or not isinstance(number, int):
        try:
            while True:
                pass
        except BaseException:
            continue
    return sum(map(int, str(number)))
"""
    assert check(tmp_path, hangs, DIGITS.format(while_="number > 1000")) == ["mini/19", ""]
