"""Which tasks could one solution solve? A cheap look at signatures before anything is run."""

import ast
import re
from collections.abc import Iterable

from evalkit.records import Problem, Record


class Signature(Record):
    """How an entry point is called: least and most positional arguments (None: any number), and annotated types."""

    least: int
    most: int | None
    types: tuple[str | None, ...]
    """Outermost type of each positional argument (`list` for `List[int]`), None where it is not annotated."""


def signature(problem: Problem) -> Signature | None:
    """Of the entry point, read from the prompt, else from the solution; None where neither defines a function."""
    for source in (problem.prompt + "\n    pass\n", problem.solution or ""):
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError, RecursionError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.name == problem.entry_point:
                return _of(node.args)
    return None


def _of(arguments: ast.arguments) -> Signature:
    positional = [*arguments.posonlyargs, *arguments.args]
    return Signature(
        least=len(positional) - len(arguments.defaults),
        most=None if arguments.vararg else len(positional),
        types=tuple(_outermost(argument.annotation) for argument in positional),
    )


_ANY = {"Any", "object", "Optional", "Union", "Sequence", "Iterable", "Collection", "Number"}
_SAME = {"List": "list", "Dict": "dict", "Set": "set", "Tuple": "tuple", "int": "number", "float": "number"}


def _outermost(annotation: ast.expr | None) -> str | None:
    while isinstance(annotation, ast.Subscript):
        annotation = annotation.value
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        match = re.match(r"[\w.]+", annotation.value)
        name = match.group().rpartition(".")[2] if match else None
    elif isinstance(annotation, ast.Attribute):
        name = annotation.attr
    else:
        name = annotation.id if isinstance(annotation, ast.Name) else None
    return None if name is None or name in _ANY else _SAME.get(name, name)


def compatible(one: Signature, other: Signature) -> bool:
    """Whether a call of one could be a call of the other: some number of arguments fits both, no two types clash."""
    least = max(one.least, other.least)
    most = min(float("inf") if s.most is None else s.most for s in (one, other))
    if least > most:
        return False
    return not any(a and b and a != b for a, b in zip(one.types, other.types, strict=False))


def candidates(problem: Problem, suite_problems: Iterable[Problem]) -> list[Problem]:
    """The suite's problems whose tests could be passed by this problem's solution, by signature alone.

    A prefilter that never drops a task it cannot judge: unknown signatures and missing annotations fit everything.
    """
    ours = signature(problem)
    kept = []
    for other in suite_problems:
        theirs = signature(other)
        if ours is None or theirs is None or compatible(ours, theirs):
            kept.append(other)
    return kept


_DEFINITION = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def rename_entry(program: str, old: str, new: str) -> str:
    """The program with its top-level `old` renamed to `new`, calls of itself included; layout and comments stay.

    Strings, attributes and keyword arguments of that name stay. Raises SyntaxError where the program is not Python.
    """
    if old == new:
        return program
    spots = []
    lines = program.split("\n")
    tree = ast.parse(program)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == old:
            spots.append((node.lineno, node.col_offset))
        elif node in tree.body and isinstance(node, _DEFINITION) and node.name == old:
            spots.append((node.lineno, _name_offset(lines[node.lineno - 1], node.col_offset, old)))
    for line, column in sorted(spots, reverse=True):
        raw = lines[line - 1].encode()
        if raw[column : column + len(old.encode())] == old.encode():
            lines[line - 1] = (raw[:column] + new.encode() + raw[column + len(old.encode()) :]).decode()
    return "\n".join(lines)


def _name_offset(line: str, column: int, name: str) -> int:
    """Byte offset of a definition's name behind its keyword."""
    raw = line.encode()
    match = re.compile(rb"(?:async\s+def|def|class)\s+").match(raw, column)
    return match.end() if match and raw[match.end() :].startswith(name.encode()) else len(raw)
