"""MBPP (Austin et al. 2021, arXiv 2108.07732): a sentence and three assertions, asked as a function to complete.

The prompt is the reference's own signature with the sentence and the assertions in the docstring: the published prompt
shows the assertions too, since many sentences alone do not say what is wanted. What the assertions name beside the
entry point (a class `Pair`, say) stands above the signature. The challenge list is not used.
"""

import ast
from pathlib import Path
from typing import Any

from evalkit.parsing import parse
from evalkit.records import Problem
from evalkit.suites.lines import read_lines

MBPP_TEST = range(11, 511)
"""Task ids of the paper's test split."""


def read_mbpp(path: Path, ids: range | None = None) -> list[Problem]:
    """Problems of the published file: task_id, text, code, test_list, test_setup_code."""
    problems = read_lines(path, _problem)
    return problems if ids is None else [problem for problem in problems if int(problem.id.split("/")[1]) in ids]


def _problem(row: dict[str, Any]) -> Problem:
    code = str(row["code"]).replace("\r\n", "\n").replace("\r", "\n").rstrip() + "\n"
    tests = tuple(str(test).replace("\r\n", "\n").strip() for test in row["test_list"])
    tree = parse(code)
    definition = _entry_point(tree, tests)
    setup = str(row["test_setup_code"]).replace("\r\n", "\n").strip()
    shown = "\n\n\n".join(filter(None, (_named_by_tests(code, tree, (*tests, setup), definition), setup)))
    return Problem(
        id=f"MBPP/{row['task_id']}",
        suite="mbpp",
        prompt=(f"{shown}\n\n\n" if shown else "") + _prompt(definition, str(row["text"]), tests),
        entry_point=definition.name,
        tests=tests,
        imports=shown,
        solution=f"{shown}\n\n\n{code}" if setup else code,
        license="CC-BY-4.0",
        source="github.com/google-research/google-research/tree/master/mbpp",
    )


def _prompt(definition: ast.FunctionDef, text: str, tests: tuple[str, ...]) -> str:
    signature = f"def {definition.name}({ast.unparse(definition.args)}):"
    lines = [" ".join(text.split()), "", *(line for test in tests for line in test.splitlines())]
    doc = "\n".join(f"    {line}".rstrip() for line in lines).strip()
    # A backslash or a quote of the tests must not end the docstring or change in it.
    quote = "'''" if '"""' in doc else '"""'
    raw = "r" if "\\" in doc else ""
    return f"{signature}\n    {raw}{quote}{doc}\n    {quote}"


def _entry_point(tree: ast.Module, tests: tuple[str, ...]) -> ast.FunctionDef:
    """The reference's function that the assertions call; the last defined one of several that they name."""
    called = _names(tests)
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in called]
    if not functions:
        raise ValueError("the assertions call no function of the reference")
    return functions[-1]


def _named_by_tests(code: str, tree: ast.Module, tests: tuple[str, ...], entry: ast.FunctionDef) -> str:
    """Source of the classes and functions that the assertions and their set-up name beside the entry point."""
    called = _names(tests) - {entry.name}
    wanted = [n for n in tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef) and n.name in called]
    return "\n\n\n".join(filter(None, (ast.get_source_segment(code, node) for node in wanted)))


def _names(tests: tuple[str, ...]) -> set[str]:
    return {node.id for test in tests for node in ast.walk(parse(test)) if isinstance(node, ast.Name)}
