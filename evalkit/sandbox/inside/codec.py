"""Plain data across the jail's wall: JSON with tags, rebuilt as exact built-ins. Never pickle.

Carries None, bool, int of any size, float with nan and inf, complex, str with lone surrogates, bytes, bytearray, list,
tuple, set, frozenset, dict with any hashable key, deque, range, Decimal, Fraction, date, datetime, built-in types,
nested; a list, dict, set or deque that stands in several places, or in itself, is one object on the other side, too.
Subclasses (Counter, namedtuple, IntEnum) cross as their base, so nothing that a program defined, and no
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
_Context = tuple[Callable[[int], Any] | None, dict[int, Any]]
"""While decoding: what makes an object of a handle, and the containers that may come again, by their numbers."""
_NEXT = -1
"""Among the ids of shared containers (which are above zero): the next number."""
_CHANGEABLE = (list, dict, set, collections.deque, bytearray)
_EXACT = (*_CHANGEABLE, tuple)
_CONTAINERS = (list, dict, set, frozenset, tuple, collections.deque)


class NotData(TypeError):
    """The value is no plain data."""


def encode(value: Any, handle: Handle | None = None) -> Any:
    """JSON-ready form of `value`; NotData where it has none (and no `handle` names it)."""
    return _encode(value, handle, 0, _shared(value) if isinstance(value, _CONTAINERS) else None)


def _shared(value: Any) -> dict[int, int | None] | None:
    """Ids of the changeable containers that `value` reaches more than once; None for none, as mostly."""
    shared: dict[int, int | None] = {}
    seen, open_ = {id(value)}, [value]
    while open_:
        container = open_.pop()
        items = container.values() if type(container) is dict else container
        for item in items if type(container) in _EXACT else ():
            if type(item) in _EXACT:
                if id(item) not in seen:
                    seen.add(id(item))
                    open_.append(item)
                elif type(item) in _CHANGEABLE:
                    shared[id(item)] = None
    return {**shared, _NEXT: 0} if shared else None


def containers_of(value: Any) -> list[Any]:
    """The changeable containers in plain data, each once, in an order that is the same on both sides of the wall."""
    found: list[Any] = []
    seen: set[int] = set()
    open_ = [value]
    while open_:
        each = open_.pop()
        if type(each) not in _EXACT or id(each) in seen:
            continue
        seen.add(id(each))
        if type(each) is not tuple:
            found.append(each)
        if type(each) is not set:
            open_.extend(reversed(list(each.values() if type(each) is dict else each)))
    return found


def contents(containers: list[Any], handle: Handle | None = None) -> list[Any]:
    """Forms of what each of some containers holds, where they hold one another by their numbers."""
    shared: dict[int, int | None] = {id(each): number for number, each in enumerate(containers)}
    shared[_NEXT] = len(containers)
    extra = _shared(containers)
    for known in extra or ():
        shared.setdefault(known, None)
    return [_container(each, type(each), handle, 1, shared) for each in containers]


def refill(containers: list[Any], forms: list[Any], handle: Callable[[int], Any] | None = None) -> None:
    """Give containers the contents that their twins have now; they stay the objects that they are."""
    context: _Context = (handle, dict(enumerate(containers)))
    if type(forms) is not list or len(forms) != len(containers):
        raise ValueError("not the containers that were sent")
    fresh = [_decode(form, context) for form in forms]
    for mine, theirs in zip(containers, fresh, strict=True):
        if type(mine) is not type(theirs):
            raise ValueError("not the containers that were sent")
        if isinstance(mine, list | bytearray):
            mine[:] = theirs
        else:
            mine.clear()
            mine.extend(theirs) if isinstance(mine, collections.deque) else mine.update(theirs)


def _encode(value: Any, handle: Handle | None, depth: int, shared: dict[int, int | None] | None) -> Any:
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
    if shared and id(value) in shared:
        number = shared[id(value)]
        if number is not None:
            return {"!@": number}
        number = shared[_NEXT] or 0
        shared[id(value)], shared[_NEXT] = number, number + 1
        return {"!=": [number, _container(value, kind, handle, depth + 1, shared)]}
    return _container(value, kind, handle, depth + 1, shared)


def _container(value: Any, kind: type, handle: Handle | None, below: int, shared: dict[int, int | None] | None) -> Any:
    if kind is list:
        return [_encode(item, handle, below, shared) for item in value]
    if kind is tuple:
        return {"!t": [_encode(item, handle, below, shared) for item in value]}
    if kind is dict:
        pairs = value.items()
        return {"!d": [[_encode(k, handle, below, shared), _encode(v, handle, below, shared)] for k, v in pairs]}
    if kind is set:
        return {"!s": [_encode(item, handle, below, shared) for item in value]}
    if kind is frozenset:
        return {"!f": [_encode(item, handle, below, shared) for item in value]}
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
        return {"!q": [[_encode(item, handle, below, shared) for item in value], value.maxlen]}
    if kind is type and value in _TYPE_NAMES:
        return {"!y": _TYPE_NAMES[value]}
    for base in (bool, int, float, str, list, tuple, dict, set, frozenset, bytes):
        if isinstance(value, base):
            return _encode(_as_base(base, value), handle, below - 1, shared)
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
    """The value of `encode`'s form, as exact built-ins; ValueError, TypeError or KeyError where it is none."""
    return _decode(data, (handle, {}))


