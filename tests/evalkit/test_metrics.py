"""Metrics see what they are named for, and say nothing about nothing."""

from evalkit.metrics import (
    body_form,
    distinct_programs,
    is_valid_python,
    loops,
    mode_collapse_share,
    repetition_share,
    syntax_valid_share,
)
from evalkit.records import Completion
from evalkit.suites import load_suite


def completion(problem_id, program, sample_index=0):
    return Completion(
        problem_id=problem_id,
        sample_index=sample_index,
        text=program,
        program=program,
        finish_reason="stop",
        tokens=1,
        seconds=0.0,
    )


def test_nothing_is_not_zero():
    assert syntax_valid_share([]) is None
    assert repetition_share([]) is None
    assert mode_collapse_share([]) is None
    assert mode_collapse_share([completion("a", "x = 1")]) is None
    assert distinct_programs([completion("a", "x = 1")]) is None


def test_validity_is_the_compilers():
    assert is_valid_python("def f():\n    return 1\n")
    assert not is_valid_python("return 1\n")
    assert not is_valid_python("def f():\n    return (\n")
    assert not is_valid_python("x = '\x00'")
    assert not is_valid_python("(" * 5000)


def test_loops_are_found_and_solutions_are_none():
    assert loops("\n    return a" * 5)
    assert loops("\n    x = 1\n    y = 2" * 4)
    assert loops(" the same thing" * 10)
    assert loops("0 " * 40)
    assert not loops("return [0, 0, 0, 0, 0]")
    assert not any(loops(problem.solution or "") for problem in load_suite("mini-humaneval"))


def test_collapse_is_over_problems_not_samples():
    same = [completion(str(n), f"def f{n}(a{n}, unused):\n    return a{n}\n") for n in range(3)]
    other = completion("3", "def g(x):\n    return x + 1\n")
    assert mode_collapse_share([*same, other]) == 0.75
    many = [completion("a", "def f(x):\n    return x\n", n) for n in range(9)]
    assert mode_collapse_share([*many, other]) == 0.5
    assert distinct_programs(many) == 1 / 9


def test_broken_programs_collapse_too():
    broken = [completion(str(n), f'def f{n}():\n    """Doc {n}."""\n    return (') for n in range(4)]
    assert mode_collapse_share(broken) == 1.0


def test_solutions_of_different_tasks_differ():
    problems = load_suite("mini-humaneval")
    rows = [completion(problem.id, problem.solution or "") for problem in problems]
    share = mode_collapse_share(rows)
    assert share is not None
    assert share <= 0.1
    assert body_form("def f(a, b):\n    return a + b") == body_form("def g(x, y, z=1):\n    return x + y")
