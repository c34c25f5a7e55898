"""Writes docs/tree.md: every file of the packages with the first sentence of its docstring.

python docs/tree.py
"""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("evalkit", "synth", "distill", "recipes", "bench", "docs", "tests")


def tree() -> str:
    """The listing as Markdown, folder by folder."""
    lines = ["# The tree", "", "A line per file, from its own docstring. Written by `python docs/tree.py`."]
    for top in FOLDERS:
        for folder in sorted({file.parent for file in (ROOT / top).rglob("*.py")}):
            lines += ["", f"## {folder.relative_to(ROOT)}/", ""]
            lines += [f"- `{file.name}`: {first_sentence(file)}" for file in sorted(folder.glob("*.py"))]
    return "\n".join(lines) + "\n"


def first_sentence(file: Path) -> str:
    """Of the module's docstring, on one line."""
    doc = ast.get_docstring(ast.parse(file.read_text())) or "(no docstring)"
    paragraph = " ".join(doc.split("\n\n")[0].split())
    sentence, _, _ = paragraph.partition(". ")
    return sentence.rstrip(".") + "."


if __name__ == "__main__":
    (ROOT / "docs/tree.md").write_text(tree())
