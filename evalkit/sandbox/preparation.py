"""Turns a test program into what a tester needs to run it, once for all the candidates of a problem."""

import ast
import builtins
import marshal
from functools import lru_cache
from typing import Any

from evalkit.parsing import compiled, parse


@lru_cache(maxsize=512)
def prepared(test: str, imports: str, entry_point: str) -> dict[str, Any]:
    """Compiled code and facts of a test, ready for marshal. SyntaxError or ValueError where it is no program.

    code: the test, each assertion followed by a note that it held; lines: the assertions' source; required: numbers of
    those that must have held; names: what the test uses and does not define; check: whether it defines `check`;
    imports: the prelude as [name of the class that a part defines, or null; code]; resident: whether one process may
    run it for one candidate after another; sees_files: whether it may look at files; random: whether it may draw
    numbers, which then start anew each time.
    """
    counter = _Counter()
    tree, prelude = parse(test), parse(imports)
    nodes = [*ast.walk(tree)]
    names = _free_names(nodes) | {entry_point}
    check = any(isinstance(node, ast.FunctionDef) and node.name == "check" for node in tree.body)
    resident = leaves_no_trace(nodes) and leaves_no_trace([*ast.walk(prelude)])
    code = compiled(counter.visit(tree), "<test>")
    return {
        "code": marshal.dumps(code),
        "lines": counter.lines,
        "required": sorted(counter.required),
        "names": sorted(names),
        "check": check,
        "imports": _parts(prelude),
        "resident": resident,
        "sees_files": touches_files(nodes),
        "random": "random" in test or "random" in imports,
    }


TRACELESS = {
    "bisect", "calendar", "cmath", "collections", "contextlib", "copy", "dataclasses", "datetime", "enum", "fractions",
    "functools", "hashlib", "heapq", "io", "itertools", "json", "math", "numbers", "operator", "random", "re",
    "statistics", "string", "textwrap", "time", "typing",
}  # fmt: skip
"""Modules whose use leaves nothing behind for the next run in the same process (numbers drawn apart)."""


def leaves_no_trace(nodes: list[ast.AST]) -> bool:
    """Whether a second run in the same process finds what the first found: only modules that keep no state are
    imported, and nothing is assigned to them."""
    imported: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            if not {name.split(".")[0] for name in named} <= TRACELESS:
                return False
            imported |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    for node in nodes:
        if isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
            root: ast.expr = node
            while isinstance(root, ast.Attribute | ast.Subscript):
                root = root.value
            if isinstance(root, ast.Name) and (root.id in imported or root.id == "__builtins__"):
                return False
        if isinstance(node, ast.Name) and node.id in ("__import__", "exec", "eval", "setattr", "globals", "vars"):
            return False
    return True


def touches_files(nodes: list[ast.AST]) -> bool:
    """Whether a test may look at files: then those of the program's folder stand in for its own."""
    for node in nodes:
        if isinstance(node, ast.Name) and node.id == "open":
            return True
        if isinstance(node, ast.Import | ast.ImportFrom):
            named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            if {name.split(".")[0] for name in named} & {"os", "pathlib", "io", "csv"}:
                return True
    return False


def _parts(prelude: ast.Module) -> list[tuple[str | None, bytes]]:
    """The prelude cut at its classes: a tester leaves out those that the program defines itself."""
    runs: list[tuple[str | None, list[ast.stmt]]] = []
    for node in prelude.body:
        name = node.name if isinstance(node, ast.ClassDef) else None
        if name is None and runs and runs[-1][0] is None and not isinstance(runs[-1][1][-1], ast.ClassDef):
            runs[-1][1].append(node)
        else:
            runs.append((name, [node]))
    parts = []
    for name, body in runs:
        module = ast.Module(body=body, type_ignores=[])
        parts.append((name, marshal.dumps(compiled(module, "<imports>"))))
    return parts


def _free_names(nodes: list[ast.AST]) -> set[str]:
    used: set[str] = set()
    stored = set(dir(builtins))
    for node in nodes:
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else stored).add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            stored.add(node.name)
        elif isinstance(node, ast.arg):
            stored.add(node.arg)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            stored |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    return used - stored


class _Counter(ast.NodeTransformer):
    """Notes each assertion that held: `assert X` becomes a note of its number, `assert X`, and a note that it held.

    `required` are those that must have held for a pass: all, but for those that a right program may rightly not reach:
    `assert False` after a call that must raise, and what stands in an `except` clause or a branch.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.required: set[int] = set()
        self._optional = 0

    def visit(self, node: ast.AST) -> Any:
        return node if isinstance(node, ast.expr) else super().visit(node)  # no assertion stands in an expression

    def visit_Assert(self, node: ast.Assert) -> list[ast.stmt]:
        number = len(self.lines)
        self.lines.append(ast.unparse(node)[:300])
        if not self._optional and not (isinstance(node.test, ast.Constant) and not node.test.value):
            self.required.add(number)
        return [_note("__at__", number, node), node, _note("__held__", number, node)]

    def _branch(self, node: ast.AST) -> ast.AST:
        self._optional += 1
        visited = self.generic_visit(node)
        self._optional -= 1
        return visited

    visit_If = visit_ExceptHandler = visit_Match = _branch


def _note(name: str, number: int, at: ast.Assert) -> ast.stmt:
    line, column = at.lineno, at.col_offset
    called = ast.Name(id=name, ctx=ast.Load(), lineno=line, col_offset=column)
    said = ast.Constant(value=number, lineno=line, col_offset=column)
    call = ast.Call(func=called, args=[said], keywords=[], lineno=line, col_offset=column)
    return ast.Expr(value=call, lineno=line, col_offset=column)
