"""What a program is when names, docstrings, annotations and layout are taken away."""

import ast
import builtins
import hashlib

from evalkit.parsing import parse

_BUILTINS = frozenset(dir(builtins))


def normal_form(program: str) -> str:
    """Digest (16 hex digits) of the normalised AST: two programs that differ only in names share it.

    Docstrings, annotations and comments are dropped; names that the program binds itself (functions, classes,
    arguments, variables, imports under `as`) are numbered in order of appearance; builtins, attributes that are not
    methods of its own classes, and constants stay. Raises SyntaxError where the program is not Python.
    """
    tree = parse(program)
    tree = _Normaliser(_bound_names(tree)).visit(tree)
    return hashlib.sha256(ast.dump(tree, annotate_fields=False).encode()).hexdigest()[:16]


def _bound_names(tree: ast.AST) -> frozenset[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            names.add(node.name)
    return frozenset(name for name in names - _BUILTINS if not (name.startswith("__") and name.endswith("__")))


class _Normaliser(ast.NodeTransformer):
    def __init__(self, bound: frozenset[str]) -> None:
        self.bound = bound
        self.numbers: dict[str, str] = {}

    def _name(self, name: str) -> str:
        return self.numbers.setdefault(name, f"v{len(self.numbers)}") if name in self.bound else name

    def _definition(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> ast.AST:
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        node.name = self._name(node.name)
        if not isinstance(node, ast.ClassDef):
            node.returns = None
        return self.generic_visit(node)

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = _definition  # names fixed by ast

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg(arg=self._name(node.arg), annotation=None)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        if node.value is None:
            return None
        return self.visit(ast.Assign(targets=[node.target], value=node.value))  # type: ignore[no-any-return]

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Name(id=self._name(node.id), ctx=node.ctx)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        return ast.Attribute(value=node.value, attr=self._name(node.attr), ctx=node.ctx)

    def visit_keyword(self, node: ast.keyword) -> ast.AST:
        self.generic_visit(node)
        return ast.keyword(arg=self._name(node.arg) if node.arg else None, value=node.value)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> ast.AST:
        self.generic_visit(node)
        return ast.ExceptHandler(type=node.type, name=self._name(node.name) if node.name else None, body=node.body)
