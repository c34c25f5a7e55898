"""Python source to syntax trees and back, safe in several threads.

Python 3.11 counts the depth of the tree it builds in one variable for all threads. A collection of garbage in the
middle may hand over to another thread that parses too; then one of them ends in `SystemError: AST constructor recursion
depth mismatch` (https://github.com/python/cpython/issues/106905), or in a RecursionError of a flat program. Whoever
parses here takes turns; a parser elsewhere in the process that comes between is outwaited.
"""

import ast
import threading
from collections.abc import Callable
from types import CodeType
from typing import TypeVar

T = TypeVar("T")

_TURN = threading.RLock()  # reentrant: a finaliser may parse while its own thread does
_ATTEMPTS = 10


def parse(source: str) -> ast.Module:
    """`ast.parse`, with its errors: SyntaxError, ValueError, RecursionError, MemoryError."""
    return _in_turn(lambda: ast.parse(source))


def literal(source: str) -> object:
    """`ast.literal_eval` of a text, with its errors."""
    return _in_turn(lambda: ast.literal_eval(source))


def compiled(tree: ast.Module, filename: str) -> CodeType:
    """The code of a tree, as `compile` makes it, with its errors."""
    return _in_turn(lambda: compile(tree, filename, "exec", dont_inherit=True))


def _in_turn(work: Callable[[], T]) -> T:
    with _TURN:
        for _ in range(_ATTEMPTS - 1):
            try:
                return work()
            except SystemError:
                continue
        return work()
