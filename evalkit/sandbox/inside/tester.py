"""The tester's side of split judging: runs a test program against proxies of a candidate that lives in another jail.

A handle stands for an object of the candidate. It never compares equal to plain data, has no order against it and takes
no arithmetic with it: such an operation would hand the expected value to the candidate and believe its answer.
"""

import builtins
import gc
import importlib
import marshal
import os
import random
import socket
import sys
from typing import Any

from . import wire
from .codec import containers_of, decode, encode, refill
from .files import Files
from .run import Broken, Run

HOSTILE = (EOFError, OSError, ValueError, RecursionError, MemoryError)
UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, MemoryError)
"""What reading an answer of unknown form can raise."""


class Handle:
    """An object of the candidate."""

    def __init__(self, wire_: "Candidate", number: int) -> None:
        object.__setattr__(self, "_wire", wire_)
        object.__setattr__(self, "_number", number)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        kind = self._wire.ask("class_attribute", [self._number, name])
        return kind

    def __setattr__(self, name: str, value: Any) -> None:
        self._wire.ask("set", [self._number, name], [value])

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._wire.ask("call", self._number, list(args), kwargs)

    def __iter__(self) -> Any:
        number, size = self._wire.ask("iter", self._number)
        while chunk := self._wire.ask("next", number, [size]):
            yield from chunk

    def __next__(self) -> Any:
        chunk = self._wire.ask("next", self._number, [1])
        if not chunk:
            raise StopIteration
        return chunk[0]

    def __len__(self) -> int:
        return int(self._wire.ask("len", self._number))

    def __bool__(self) -> bool:
        return self._wire.ask("bool", self._number) is True

    def __str__(self) -> str:
        return str(self._wire.ask("str", self._number))

    def __repr__(self) -> str:
        return str(self._wire.ask("repr", self._number))

    def __hash__(self) -> int:
        return int(self._wire.ask("hash", self._number))

    def __getitem__(self, key: Any) -> Any:
        return self._wire.ask("getitem", self._number, [key])

    def __setitem__(self, key: Any, value: Any) -> None:
        self._wire.ask("setitem", self._number, [key, value])

    def __delitem__(self, key: Any) -> None:
        self._wire.ask("delitem", self._number, [key])

    def __enter__(self) -> Any:
        return self._wire.ask("method", [self._number, "__enter__"])

    def __exit__(self, *_: Any) -> Any:
        return self._wire.ask("method", [self._number, "__exit__"], [None, None, None])

    def __copy__(self) -> Any:
        return self._wire.ask("copy", self._number)

    def __deepcopy__(self, _: Any) -> Any:
        return self._wire.ask("deepcopy", self._number)

    def __contains__(self, item: Any) -> bool:
        return any(item is each or item == each for each in self)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Handle):
            return self._wire.ask("eq", self._number, [other]) is True
        # With plain data it is compared here, by what it holds where it is a kind of list, dict, ...: never over there.
        held = self._wire.ask("data", self._number)
        return not isinstance(held, Handle) and bool(held == other)

    def __ne__(self, other: object) -> bool:
        return not self == other


def _between_handles(name: str) -> Any:
    def operation(self: Handle, other: Any) -> Any:
        return self._wire.ask(name, self._number, [other]) if isinstance(other, Handle) else NotImplemented

    return operation


for _method, _name in {
    "__add__": "add",
    "__sub__": "sub",
    "__mul__": "mul",
    "__matmul__": "matmul",
    "__and__": "and_",
    "__or__": "or_",
    "__lt__": "lt",
    "__le__": "le",
    "__gt__": "gt",
    "__ge__": "ge",
}.items():
    setattr(Handle, _method, _between_handles(_name))


