"""Names, docstrings and annotations do not count; constants, operators and builtins do."""

import pytest

from evalkit.normal_form import normal_form

BASE = 'def total(items: list[int]) -> int:\n    """Sum."""\n    result = 0\n    for x in items:\n        result += x\n    return result\n'


@pytest.mark.parametrize(
    "same",
    [
        "def add_up(values):\n    acc = 0\n    for v in values:\n        acc += v\n    return acc\n",
        "def total(items):\n    # a comment\n    result: int = 0\n    for x in items: result += x\n    return result",
    ],
)
def test_renamed_is_the_same(same: str) -> None:
    assert normal_form(same) == normal_form(BASE)


@pytest.mark.parametrize(
    "other",
    [
        BASE.replace("= 0", "= 1"),
        BASE.replace("+=", "-="),
        BASE.replace("in items", "in sorted(items)"),
        BASE.replace("in items", "in reversed(items)"),
    ],
)
def test_another_program_is_another(other: str) -> None:
    assert normal_form(other) != normal_form(BASE)


def test_classes_and_methods() -> None:
    one = "class A:\n    def __init__(self, n):\n        self.n = n\n    def up(self):\n        self.n += 1\n        return self.n\n"
    two = "class Counter:\n    def __init__(self, m):\n        self.m = m\n    def inc(self):\n        self.m += 1\n        return self.m\n"
    assert normal_form(one) == normal_form(two)
    assert normal_form(one) != normal_form(one.replace("self.n += 1", "self.n += 2"))


def test_argument_order_counts() -> None:
    assert normal_form("def f(a, b):\n    return a - b") != normal_form("def f(a, b):\n    return b - a")


def test_no_python() -> None:
    with pytest.raises(SyntaxError):
        normal_form("def f(:")
