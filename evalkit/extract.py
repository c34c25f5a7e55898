"""Takes the JSON object or the program out of what a model said. Nothing is guessed; what `repair_json` mends is whole
but for its punctuation."""

import ast
import json
import re
from functools import partial
from typing import Any, NamedTuple

from evalkit.parsing import literal, parse
from evalkit.records import Language

_FENCE = re.compile(r"([ \t]*)(`{3,}(?=[^`]*$)|~{3,})(.*)")
_DECODER = json.JSONDecoder()
TRIES = 200
"""Opening braces that are tried in a text: prose full of braces must not cost quadratic time."""


class Fenced(NamedTuple):
    """The fenced blocks of a text. `opened`: what follows a fence that was never closed; None where all were."""

    closed: list[str]
    opened: str | None

    @property
    def any(self) -> bool:
        return bool(self.closed) or self.opened is not None


def fenced(text: str) -> Fenced:
    """Blocks between fences as CommonMark 0.31 (section 4.5) has them: three or more backticks or tildes, closed by at
    least as many of the same alone on a line; the lines of a block lose the indentation of its fence (whatever its
    depth: chat answers have them in lists)."""
    closed: list[str] = []
    block: list[str] | None = None
    indent, fence = 0, ""
    for line in text.split("\n"):
        found = _FENCE.fullmatch(line.rstrip("\r"))
        if block is None:
            if found:
                block, indent, fence = [], len(found.group(1)), found.group(2)
        elif found and found.group(2).startswith(fence) and not found.group(3).strip():
            closed.append("".join(block))
            block = None
        else:
            spaces = len(line) - len(line.lstrip(" \t"))
            block.append(line[min(indent, spaces) :] + "\n")
    return Fenced(closed, None if block is None else "".join(block))


def extract_json(text: str) -> dict[str, Any] | None:
    """The first complete JSON object in a text, fenced or bare, prose around it or not.

    None where there is none: an answer that was cut off inside its outermost object has none, even where a smaller
    object in it is complete.
    """
    for block in fenced(text).closed:
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
    blocks = fenced(text).closed
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
    runs to the end of the text.
    """
    blocks, opened = fenced(text)
    if not blocks and opened is not None:
        blocks = [opened]
    defining = [block for block in blocks if defines(block, entry_point, language)]
    if defining:
        return defining[-1].rstrip() + "\n"
    return (blocks[0] if blocks else text).rstrip() + "\n"


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