class Candidate:
    """The wire to the candidate's jail."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.exceptions: dict[str, type[Exception]] = {}
        self.functions: list[Any] = []

    def opening(self) -> Any:
        """The candidate's first frame: ['loaded', failure or null, exception classes]."""
        try:
            return wire.receive(self.fd)
        except HOSTILE as error:
            raise Broken("the program ended before the test") from error

    def ask(self, action: str, target: Any, args: list[Any] | None = None, kwargs: dict[str, Any] | None = None) -> Any:
        if self.fd < 0:
            raise Broken("the run has ended")
        args = args or []
        if action == "class_attribute":
            return self._attribute(*target)
        sent = self._encode([args, kwargs or {}])
        reply = self._exchange([action, target, sent])
        *reply, printed = reply
        self._print(printed)
        *reply, changed = reply
        if changed is not None:
            self._refill(args, kwargs or {}, changed)
        if reply[0] == "ok":
            return self._decode(reply[1])
        raise self._exception(reply)

    def end(self) -> None:
        """Nothing is asked any more: what outlives the run must not speak to the next candidate."""
        self.fd = -1

    @staticmethod
    def _print(text: Any) -> None:
        """What the program printed, where the test captures it."""
        if text and sys.stdout is not sys.__stdout__:
            sys.stdout.write(str(text))

    def _attribute(self, number: int, name: str) -> Any:
        """The attribute; a method becomes a function that calls it over there."""
        value = self.ask("get", [number, name])
        if isinstance(value, Handle):

            def method(*args: Any, **kwargs: Any) -> Any:
                return self.ask("method", [number, name], list(args), kwargs)

            # What it is decides its use: methods are called; other objects are used as they are.
            return _Attribute(value, method)
        return value

    def _exchange(self, request: list[Any]) -> Any:
        while True:
            try:
                wire.send(self.fd, request)
                reply = wire.receive(self.fd)
            except HOSTILE as error:
                raise Broken("the program ended during the test") from error
            if type(reply) is list and len(reply) == 5 and reply[0] == "callback":
                *reply, printed = reply
                self._print(printed)
                request = self._called_back(*reply[1:])
                continue
            if type(reply) is not list or len(reply) < 4 or reply[0] not in ("ok", "raise"):
                raise Broken("an answer of unknown form")
            return reply

    def _called_back(self, number: Any, args: Any, kwargs: Any) -> list[Any]:
        """The program calls a function of the test: ['called', value, null, null] or the error's name, text."""
        if type(number) is not int or not -len(self.functions) <= number < 0:
            raise Broken("a call of an unknown function")
        args, kwargs = self._decode(args), self._decode(kwargs)
        try:
            return ["called", self._encode(self.functions[-1 - number](*args, **kwargs)), None, None]
        except Exception as error:
            return ["called", None, type(error).__name__, str(error)[:300].encode("utf-8", "replace").decode()]

    def _encode(self, value: Any) -> Any:
        return encode(value, self._number_of)

    def _number_of(self, value: Any) -> int:
        """Objects of the candidate by their handle's number; functions of the test by a number below zero."""
        if isinstance(value, Proxy):
            value = value.handle()
        if isinstance(value, Handle):
            return int(value._number)
        if callable(value):
            self.functions.append(value)
            return -len(self.functions)
        raise TypeError(f"a test cannot hand over a {type(value).__name__}: only plain data and functions cross")

    def _decode(self, value: Any) -> Any:
        try:
            return decode(value, lambda number: Handle(self, int(number)))
        except UNREADABLE as error:
            raise Broken("an answer of unknown form") from error

    def _refill(self, args: list[Any], kwargs: dict[str, Any], changed: Any) -> None:
        """Changes that the program made to its arguments in place become visible to the test, however deep they lie."""
        try:
            refill(containers_of([*args, *kwargs.values()]), changed, lambda number: Handle(self, int(number)))
        except UNREADABLE as error:
            raise Broken("an answer of unknown form") from error

    def _exception(self, reply: list[Any]) -> BaseException:
        """The exception, by class name: one the program defined, else the nearest built-in of its bases."""
        try:
            _, name, text, bases, (arguments, attributes) = reply
            values = [text] if arguments is None else self._decode(arguments)
            named = {str(key): self._decode(value) for key, value in attributes}
        except (*UNREADABLE, Broken):
            return Broken("an exception of unknown form")
        known = self.exceptions.get(str(name))
        for found in (
            [known] if known else [getattr(builtins, each, None) for each in [name, *bases] if type(each) is str]
        ):
            if isinstance(found, type) and issubclass(found, Exception):
                for given in (values, [text]):
                    try:
                        made = found(*given)
                    except Exception:  # UnicodeDecodeError and its like take other arguments
                        continue
                    made.__dict__.update(named)
                    if isinstance(made, _Told):
                        made.__dict__["_said"] = str(text)
                    return made
        return Broken(str(text), str(name))


class _Attribute(Handle):
    """A handle reached as an attribute: calling it calls the method, with in-place changes reported."""

    def __init__(self, value: Handle, method: Any) -> None:
        super().__init__(value._wire, value._number)
        object.__setattr__(self, "_method", method)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._method(*args, **kwargs)


