"""Hostile probes at start: a tier counts only where what it promises is seen to hold on this machine."""

from evalkit.errors import SandboxError
from evalkit.records import Tier
from evalkit.sandbox.job import Job, Limits
from evalkit.sandbox.slots import Slot

_PROGRAM = """
import os, signal, socket

ATTEMPTS = {
    "read the host's files": lambda: open("/etc/passwd").read(),
    "see the host's processes": lambda: os.listdir("/proc"),
    "write outside its folder": lambda: open("/var/tmp/potstill", "w"),
    "write beside the interpreter": lambda: open(os.path.dirname(os.__file__) + "/potstill", "w"),
    "change foreign files": lambda: os.utime(os.__file__, (1, 1)),
    "fork": os.fork,
    "signal its parent": lambda: os.kill(os.getppid() or 1, signal.SIGCONT),
    "execute programs": lambda: os.execv("/bin/true", ["true"]),
    "open sockets": socket.socket,
    "raise its limits": lambda: __import__("resource").setrlimit(6, (9999, 9999)),
}

def stopped(what):
    try:
        ATTEMPTS[what]()
    except (OSError, ValueError):
        return True
    return False
"""
PROBES = (
    "read the host's files",
    "see the host's processes",
    "write outside its folder",
    "write beside the interpreter",
    "change foreign files",
    "fork",
    "signal its parent",
    "execute programs",
    "open sockets",
    "raise its limits",
)
"""What a program must not be able to do, in any tier."""


def probe(slot: Slot) -> None:
    """Raises SandboxError where a program can do what it must not."""
    if slot.tier is Tier.NONE:
        return
    tests = tuple(f"assert stopped({what!r}) is True" for what in PROBES)
    verdict = slot.judge(
        Job(id="probe", program=_PROGRAM, entry_point="stopped", tests=tests, limits=Limits(wall=30.0)), 10.0
    )
    if not verdict.passed:
        what = verdict.failed_assertion or verdict.outcome
        raise SandboxError(f"the {slot.tier} tier does not hold here: {what} ({verdict.detail})", where="sandbox")
