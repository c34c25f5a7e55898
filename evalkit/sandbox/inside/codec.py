"""Plain data across the jail's wall: JSON with tags, rebuilt as exact built-ins. Never pickle.

Carries None, bool, int of any size, float with nan and inf, complex, str with lone surrogates, bytes, bytearray, list,
tuple, set, frozenset, dict with any hashable key, deque, range, Decimal, Fraction, date, datetime, built-in types,
nested. Subclasses (Counter, namedtuple, IntEnum) cross as their base, so nothing that a program defined, and no
`__eq__` of its own, reaches the other side. What is no data can cross as a handle, where the caller passes `handle`.
"""

import builtins
import collections
import datetime
import decimal
import fractions
from collections.abc import Callable
from typing import Any

MAX_DEPTH = 80
_TYPE_NAMES = {value: name for name, value in vars(builtins).items() if isinstance(value, type)}

_BY_TEXT: dict[type, str] = {
    decimal.Decimal: "!D",
    fractions.Fraction: "!F",
    datetime.date: "!E",
    datetime.datetime: "!T",
}
"""Types whose text says everything, and the tag of each."""

Handle = Callable[[Any], int]


class NotData(TypeError):
    """The value is no plain data."""


def encode(value: Any, handle: Handle | None = None, depth: int = 0) -> Any:
    """JSON-ready form of `value`; NotData where it has none (and no `handle` names it)."""
    kind = type(value)
    if value is None or kind is bool:
        return value
    if kind is str:
        return value if _plain_text(value) else {"!u": value.encode("utf-8", "surrogatepass").hex()}
    if kind is int:
        return value if -(1 << 53) < value < 1 << 53 else {"!i": hex(value)}
    if kind is float:
        return value if value - value == 0 else {"!n": repr(value)}
    if depth > MAX_DEPTH:
        raise NotData("nested too deeply")
    below = depth + 1
    if kind is list:
        return [encode(item, handle, below) for item in value]
    if kind is tuple:
        return {"!t": [encode(item, handle, below) for item in value]}
    if kind is dict:
        return {"!d": [[encode(key, handle, below), encode(item, handle, below)] for key, item in value.items()]}
    if kind is set:
        return {"!s": [encode(item, handle, below) for item in value]}
    if kind is frozenset:
        return {"!f": [encode(item, handle, below) for item in value]}
    if kind is bytes:
        return {"!b": value.hex()}
    if kind is bytearray:
        return {"!a": value.hex()}
    if kind is complex:
        return {"!c": [encode(value.real), encode(value.imag)]}
    if kind is range:
        return {"!r": [encode(value.start), encode(value.stop), encode(value.step)]}
    if kind in _BY_TEXT:
        return {_BY_TEXT[kind]: str(value)}
    if kind is collections.deque:
        return {"!q": [[encode(item, handle, below) for item in value], value.maxlen]}
    if kind is type and value in _TYPE_NAMES:
        return {"!y": _TYPE_NAMES[value]}
    for base in (bool, int, float, str, list, tuple, dict, set, frozenset, bytes):
        if isinstance(value, base):
            return encode(_as_base(base, value), handle, depth)
    if handle is not None:
        return {"!h": handle(value)}
    raise NotData(f"{kind.__name__} is no plain data")


def _plain_text(text: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in text) if not text.isascii() else True


def _as_base(base: type, value: Any) -> Any:
    """An exact `base` from an instance of a subclass, without calling what the subclass overrides."""
    if base is int:
        return int.__add__(value, 0)
    if base is float:
        return float.__add__(value, 0.0)
    if base is str:
        return str.__str__(value) if type(str.__str__(value)) is str else "".join(str.__iter__(value))
    if base is bytes:
        return bytes(memoryview(value))
    if base is dict:
        return dict(dict.items(value))
    return base(base.__iter__(value))  # type: ignore[attr-defined]  # the rest are containers


def decode(data: Any, handle: Callable[[int], Any] | None = None) -> Any:
    """The value of `encode`'s form, as exact built-ins; ValueError or TypeError where it is none."""
    if type(data) is list:
        return [decode(item, handle) for item in data]
    if type(data) is not dict:
        return data
    if len(data) != 1:
        raise ValueError("not one tag")
    ((tag, body),) = data.items()
    if tag == "!h" and handle is not None:
        return handle(body)
    return _DECODERS[tag](body, handle)


def _items(body: Any, handle: Any) -> list[Any]:
    return [decode(item, handle) for item in body]


def _text(body: Any) -> str:
    if type(body) is not str or len(body) > 4000:
        raise ValueError("no number or date")
    return body


def _fraction(body: Any) -> fractions.Fraction:
    """Without an exponent: `1e999999999` would be a number of a gigabyte."""
    if "e" in _text(body).lower():
        raise ValueError("no fraction")
    return fractions.Fraction(body)


def _builtin_type(body: Any, _: Any) -> type:
    found = getattr(builtins, body)
    if not isinstance(found, type):
        raise ValueError("no built-in type")
    return found


_DECODERS: dict[str, Callable[[Any, Any], Any]] = {
    "!u": lambda body, _: bytes.fromhex(body).decode("utf-8", "surrogatepass"),
    "!i": lambda body, _: int(body, 16),
    "!n": lambda body, _: float(body),
    "!t": lambda body, handle: tuple(_items(body, handle)),
    "!d": lambda body, handle: {decode(key, handle): decode(item, handle) for key, item in body},
    "!s": lambda body, handle: set(_items(body, handle)),
    "!f": lambda body, handle: frozenset(_items(body, handle)),
    "!b": lambda body, _: bytes.fromhex(body),
    "!a": lambda body, _: bytearray.fromhex(body),
    "!c": lambda body, _: complex(decode(body[0]), decode(body[1])),
    "!y": _builtin_type,
    "!D": lambda body, _: decimal.Decimal(_text(body)),
    "!F": lambda body, _: _fraction(body),
    "!E": lambda body, _: datetime.date.fromisoformat(_text(body)),
    "!T": lambda body, _: datetime.datetime.fromisoformat(_text(body)),
    "!q": lambda body, handle: collections.deque(_items(body[0], handle), body[1]),
    "!r": lambda body, _: range(*_items(body, None)),
}
