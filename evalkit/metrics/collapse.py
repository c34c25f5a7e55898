"""A model that answers every question alike has collapsed; one that answers one question in one way lacks variety."""

import ast
import hashlib
import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence

from evalkit.normal_form import normal_form
from evalkit.parsing import parse
from evalkit.records import Completion


def body_form(program: str, entry_point: str | None = None) -> str:
    """Digest of what the entry point does, names and unused arguments aside: `return a + b` is one form everywhere.

    Without an entry point, the last function counts. A program that does not parse is its own text, spaces aside.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _form(parse(program), entry_point)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        text = program[program.rfind('"""') + 3 :] if '"""' in program else program
        return hashlib.sha256(" ".join(text.split()).encode(errors="replace")).hexdigest()[:16]


def _form(tree: ast.Module, entry_point: str | None) -> str:
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    named = [node for node in functions if node.name == entry_point] or functions
    if not named:
        return normal_form(ast.unparse(tree))
    function = named[-1]
    used = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
    function.args = ast.arguments(
        posonlyargs=[],
        args=[arg for arg in _arguments(function.args) if arg.arg in used],
        vararg=None,
        kwonlyargs=[],
        kw_defaults=[],
        kwarg=None,
        defaults=[],
    )
    function.decorator_list = []
    return normal_form(ast.unparse(ast.fix_missing_locations(ast.Module(body=[function], type_ignores=[]))))


def _arguments(arguments: ast.arguments) -> list[ast.arg]:
    rest = [arg for arg in (arguments.vararg, arguments.kwarg) if arg is not None]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *rest]


def mode_collapse_share(completions: Iterable[Completion]) -> float | None:
    """Share of the problems that are given the most common answer, compared by `body_form`.

    None for fewer than two problems. Different problems rarely have the same solution, so 0.3 is already a warning.
    """
    problems: dict[str, set[str]] = defaultdict(set)
    everyone = set()
    for completion in completions:
        everyone.add(completion.problem_id)
        problems[body_form(completion.program)].add(completion.problem_id)
    if len(everyone) < 2:
        return None
    return max(map(len, problems.values())) / len(everyone)


def distinct_programs(completions: Sequence[Completion]) -> float | None:
    """Distinct forms per completion within each problem, averaged over problems; None where none has two samples."""
    forms: dict[str, list[str]] = defaultdict(list)
    for completion in completions:
        forms[completion.problem_id].append(body_form(completion.program))
    shares = [len(set(group)) / len(group) for group in forms.values() if len(group) > 1]
    return sum(shares) / len(shares) if shares else None
