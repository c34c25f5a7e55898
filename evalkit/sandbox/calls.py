"""Recorded calls: which tests are `assert f(arguments) == value` with plain data, and whether the answers are right.

Such tests need no interpreter of their own: the arguments go in, the answers come out, and the comparison happens here,
on exact built-ins that were rebuilt from data.
"""

import ast
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from evalkit.parsing import parse
from evalkit.sandbox.inside.codec import encode

MAX_TEST = 200_000


@dataclass(frozen=True)
class Call:
    """One assertion: arguments to call with, and what must hold of the answer."""

    source: str
    args: list[Any]
    kwargs: dict[str, Any]
    holds: Callable[[Any], bool]

    @cached_property
    def sent(self) -> tuple[Any, Any]:
        """Arguments as they cross: encoded once, however many programs are asked."""
        return encode(self.args), encode(self.kwargs)


@lru_cache(maxsize=4096)
def recorded_calls(tests: tuple[str, ...], entry_point: str) -> tuple[Call, ...] | None:
    """The calls of these tests, or None where one of them is something else."""
    if not tests or sum(map(len, tests)) > MAX_TEST:
        return None
    calls = [_recorded_call(test, entry_point) for test in tests]
    return None if any(call is None for call in calls) else tuple(call for call in calls if call)


@lru_cache(maxsize=4096)
def calls_of_check(program: str) -> tuple[Call, ...] | None:
    """The calls of a test program that is only a `def check(candidate):` over such assertions (most of HumanEval).

    None where there is anything else in it that could matter: a loop, a helper, an import.
    """
    if len(program) > MAX_TEST:
        return None
    try:
        body = parse(program).body
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    checks = [node for node in body if isinstance(node, ast.FunctionDef)]
    if len(checks) != 1 or checks[0].name != "check" or len(checks[0].args.args) != 1 or checks[0].decorator_list:
        return None
    if not all(node is checks[0] or _is_metadata(node) for node in body):
        return None
    parameter = checks[0].args.args[0].arg
    statements = [node for node in checks[0].body if not _says_nothing(node)]
    calls = []
    for node in statements:
        if not isinstance(node, ast.Assert):
            return None
        try:
            call = _read(node.test, f"assert {ast.unparse(node.test)}", parameter)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            return None
        if call is None:
            return None
        calls.append(call)
    return tuple(calls) or None


def _is_metadata(node: ast.stmt) -> bool:
    """`METADATA = {...}` and a docstring."""
    if isinstance(node, ast.Assign) and all(isinstance(target, ast.Name) for target in node.targets):
        try:
            ast.literal_eval(node.value)
        except (ValueError, TypeError):
            return False
        return not any(isinstance(target, ast.Name) and target.id == "check" for target in node.targets)
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _says_nothing(node: ast.stmt) -> bool:
    """A docstring, `pass`, and the `assert True` that HumanEval's authors left for their readers."""
    if isinstance(node, ast.Assert):
        return isinstance(node.test, ast.Constant) and bool(node.test.value)
    return isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))


def _recorded_call(test: str, entry_point: str) -> Call | None:
    try:
        statements = parse(test).body
        if len(statements) != 1 or not isinstance(statements[0], ast.Assert):
            return None
        return _read(statements[0].test, test.strip(), entry_point)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None


def _read(node: ast.expr, source: str, entry_point: str) -> Call | None:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return _call(node.operand, source, entry_point, lambda answer: not answer)
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        expected = ast.literal_eval(node.comparators[0])
        operator = node.ops[0]
        if isinstance(operator, ast.Eq):
            return _call(node.left, source, entry_point, lambda answer: bool(answer == expected))
        if isinstance(operator, ast.NotEq):
            return _call(node.left, source, entry_point, lambda answer: bool(answer != expected))
        if isinstance(operator, ast.Is) and (expected is None or isinstance(expected, bool)):
            return _call(node.left, source, entry_point, lambda answer: answer is expected)
        if isinstance(operator, ast.Lt | ast.LtE):
            return _near(node, source, entry_point)
        return None
    if _is_isclose(node) and entry_point != "isclose":
        return _isclose(node, source, entry_point)
    return _call(node, source, entry_point, bool)


def _near(node: ast.Compare, source: str, entry_point: str) -> Call | None:
    """`abs(f(x) - v) < eps`, either way round."""
    outer, bound = node.left, ast.literal_eval(node.comparators[0])
    if not (isinstance(outer, ast.Call) and _named(outer.func, "abs", "fabs") and len(outer.args) == 1):
        return None
    difference = outer.args[0]
    if not (isinstance(difference, ast.BinOp) and isinstance(difference.op, ast.Sub)) or outer.keywords:
        return None
    left = isinstance(difference.left, ast.Call)
    asked, value = (difference.left, difference.right) if left else (difference.right, difference.left)
    expected, strict = ast.literal_eval(value), isinstance(node.ops[0], ast.Lt)

    def holds(answer: Any) -> bool:
        distance = abs(answer - expected)
        return bool(distance < bound if strict else distance <= bound)

    return _call(asked, source, entry_point, holds)


def _is_isclose(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and _named(node.func, "isclose") and len(node.args) == 2


def _isclose(node: ast.expr, source: str, entry_point: str) -> Call | None:
    """`math.isclose(f(x), v, rel_tol=..., abs_tol=...)`, either way round."""
    assert isinstance(node, ast.Call)
    tolerances = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in node.keywords}
    if not set(tolerances) <= {"rel_tol", "abs_tol"}:
        return None
    first = isinstance(node.args[0], ast.Call)
    asked, value = node.args if first else reversed(node.args)
    expected = ast.literal_eval(value)
    return _call(asked, source, entry_point, lambda answer: math.isclose(answer, expected, **tolerances))


def _named(function: ast.expr, *names: str) -> bool:
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) and function.value.id == "math":
        return function.attr in names
    return isinstance(function, ast.Name) and function.id in names


def _call(node: ast.expr, source: str, entry_point: str, holds: Callable[[Any], bool]) -> Call | None:
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == entry_point):
        return None
    if any(keyword.arg is None for keyword in node.keywords):
        return None
    args = [ast.literal_eval(argument) for argument in node.args]
    kwargs = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in node.keywords}
    return Call(source, args, kwargs, holds)
