"""Threads that parse at the same time, with garbage collected in the middle, all get their trees. (With `ast.parse` in
place of ours the first test fails in Python 3.11.7, with some two hundred errors.)"""

import gc
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from evalkit import parsing

DEEP = "x = " + "[" * 40 + "]" * 40
FLAT = "assert f([1, 2, 3]) == {1: -2}"


@pytest.fixture
def handing_over() -> Iterator[None]:
    """The interpreter changes threads as often as it can, also inside of a collection."""
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()

    def linger(*_: object) -> None:
        sum(range(50))

    gc.callbacks.append(linger)
    gc.set_threshold(50)
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)
    gc.set_threshold(*thresholds)
    gc.callbacks.remove(linger)


def errors_of_two_threads(first: Callable[[], object], second: Callable[[], object]) -> list[str]:
    errors = []

    def repeat(work: Callable[[], object]) -> None:
        for _ in range(1500):
            try:
                work()
            except Exception as error:
                errors.append(repr(error))

    threads = [threading.Thread(target=repeat, args=(work,)) for work in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def test_two_threads_parse(handing_over: None) -> None:
    assert errors_of_two_threads(lambda: parsing.parse(DEEP), lambda: parsing.parse(FLAT)) == []
    tree = parsing.parse(DEEP)
    assert errors_of_two_threads(lambda: parsing.literal(DEEP[4:]), lambda: parsing.compiled(tree, "<test>")) == []


def test_errors_are_those_of_ast() -> None:
    with pytest.raises(SyntaxError):
        parsing.parse("def f(:")
    with pytest.raises((ValueError, SyntaxError), match="null"):  # either, by the interpreter's version
        parsing.parse("x = 1\0")
    with pytest.raises(ValueError, match="malformed"):
        parsing.literal("f(1)")