class Proxy:
    """A function or class of the candidate, by name."""

    def __init__(self, candidate: Candidate, name: str) -> None:
        self._candidate, self.__name__ = candidate, name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._candidate.ask("name", self.__name__, list(args), kwargs)

    def handle(self) -> Any:
        """The function or class as an object: to hand over, or to take an attribute of."""
        return self._candidate.ask("value", self.__name__)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return getattr(self.handle(), name)

    def __instancecheck__(self, value: object) -> bool:
        return isinstance(value, Handle) and self._candidate.ask("isinstance", value._number, [self.__name__]) is True


def serve(job: dict[str, Any], fds: list[int]) -> None:
    """Judge one candidate after another, each by a socket that the driver hands over, until the driver is gone.

    Every run has names, counts and objects of its own. The driver ends this process after anything but a verdict.
    """
    job["code"] = marshal.loads(job["code"])
    job["imports"] = [(name, marshal.loads(code)) for name, code in job["imports"]]
    start = random.getstate() if job["random"] else None
    driver = socket.socket(fileno=fds[0])
    while True:
        word, sockets, _, _ = socket.recv_fds(driver, 1, 1)
        if not word or len(sockets) != 1:
            return
        if start is not None:
            random.setstate(start)
        candidate = Candidate(sockets[0])
        judge(job, fds[0], candidate)
        candidate.end()
        os.close(sockets[0])
        gc.collect()  # the names of a run are a ring; what was answered may be large


def judge(job: dict[str, Any], verdict: int, candidate: Candidate) -> None:
    """Run the prepared test and send the verdict. Only this process holds the verdict's socket."""
    run = Run(job)
    try:
        opening = candidate.opening()
        if type(opening) is not list or len(opening) != 4 or opening[1] is not None:
            _send(verdict, "unloaded", run)
            return
        names: dict[str, Any] = {"__name__": "tests", "__builtins__": __builtins__}
        _run_imports(names, candidate, job["imports"], *opening[2:])
        _bind(names, candidate, job["names"], job["entry"], opening[2])
        names["__held__"], names["__at__"] = run.held.add, run.enter
        if job["sees_files"]:
            files = Files(candidate)
            names["open"] = files.open
            if not job["resident"]:
                files.take_over()
        exec(job["code"], names)
        if job["entry"] and job["check"]:
            names["check"](names[job["entry"]])
    except BaseException as error:
        _send(verdict, "broken" if isinstance(error, Broken) else "failed", run, error)
        return
    _send(verdict, "passed" if run.whole() else "unreached", run)


def _run_imports(names: dict[str, Any], candidate: Candidate, parts: Any, exceptions: Any, classes: Any) -> None:
    """Run what the prompt brings. Its functions stay the trusted ones, but of a class that the program defines as well
    (`Pair`) the program's own is used: only its own instances reach it."""
    own = set(map(str, classes)) - set(map(str, exceptions)) if isinstance(classes, list) else set()
    for name, code in parts:
        if name in own:
            names[name] = Proxy(candidate, name)
        else:
            exec(code, names)


def _bind(names: dict[str, Any], candidate: Candidate, used: list[str], entry: str, exceptions: Any) -> None:
    """Names that the test uses and nobody else defines are the candidate's: exception classes, functions, classes."""
    names.pop(entry, None)
    for name in used:
        if name in names:
            continue
        if name in sys.stdlib_module_names and name != entry:
            names[name] = importlib.import_module(name)  # a module that the program imports and its tests use
            continue
        bases = exceptions.get(name) if isinstance(exceptions, dict) else None
        if isinstance(bases, list):
            names[name] = candidate.exceptions[name] = _exception_class(name, bases)
        else:
            names[name] = Proxy(candidate, name)


class _Told(Exception):
    """An exception class of the program: says what the program's own says."""

    def __str__(self) -> str:
        return str(self.__dict__.get("_said", super().__str__()))


def _exception_class(name: str, bases: list[Any]) -> type[Exception]:
    for base in bases:
        found = getattr(builtins, base, None) if isinstance(base, str) else None
        if isinstance(found, type) and issubclass(found, Exception):
            return type(name, (_Told, found) if found is not Exception else (_Told,), {})
    return type(name, (_Told,), {})


def _send(fd: int, what: str, run: Run, error: BaseException | None = None) -> None:
    wire.send(fd, run.told(what, error))
