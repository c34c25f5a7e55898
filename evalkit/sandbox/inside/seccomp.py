"""Seccomp filters, assembled by hand: an allow-list for the zygote, a second short one that narrows a child.

Order of the allow-list: wrong architecture and x32 kill; calls with argument checks; the allowed; the refused (EPERM);
everything else ENOSYS. A filter is inherited and can only be narrowed.
"""

import ctypes
import errno
import os
import struct
from collections.abc import Callable, Iterable

from . import syscalls as sys_

Instruction = tuple[int, int, int, int]

LOAD, EQUAL, AT_LEAST, ANY_BIT, JUMP, RETURN = 0x20, 0x15, 0x35, 0x45, 0x05, 0x06
ALLOW, KILL_PROCESS, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
EPERM = ERRNO | errno.EPERM
ENOSYS = ERRNO | errno.ENOSYS
OWN_PID = 0x7FFFFFF0
"""Stands in an assembled filter for the pid of the process that installs it."""

CLONE_THREAD = 0x10000
NEW_NAMESPACES = 0x7E020080
"""CLONE_NEW* flags: mount, cgroup, UTS, IPC, user, PID, network, time."""


def _head(machine: str) -> list[Instruction]:
    """Another architecture's calls, and x32's, kill."""
    head: list[Instruction] = [
        (LOAD, 0, 0, 4),
        (EQUAL, 1, 0, sys_.AUDIT_ARCH[machine]),
        (RETURN, 0, 0, KILL_PROCESS),
        (LOAD, 0, 0, 0),
    ]
    if machine == "x86_64":
        head += [(AT_LEAST, 0, 1, sys_.X32_BIT), (RETURN, 0, 0, KILL_PROCESS)]
    return head


def _when_in(argument: int, values: tuple[int, ...]) -> list[Instruction]:
    """Allow where the low word of the argument is one of `values`, else EPERM."""
    last = len(values) - 1
    tests = [(EQUAL, last - i, 1 if i == last else 0, value) for i, value in enumerate(values)]
    return [(LOAD, 0, 0, 16 + 8 * argument), *tests, (RETURN, 0, 0, ALLOW), (RETURN, 0, 0, EPERM)]


def _when_zero(argument: int) -> list[Instruction]:
    low, high = 16 + 8 * argument, 20 + 8 * argument
    test = [(LOAD, 0, 0, low), (EQUAL, 0, 3, 0), (LOAD, 0, 0, high), (EQUAL, 0, 1, 0)]
    return [*test, (RETURN, 0, 0, ALLOW), (RETURN, 0, 0, EPERM)]


_THREADS_ONLY: list[Instruction] = [
    (LOAD, 0, 0, 16),
    (ANY_BIT, 0, 1, CLONE_THREAD),
    (RETURN, 0, 0, ALLOW),
    (RETURN, 0, 0, EPERM),
]
_CHECKED: dict[str, list[Instruction]] = {
    "clone": _THREADS_ONLY,
    "ioctl": _when_in(1, (0x5401, 0x541B, 0x5451, 0x5450, 0x5421, 0x5413)),  # terminal size, FIONREAD, non-blocking
    # Duplicates, flags, locks. Not F_SETOWN and F_SETSIG, which send signals to others.
    "fcntl": _when_in(1, (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1032)),
    "prctl": _when_in(0, (15, 16)),  # thread names
    "prlimit64": _when_zero(2),  # read limits, never set them
    "socketpair": _when_in(0, (1,)),  # AF_UNIX: asyncio wakes itself through one
    "kill": _when_in(0, (OWN_PID,)),
    "tgkill": _when_in(0, (OWN_PID,)),
}
ZYGOTE_NEEDS = ("clone", "kill", "tgkill", "prctl", "pidfd_open", "chmod", "fchmodat")
"""What PID 1 of a jail may do beyond a program: fork, kill what is left, watch, open the folders that it must empty."""
ON_THE_HOST = (*ZYGOTE_NEEDS, "prlimit64")
"""The same without namespaces: it also limits what it forks."""


def _numbers(names: Iterable[str], machine: str) -> list[int]:
    """Of those calls that the machine has, in order."""
    known = sys_.NUMBERS[machine]
    return sorted({known[name] for name in names if name in known})