def _decode(data: Any, context: _Context) -> Any:
    if type(data) is list:
        return [_decode(item, context) for item in data]
    if type(data) is not dict:
        return data
    if len(data) != 1:
        raise ValueError("not one tag")
    ((tag, body),) = data.items()
    if tag == "!h" and context[0] is not None:
        return context[0](body)
    return _DECODERS[tag](body, context)


def _items(body: Any, context: _Context) -> list[Any]:
    return [_decode(item, context) for item in body]


def _first_of_several(body: Any, context: _Context) -> Any:
    """A container that comes again: known by its number before it is filled, for it may hold itself."""
    number, form = body
    known = context[1]
    if type(number) is not int or number in known:
        raise ValueError("a number that is used already")
    if type(form) is list:
        known[number] = made = []
        made.extend(_items(form, context))
        return made
    if type(form) is not dict or len(form) != 1 or not form.keys() <= {"!d", "!s", "!q", "!a"}:
        raise ValueError("not changeable")  # nor hashable, then: a web of tuples would take forever to hash
    if "!d" in form:
        table: dict[Any, Any] = {}
        known[number] = table
        table.update((_decode(key, context), _decode(item, context)) for key, item in form["!d"])
        return table
    known[number] = _decode(form, context)
    return known[number]


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


_DECODERS: dict[str, Callable[[Any, _Context], Any]] = {
    "!u": lambda body, _: bytes.fromhex(body).decode("utf-8", "surrogatepass"),
    "!i": lambda body, _: int(body, 16),
    "!n": lambda body, _: float(body),
    "!t": lambda body, context: tuple(_items(body, context)),
    "!d": lambda body, context: {_decode(key, context): _decode(item, context) for key, item in body},
    "!s": lambda body, context: set(_items(body, context)),
    "!f": lambda body, context: frozenset(_items(body, context)),
    "!b": lambda body, _: bytes.fromhex(body),
    "!a": lambda body, _: bytearray.fromhex(body),
    "!c": lambda body, _: complex(decode(body[0]), decode(body[1])),
    "!y": _builtin_type,
    "!D": lambda body, _: decimal.Decimal(_text(body)),
    "!F": lambda body, _: _fraction(body),
    "!E": lambda body, _: datetime.date.fromisoformat(_text(body)),
    "!T": lambda body, _: datetime.datetime.fromisoformat(_text(body)),
    "!q": lambda body, context: collections.deque(_items(body[0], context), body[1]),
    "!r": lambda body, _: range(*_items(body, (None, {}))),
    "!=": _first_of_several,
    "!@": lambda body, context: context[1][body],
}
