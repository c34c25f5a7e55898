"""What a forked child does: answer recorded calls, serve a tester's calls, or be the tester.

The first frame on its socket (marshal, from the driver) says which. A candidate's process never holds a test, an
expected value or a verdict: there is nothing in it to steal or forge. But for `inline`, which is marked as weak.
"""

import builtins
import contextlib
import marshal
import os
import signal
import sys
import types
from typing import Any

from . import wire
from .codec import NotData, decode, encode
from .failure import failure
from .objects import Objects
from .run import Run

Job = dict[str, Any]
MOST_PRINTED = 1 << 20
"""Bytes of output between two requests that a test can see."""


def run(fds: list[int]) -> None:
    job: Job = marshal.loads(wire.read(fds[0]))
    for name, text in job.get("files", {}).items():
        if "/" in name:
            os.makedirs(os.path.dirname(name), exist_ok=True)
        with open(name, "w", encoding="utf-8", newline="") as file:
            file.write(text)
    ROLES[job["role"]](job, fds)


def load(job: Job) -> tuple[dict[str, Any], list[Any] | None]:
    """Run the program's own text. Returns its names, and the failure if it did not get through."""
    main = types.ModuleType(
        "__main__"
    )  # as under `python program.py`: pickle and dataclasses look their classes up there
    sys.modules["__main__"] = main
    names = vars(main)
    names["__builtins__"] = __builtins__
    try:
        code = compile(job["program"], "<program>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        return {}, ["syntax", type(error).__name__, str(error)[:200]]
    try:
        exec(code, names)
    except BaseException as error:
        return {}, failure(error)
    return names, None


def answer_calls(job: Job, fds: list[int]) -> None:
    """Recorded arguments in, answers out: ['ok', value], or a failure, which ends the list."""
    names, failed = load(job)
    answers: list[Any] = []
    if failed is None and not callable(names.get(job["entry"])):
        failed = ["missing"]
    patience = job["probe"]
    if patience:
        signal.signal(signal.SIGVTALRM, too_slow)
    for args, kwargs in job["calls"] if failed is None else ():
        try:
            if patience:
                signal.setitimer(signal.ITIMER_VIRTUAL, patience)
            answers.append(["ok", encode(names[job["entry"]](*decode(args), **decode(kwargs)))])
        except NotData as error:
            answers.append(["object", str(error)])
        except BaseException as error:
            if patience:
                answers.append(failure(error))
                continue
            failed = failure(error)
            break
    if patience:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    try:
        wire.send(fds[0], answers + ([failed] if failed else []))
    except MemoryError as error:  # more than a frame holds
        wire.send(fds[0], [failure(error)])


def answer_stdio(job: Job, fds: list[int]) -> None:
    """Run a program that reads standard input; ['out', what it printed, its failure or None].

    Descriptor 1 is a file already (the zygote saw to that), so what goes past `sys.stdout` counts, too.
    """
    given = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o600)
    os.write(given, job["input"].encode("utf-8", "surrogatepass"))
    os.lseek(given, 0, os.SEEK_SET)
    os.dup2(given, 0)
    os.close(given)
    sys.stdin = os.fdopen(0, "r", encoding="utf-8", errors="replace", closefd=False)
    out = sys.stdout = os.fdopen(1, "w", encoding="utf-8", errors="replace", closefd=False)
    _, failed = load(job)
    if failed and failed[0] == "raise" and failed[1] == "SystemExit" and failed[2] in ("", "0", "None"):
        failed = None  # the ordinary end of a script
    with contextlib.suppress(BaseException):
        out.flush()
    said = os.pread(1, wire.MAX_FRAME // 8, 0).decode("utf-8", "replace")
    wire.send(fds[0], ["out", said, failed])


def run_inline(job: Job, fds: list[int]) -> None:
    """Program and test in one process, for what cannot be split. The program could forge this verdict: it is weak."""
    names, failed = load(job)
    if failed is not None:
        wire.send(fds[0], ["unloaded", failed])
        return
    run = Run(job)
    names["__held__"], names["__at__"] = run.held.add, run.enter
    error = None
    try:
        for _, code in job["imports"]:
            for name, value in _of_imports(marshal.loads(code)).items():
                names.setdefault(name, value)
        exec(marshal.loads(job["code"]), names)
        if job["entry"] and job["check"]:
            names["check"](names[job["entry"]])
    except BaseException as caught:
        error = caught
    what = "failed" if error is not None else "passed" if run.whole() else "unreached"
    wire.send(fds[0], run.told(what, error))


def _of_imports(code: Any) -> dict[str, Any]:
    """What trusted source that a test brings defines; the program's own names stand before it."""
    names: dict[str, Any] = {}
    exec(code, names)
    return names


class Slow(BaseException):
    """A call of a probe that used up its time. What swallows it meets the limit of the whole program."""


def too_slow(*_: object) -> None:
    raise Slow


def serve_candidate(job: Job, fds: list[int]) -> None:
    """Answer a tester's operations on the program's names and on objects it was given handles of."""
    names, failed = load(job)
    if failed is None and not (callable(names.get(job["entry"])) or not job["entry"]):
        failed = ["missing"]
    service = Service(names, fds[1])
    defined = [service.objects.exceptions(), service.objects.classes()] if failed is None else [{}, []]
    wire.send(fds[1], ["loaded", failed, *defined])
    wire.send(fds[0], ["loaded", failed])
    with contextlib.suppress(EOFError, OSError):
        service.until("end")


class Service:
    """Requests of the tester, answered in turn; inside one, the program may call back functions of the test."""

    def __init__(self, names: dict[str, Any], fd: int) -> None:
        self.fd, self.objects = fd, Objects(names, self.call_back)
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
        self.told = os.fstat(1).st_size  # what it printed while it was loaded is no call's

    def until(self, awaited: str) -> list[Any]:
        """Serve requests until a frame of the awaited kind comes."""
        while True:
            request = wire.receive(self.fd)
            if request[0] == awaited:
                return list(request)
            try:
                reply = self.objects.perform(*request)
            except BaseException as error:
                reply = [*failure(error), None]
            try:
                wire.send(self.fd, [*reply, self.printed()])
            except MemoryError as error:
                wire.send(self.fd, [*failure(error), None, ""])

    def printed(self) -> str:
        """What the program has printed since the last request, so that a test can ask for it. Descriptor 1 is a file:
        what goes past `sys.stdout` counts, too."""
        try:  # noqa: SIM105  (it may be the program's own)
            sys.stdout.flush()
        except BaseException:
            pass
        size = os.fstat(1).st_size
        if size == self.told:
            return ""
        start, self.told = self.told, size
        return os.pread(1, MOST_PRINTED, start).decode("utf-8", "replace")

    def call_back(self, number: int, *args: Any, **kwargs: Any) -> Any:
        hold = self.objects.hold
        wire.send(self.fd, ["callback", number, encode(args, hold), encode(kwargs, hold), self.printed()])
        _, value, error, text = self.until("called")
        if error is not None:
            raise getattr(builtins, error, RuntimeError)(text)
        return decode(value, self.objects.look_up)


def serve_tests(job: Job, fds: list[int]) -> None:
    from .tester import serve  # where testers are forked it is there already

    serve(job, fds)


ROLES = {
    "calls": answer_calls,
    "stdio": answer_stdio,
    "candidate": serve_candidate,
    "inline": run_inline,
    "tester": serve_tests,
}


ROUNDS = 10
"""After which the interpreter has settled how it runs the code of this package."""
_FAMILIAR = """
from typing import List
def f(x: List[int]) -> list:
    return [y for y in x]
"""


def warm_up() -> None:
    """Go the ways of every child, before any is forked: what is made and settled here is shared, not made by each."""
    main, null = sys.modules["__main__"], os.open("/dev/null", os.O_WRONLY)
    sent = [encode(([1, 2.5, "a", (True, None), {2: "b"}],)), encode({})]
    job: Job = {"program": _FAMILIAR, "entry": "f", "calls": [sent], "probe": 0}
    for _ in range(ROUNDS):
        answer_calls(marshal.loads(marshal.dumps(job)), [null])
        names, _ = load(job)
        service = Service(names, null)
        for _ in range(2):
            wire.send(null, [*service.objects.perform("name", "f", sent), service.printed()])
    sys.modules["__main__"] = main
    os.close(null)