def zygote_filter(
    own_files: bool = True, extra: tuple[str, ...] = (), machine: str = sys_.MACHINE
) -> list[Instruction]:
    """The allow-list, and `extra` calls. Without `own_files` (no mount namespace) file times are refused, too: Landlock
    cannot."""
    program = _head(machine)
    needs = ZYGOTE_NEEDS if own_files else ON_THE_HOST
    for name, block in _CHECKED.items():
        if name not in needs:
            program += [(EQUAL, 0, len(block), sys_.number(name, machine)), *block]
    withheld = set() if own_files else {"utimensat"}
    allowed = _numbers({*sys_.ALLOWED, *needs, *extra} - withheld, machine)
    refused = [each for each in _numbers({*sys_.REFUSED, *withheld}, machine) if each not in allowed]
    program += [(EQUAL, len(allowed) - i, 0, number) for i, number in enumerate(allowed)]
    program += [(JUMP, 0, 0, 1), (RETURN, 0, 0, ALLOW)]
    program += [(EQUAL, len(refused) - i, 0, number) for i, number in enumerate(refused)]
    return [*program, (RETURN, 0, 0, ENOSYS), (RETURN, 0, 0, EPERM)]


def child_filter(machine: str = sys_.MACHINE) -> list[Instruction]:
    """On top of the zygote's: threads but no processes, signals to itself only, no pidfd, no prctl but names."""
    program = _head(machine)
    for name in ON_THE_HOST:
        if name in sys_.NUMBERS[machine]:
            block = _CHECKED.get(name, [(RETURN, 0, 0, EPERM)])
            program += [(EQUAL, 0, len(block), sys_.number(name, machine)), *block]
    return [*program, (RETURN, 0, 0, ALLOW)]


def workshop_filter(machine: str = sys_.MACHINE) -> list[Instruction]:
    """For compilers: everything but what reaches beyond them. They start processes, but in no new namespace; they open
    no socket, signal nobody, trace nobody, mount nothing."""
    program = _head(machine)
    clone: list[Instruction] = [
        (LOAD, 0, 0, 16),
        (ANY_BIT, 0, 1, NEW_NAMESPACES),
        (RETURN, 0, 0, EPERM),
        (RETURN, 0, 0, ALLOW),
    ]
    program += [(EQUAL, 0, len(clone), sys_.number("clone", machine)), *clone]
    for name in ("prlimit64", "socketpair", "fcntl"):
        program += [(EQUAL, 0, len(_CHECKED[name]), sys_.number(name, machine)), *_CHECKED[name]]
    refused = _numbers({*sys_.REFUSED, "kill", "tgkill", "pidfd_open"} - set(sys_.COMPILERS_NEED), machine)
    program += [(EQUAL, 0, 1, sys_.number("clone3", machine)), (RETURN, 0, 0, ENOSYS)]
    program += [(EQUAL, len(refused) - i, 0, number) for i, number in enumerate(refused)]
    return [*program, (RETURN, 0, 0, ALLOW), (RETURN, 0, 0, EPERM)]


_PRCTL = sys_.number("prctl") if sys_.MACHINE in sys_.NUMBERS else -1


class _SockFprog(ctypes.Structure):
    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_void_p))


class Filter:
    """An assembled filter, packed once; `install` patches the own pid in and hands it to the kernel."""

    def __init__(self, program: list[Instruction]) -> None:
        raw = b"".join(struct.pack("HBBI", *instruction) for instruction in program)
        self.bytes = bytearray(raw)
        self._held = (ctypes.c_char * len(raw)).from_buffer(self.bytes)  # its address stays what it is
        self.own_pid_at = [8 * i + 4 for i, instruction in enumerate(program) if instruction[3] == OWN_PID]
        self._argument = _SockFprog(len(program), ctypes.addressof(self._held))
        self.argument = ctypes.byref(self._argument)

    def install(self, syscall: Callable[..., int]) -> None:
        """Needs no_new_privs. Raises OSError where the kernel refuses. (In a fresh child every page touched is copied:
        what can be done before is done in `__init__`.)"""
        if self.own_pid_at:
            pid = os.getpid().to_bytes(4, "little")
            for at in self.own_pid_at:
                self.bytes[at : at + 4] = pid
        if syscall(_PRCTL, 22, 2, self.argument, 0, 0):
            raise OSError(ctypes.get_errno(), "seccomp filter refused")
