"""Signatures: what could solve what, and names renamed in place."""

from evalkit.contamination import candidates, rename_entry, signature
from evalkit.records import Problem


def problem(prompt, name="f", solution=None):
    return Problem(id=prompt, suite="s", prompt=prompt, entry_point=name, tests=("assert True",), solution=solution)


def test_signature_counts_and_types():
    found = signature(problem("from typing import List\ndef f(a: List[int], b: 'float', c=1):"))
    assert found is not None
    assert (found.least, found.most, found.types) == (2, 3, ("list", "number", None))
    assert signature(problem("# nothing", solution="def f(*a):\n    pass\n")).most is None
    assert signature(problem("# nothing")) is None


def test_candidates_never_drop_what_they_cannot_judge():
    suite = [problem(p) for p in ("def f(x: int):", "def f(x: str):", "def f(x):", "def f(x, y):", "# ?", "def f(*x):")]
    kept = candidates(problem("def f(n: float):"), suite)
    assert [p.prompt for p in kept] == ["def f(x: int):", "def f(x):", "# ?", "def f(*x):"]


def test_rename_keeps_layout_strings_and_attributes():
    program = (
        'def fib(n):  # fib\n    """fib é"""\n    é = "é"; return n if n < 2 else fib(n-1) + fib (n-2) + x.fib(fib=1)\n'
    )
    renamed = rename_entry(program, "fib", "series")
    assert renamed == (
        'def series(n):  # fib\n    """fib é"""\n    é = "é"; return n if n < 2 else series(n-1) + series (n-2) + x.fib(fib=1)\n'
    )
    assert rename_entry("class A:\n    def fib(self): pass\n", "fib", "g") == "class A:\n    def fib(self): pass\n"
