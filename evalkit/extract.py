"""Takes the JSON object or the program out of what a model said. Nothing is guessed; what `repair_json` mends is whole
but for its punctuation."""

import ast
import json
import re
import textwrap
from functools import partial
from typing import Any

from evalkit.parsing import literal, parse
from evalkit.records import Language

_FENCE = re.compile(r"[ \t]*(`{3,})(.*)")
_DECODER = json.JSONDecoder()
TRIES = 200
"""Opening braces that are tried in a text: prose full of braces must not cost quadratic time."""


def _fenced(text: str) -> tuple[list[str], str | None]:
    """The blocks between fences, and what follows one that was never closed (None where all were).

    A block ends at the first line of backticks alone, three at least; where more than three opened it, as many, if such
    a line comes.
    """
    lines = text.split("\n")
    fences = [(i, found) for i, line in enumerate(lines) if (found := _FENCE.fullmatch(line.rstrip("\r")))]
    last = {len(found[1]): i for i, found in fences if not found[2].strip()}  # line that closes so many backticks
    closed: list[str] = []
    begun, ending = -1, 3
    for i, found in fences:
        ticks, more = len(found[1]), found[2].strip()
        if begun < 0:
            begun, ending = i + 1, ticks if any(n >= ticks and at > i for n, at in last.items()) else 3
        elif ticks >= ending and not more:
            closed.append("".join(line + "\n" for line in lines[begun:i]))
            begun = -1
    return closed, "\n".join(lines[begun:]) if 0 <= begun < len(lines) else None


def extract_json(text: str) -> dict[str, Any] | None:
    """The first complete JSON object in a text, fenced or bare, prose around it or not.

    None where there is none: an answer that was cut off inside its outermost object has none, even where a smaller
    object in it is complete.
    """
    for block in _fenced(text)[0]:
        if (found := _whole(block)) is not None:
            return found
    start, tries = text.find("{"), 0
    while start >= 0 and tries < TRIES:
        tries += 1
        try:
            found, _ = _DECODER.raw_decode(text, start)
        except (json.JSONDecodeError, RecursionError):
            if _opens_object(text, start):
                return None  # begun and not finished: what follows are its parts
            start = text.find("{", start + 1)
            continue
        return found if isinstance(found, dict) else None
    return None


_STRING_OR_COMMA = re.compile(r'"(?:[^"\\]|\\.)*"|,(?=\s*[}\]])', re.DOTALL)


def repair_json(text: str) -> dict[str, Any] | None:
    """An object that is nearly JSON: bare line breaks in its strings, commas before closing brackets, or written as a
    Python dict. None where anything else is wrong, and for whatever was cut off: what is missing is not made up."""
    blocks, _ = _fenced(text)
    start, end = text.find("{"), text.rfind("}")
    for block in (*blocks, text[start : end + 1] if 0 <= start < end else ""):
        block = block.strip()
        if not block.startswith("{"):
            continue
        without_commas = _STRING_OR_COMMA.sub(lambda m: "" if m.group() == "," else m.group(), block)
        for read, text in ((partial(json.loads, strict=False), without_commas), (literal, block)):
            try:
                found = read(text)
            except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
                continue
            if isinstance(found, dict) and all(isinstance(key, str) for key in found):
                return found
    return None


def _whole(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _opens_object(text: str, start: int) -> bool:
    """Whether a brace is followed by a first key: then it is JSON that broke off, not a brace in prose."""
    return re.match(r'\{\s*"(?:[^"\\]|\\.)*"\s*:', text[start : start + 400]) is not None


def extract_program(text: str, entry_point: str, language: Language = Language.PYTHON) -> str:
    """The program in a chat answer: the fenced block that defines the entry point, else the first, else the text.

    Of several blocks that define it the last counts (models correct themselves). A fence that was never closed
    runs to the end of the text. A block that stands in a list is moved to the margin where it defines it only there.
    """
    blocks, opened = _fenced(text)
    if not blocks and opened is not None:
        blocks = [opened]
    found = (_standing(block, entry_point, language) for block in blocks)
    defining = [block for block in found if block is not None]
    if defining:
        return defining[-1].rstrip() + "\n"
    return (blocks[0] if blocks else text).rstrip() + "\n"


def _standing(block: str, name: str, language: Language) -> str | None:
    """A block that defines the name, moved to the margin where it must be."""
    moved = block if defines(block, name, language) else textwrap.dedent(block)
    return moved if defines(moved, name, language) else None


_DEFINES = {
    Language.RUST: r"\b(?:fn|struct|enum|trait)\s+{name}\b",
    Language.JAVASCRIPT: r"\b(?:function\*?|class)\s+{name}\b|\b{name}\s*=",
    Language.C: r"^[\w*\s]+\b{name}\s*\(",
    Language.CPP: r"^[\w:<>,&*\s]+\b{name}\s*\(|\b(?:class|struct)\s+{name}\b",
}


def defines(program: str, name: str, language: Language = Language.PYTHON) -> bool:
    """Whether the program binds `name` at its top level; by the look of it where it does not parse, and in other
    languages than Python."""
    if language is not Language.PYTHON:
        return re.search(_DEFINES[language].format(name=re.escape(name)), program, re.MULTILINE) is not None
    try:
        body = parse(program).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return re.search(rf"^(?:async\s+def|def|class)\s+{re.escape(name)}\b", program, re.MULTILINE) is not None
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name == name:
            return True
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            return True
    return False
