"""The candidate's side of split judging: operations on its names and objects, by request of the tester."""

import copy
import functools
import itertools
import operator
import os
from collections.abc import Callable
from typing import Any

from .codec import containers_of, contents, decode, encode
from .failure import failure

_AT_ONCE = (list, tuple, dict, set, frozenset, range, str, bytes)
MAX_HANDLES = 100_000
MAX_FILE = 2 << 20
"""Bytes of a file that a test can read back."""
CHUNK = 64
"""Items of a container sent at a time."""

_OPERATORS = (
    "add sub mul truediv floordiv mod pow matmul and_ or_ xor lshift rshift eq ne lt le gt ge neg pos invert abs"
)
OPERATORS: dict[str, Callable[..., Any]] = {name: getattr(operator, name) for name in _OPERATORS.split()} | {
    "len": len,
    "bool": bool,
    "str": str,
    "repr": repr,
    "hash": hash,
    "getitem": operator.getitem,
}


class Objects:
    def __init__(self, names: dict[str, Any], call_back: Callable[..., Any]) -> None:
        self.names, self.call_back = names, call_back
        self.held: list[Any] = []
        self.numbers: dict[int, int] = {}

    def hold(self, value: Any) -> int:
        if id(value) not in self.numbers:
            if len(self.held) >= MAX_HANDLES:
                raise MemoryError("too many objects held for the test")
            self.held.append(value)
            self.numbers[id(value)] = len(self.held) - 1
        return self.numbers[id(value)]

    def exceptions(self) -> dict[str, list[str]]:
        """Exception classes that the program defines, with the names of their bases."""
        return {
            name: [base.__name__ for base in value.__mro__[1:]]
            for name, value in self.names.items()
            if isinstance(value, type) and issubclass(value, Exception) and value.__module__ == "__main__"
        }

    def classes(self) -> list[str]:
        """Names of the classes that the program defines."""
        return [n for n, value in self.names.items() if isinstance(value, type) and value.__module__ == "__main__"]

    def look_up(self, number: int) -> Any:
        """What a number in a request stands for: an object held here, or (below zero) a function of the test."""
        return self.held[number] if number >= 0 else functools.partial(self.call_back, number)

    def perform(self, action: str, target: Any, given: Any) -> list[Any]:
        """Do one operation; returns ['ok', value] or how it failed, and what the containers that were sent hold now
        (null: what they held)."""
        args, kwargs = decode(given, self.look_up)
        sent = containers_of([*args, *kwargs.values()]) if action in ("name", "method", "call") else []
        before = contents(sent, self.hold) if sent else None
        try:
            value = self._apply(action, target, args, kwargs)
            made = action in ("copy", "deepcopy") or (action == "name" and self._is_class(target))
            reply = ["ok", {"!h": self.hold(value)} if made else encode(value, self.hold)]
        except BaseException as error:
            reply = failure(error)
        after = contents(sent, self.hold) if sent else None
        return [*reply, after if after != before else None]

    def _is_class(self, name: str) -> bool:
        """Whether calling a name makes an instance: it stays here, also where it is a kind of list or dict, for it has
        methods that its data has not."""
        found = self.names[name]
        return isinstance(found, type) and found.__module__ == "__main__"

    def _apply(self, action: str, target: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
        if action == "name":
            return self.names[target](*args, **kwargs)
        if action == "value":
            return self.names[target]
        if action == "method":
            held, name = target
            return getattr(self.held[held], name)(*args, **kwargs)
        if action == "call":
            return self.held[target](*args, **kwargs)
        if action == "get":
            held, name = target
            return getattr(self.held[held], name)
        if action == "set":
            held, name = target
            setattr(self.held[held], name, *args)
            return None
        if action in ("copy", "deepcopy"):
            return getattr(copy, action)(self.held[target])
        if action == "data":
            return self.held[target]  # as a handle, where it is no kind of built-in data
        if action == "delitem":
            del self.held[target][args[0]]
            return None
        if action == "setitem":
            self.held[target][args[0]] = args[1]
            return None
        if action == "isinstance":
            return isinstance(self.held[target], self.names[args[0]])
        if action == "iter":
            iterator = iter(self.held[target])
            # An iterator of the program's own may be shared, endless, or raise: one item at a time, as it is drawn.
            return [self.hold(iterator), CHUNK if type(self.held[target]) in _AT_ONCE else 1]
        if action == "read_file":
            with open(target, "rb") as file:
                return file.read(MAX_FILE)
        if action == "write_file":
            with open(target, "ab" if args[1] else "wb") as file:
                file.write(args[0])
            return None
        if action == "remove_file":
            return os.remove(target)
        if action == "has_file":
            return os.path.isdir(target) if args[0] == "isdir" else os.path.isfile(target)
        if action == "next":
            return list(itertools.islice(self.held[target], *args))
        return OPERATORS[action](self.held[target], *args)
