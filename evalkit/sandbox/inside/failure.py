"""How an exception crosses: class name, text, the names of its bases, and what plain data it carries."""

import json
from collections.abc import Callable
from typing import Any

from .codec import NotData, encode

MOST_CARRIED = 8000
"""Characters of what an exception carries beside its text."""
_ARGUMENTS: Callable[[BaseException], tuple[Any, ...]] = vars(BaseException)["args"].__get__
"""The arguments themselves, whatever the exception's class says they are."""


def failure(error: BaseException) -> list[Any]:
    """['raise', class, text, bases, [arguments, attributes]]; whatever the exception's own methods do."""
    try:
        text = str(error)[:500]
    except BaseException:
        text = ""
    bases = [base.__name__ for base in type(error).__mro__[1:] if isinstance(base.__name__, str)]
    return ["raise", type(error).__name__, text.encode("utf-8", "replace").decode(), bases, _carried(error)]


def _carried(error: BaseException) -> list[Any]:
    """Arguments and attributes that are plain data, as long as they are small."""
    try:
        arguments = encode(_ARGUMENTS(error)[:8])
    except BaseException:
        arguments = None
    attributes = []
    try:
        for name, value in list(object.__getattribute__(error, "__dict__").items())[:32]:
            try:
                if type(name) is str:
                    attributes.append([name, encode(value)])
            except NotData:
                continue
    except BaseException:
        attributes = []
    carried = [arguments, attributes]
    return carried if len(json.dumps(carried)) < MOST_CARRIED else [None, []]
