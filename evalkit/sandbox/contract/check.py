"""Runs the contract against a sandbox and says what held."""

import os
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from evalkit.records import Method, Outcome
from evalkit.sandbox.contract.attacks import Attack, read_attacks
from evalkit.sandbox.job import Job, Limits
from evalkit.sandbox.sandbox import Sandbox

TESTS = ("assert add(2, 3) == 5", "assert add(-1, 1) == 0")
CHECK = "def check(candidate):\n    for a, b in ((2, 3), (-1, 1)):\n        assert candidate(a, b) == a + b\n"
HONEST = """
import os, threading
assert os.listdir(".") == [] and threading.active_count() == 1 and os.environ["HOME"] == os.getcwd()
open("mine", "w").write("x")
def add(a, b):
    return a + b
"""


@dataclass(frozen=True)
class Result:
    """How one hostile program, or one look at the host, went."""

    name: str
    method: str
    outcome: str
    expected: str
    held: bool


def check_contract(sandbox: Sandbox, attacks: list[Attack] | None = None) -> Iterator[Result]:
    """Every attack under `calls` and under `split`, then the host. Use a sandbox of one slot: what a program leaves
    then meets the next. Raises SandboxError where the sandbox breaks."""
    with (
        tempfile.TemporaryDirectory(prefix="canary-", dir=Path.home()) as folder,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        listener.setblocking(False)
        canary = Path(folder, "canary")
        canary.write_text("untouched")
        os.utime(canary, (10**9, 10**9))
        sandbox.run(_job("warm", HONEST, Method.SPLIT, frozenset()))
        sandbox.rest()
        processes = descendants()
        for attack in attacks if attacks is not None else read_attacks(str(canary), listener.getsockname()[1]):
            for method in (Method.CALLS, Method.SPLIT):
                yield _one(sandbox, attack, method)
        yield _look("canary file", _as_it_was(canary))
        yield _look("network", not _was_called(listener))
        sandbox.rest()
        yield _look("processes", descendants() == processes)


def _one(sandbox: Sandbox, attack: Attack, method: Method) -> Result:
    outcome = sandbox.run(_job(attack.name, attack.program, method, attack.expected)).outcome
    after = sandbox.run(_job("honest", HONEST, method, frozenset()))
    expected = "|".join(sorted(attack.expected))
    if not after.passed:
        return Result(attack.name, method, f"{outcome}, then an honest program: {after.outcome}", expected, False)
    return Result(attack.name, method, outcome, expected, outcome in attack.expected)


def _job(name: str, program: str, method: Method, expected: frozenset[Outcome]) -> Job:
    cpu = 0.3 if Outcome.CPU_TIMEOUT in expected else 5.0
    limits = Limits(cpu=cpu, wall=0.5 if Outcome.WALL_TIMEOUT in expected else 20.0)
    tests = {"tests": TESTS} if method is Method.CALLS else {"test_program": CHECK}
    return Job.model_validate({"id": name, "program": program, "entry_point": "add", "limits": limits, **tests})


def _look(name: str, unharmed: bool) -> Result:
    return Result(name, "host", "unharmed" if unharmed else "HARMED", "unharmed", unharmed)


def _as_it_was(canary: Path) -> bool:
    facts = canary.stat()
    others = [path.name for path in canary.parent.iterdir()]
    return (
        canary.read_text() == "untouched" and facts.st_mtime == 10**9 and others == ["canary"] and facts.st_nlink == 1
    )


def _was_called(listener: socket.socket) -> bool:
    try:
        listener.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def descendants(of: int | None = None) -> set[int]:
    """Processes below `of` (this process by default)."""
    parents: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                text = Path("/proc", entry, "stat").read_text()
            except OSError:
                continue
            parents.setdefault(int(text.rpartition(")")[2].split()[1]), []).append(int(entry))
    found, open_ = set(), [of or os.getpid()]
    while open_:
        children = parents.get(open_.pop(), [])
        found |= set(children)
        open_ += children
    return found
