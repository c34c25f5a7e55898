"""PID 1 of a jail: hardened once, forks one program at a time, never holds a program's bytes.

Messages from the driver on the control socket, by their first byte: `G` + the child's sockets forks one program; `C`
asks for its CPU time (the driver keeps the limit); `W` + seconds waits that long for it to end by itself; `K` ends it.
Then all that it left is killed and reaped, the scratch folder is wiped, and a few bytes (`ENDED`) say how it went.

Each fork shares this process's memory anew, and every page touched between two forks is faulted in or copied. Hence
the loop is made of system calls whose arguments were made before.
"""

import gc

gc.disable()  # until all is imported: nothing of it is ever garbage

import contextlib  # noqa: E402
import ctypes  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import struct  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from typing import Any, NoReturn  # noqa: E402

from . import jail, programs  # noqa: E402
from .seccomp import Filter, child_filter  # noqa: E402
from .syscalls import MACHINE, number  # noqa: E402
from .wire import CLOCK, ENDED, USAGE_AT  # noqa: E402

raw: Callable[..., int] = ctypes.PyDLL(None).syscall
"""A system call whose arguments are small numbers or were made before. It keeps the interpreter's lock, which must be
held on both sides of a raw clone."""

PRELOAD = (
    "math re collections collections.abc itertools functools heapq typing random string json datetime copy bisect "
    "decimal fractions operator dataclasses enum abc contextlib io time textwrap numbers struct types warnings builtins"
)
"""What most programs import. Each module more makes every fork dearer; asyncio and sqlite3 alone cost it a tenth."""
CLONE_CHILD_SETTID, CLONE_CHILD_CLEARTID = 0x01000000, 0x00200000
PR_GET_TID_ADDRESS = 40
WNOHANG = 1
SCRATCH_BYTES = 32 << 20
GO, TIME, WAIT, END = b"GCWK"
_CLOSE, _DUP, _KILL, _PRCTL, _WAIT = (number(name) for name in ("close", "dup3", "kill", "prctl", "wait4"))
_MESSAGE = struct.Struct("<QQQQQQQ")
"""The kernel's msghdr: name and its length; buffers and how many; room for sockets and its length; flags."""
_SOCKETS_AT = 16
"""Where in a control message the descriptors start."""
_MORE_THREADS = 512
"""That a program may have beyond what its user has, where there is no namespace to count its own."""
_EMPTY = 48
"""Bytes of the list of a folder that holds `.` and `..`."""


def _at(memory: bytearray, start: int = 0) -> Any:
    """A pointer into memory that is never resized, as an argument."""
    return ctypes.byref((ctypes.c_char * (len(memory) - start)).from_buffer(memory, start))


def _address(memory: bytearray) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


class Zygote:
    def __init__(self, control: int, scratch: str, threads: int = 0) -> None:
        """`threads`: a limit for what is forked and not for this process, which would then have to compete with it."""
        self.control, self.scratch = control, scratch
        self.owns_namespace = os.getpid() == 1
        self.filter = Filter(child_filter())
        self.folder = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY)
        self.word, self.sockets, self.message = bytearray(16), bytearray(64), bytearray(_MESSAGE.size)
        self.answer, self.spare, self.clock = bytearray(ENDED.size), bytearray(ENDED.size), bytearray(CLOCK.size)
        self.nothing = bytes(ENDED.size)
        self._buffers = bytearray(struct.pack("<QQ", _address(self.word), len(self.word)))
        self._listing = bytearray(512)  # the longest name fits beside two others
        self._soiled = False
        minus = ctypes.c_long.from_param  # a number below zero, as an argument

        self.clone = self._clone()
        self.receive = (number("recvmsg"), control, _at(self.message), 0)
        self.send_answer = (number("write"), control, _at(self.answer), len(self.answer))
        self.send_clock = (number("write"), control, _at(self.clock), len(self.clock))
        # As PID 1 this ends every process and thread that a program left; elsewhere it could have left none.
        self.kill_all = (number("kill"), minus(-1), signal.SIGKILL.value)
        self.reap = (_at(self.answer), 0, _at(self.answer, USAGE_AT))
        self.look = (_at(self.answer), WNOHANG, _at(self.answer, USAGE_AT))
        self.reap_apart = (_at(self.spare), 0, 0)
        self.reap_other = (number("wait4"), minus(-1), _at(self.spare), 0, _at(self.spare, USAGE_AT))
        self.rewind = (number("lseek"), self.folder, 0, 0)
        self.list = (number("getdents64"), self.folder, _at(self._listing), len(self._listing))
        path, null = (ctypes.create_string_buffer(os.fsencode(each)) for each in (scratch, "/dev/null"))
        new_file = (number("openat"), minus(-100), ctypes.byref(path), os.O_TMPFILE | os.O_RDWR, 0o600)
        both = ctypes.byref((ctypes.c_uint64 * 2)(threads, threads))
        self.limit_threads = (number("prlimit64"), 0, jail.NPROC, both, 0) if threads else None
        # What a child starts with: flags and locks of an open file stay with it, so none is shared with the next.
        self.opened = ((number("openat"), minus(-100), ctypes.byref(null), os.O_RDWR, 0), new_file, new_file)

    @staticmethod
    def _clone() -> tuple[Any, ...]:
        """A raw clone. `os.fork` also runs CPython's work after a fork, half of the whole cost here, which a process
        with one thread does not need."""
        address = ctypes.c_void_p()
        jail.libc.prctl(PR_GET_TID_ADDRESS, ctypes.byref(address), 0, 0, 0)
        tid = ctypes.byref(ctypes.c_char.from_address(address.value)) if address.value else 0
        # flags, stack, parent's tid; then child's tid and thread-local storage, which aarch64 has the other way round.
        last = (tid, 0) if MACHINE == "x86_64" else (0, tid)
        return (number("clone"), CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | signal.SIGCHLD.value, 0, 0, *last)

    def serve(self) -> NoReturn:
        gc.collect()
        gc.freeze()
        gc.enable()
        gc.set_threshold(10_000, 10, 10)  # a collection in a child touches what it would not have touched
        word, sockets, message, pid = self.word, self.sockets, self.message, 0
        header = _MESSAGE.pack(0, 0, _address(self._buffers), 1, _address(sockets), len(sockets), 0)
        while True:
            message[:] = header
            sockets[0] = 0
            if raw(*self.receive) <= 0:  # the driver is gone
                if pid:
                    self._end(pid)
                os._exit(0)
            said = word[0]
            if said == GO:
                pid = raw(*self.clone)
                if pid == 0:
                    self._child()
                if pid < 0:
                    os._exit(1)
                for at in range(_SOCKETS_AT, sockets[0], 4):
                    raw(_CLOSE, sockets[at])
            elif said == END:
                clean = self._end(pid)
                pid = 0
                raw(*self.send_answer)
                self.answer[:] = self.nothing  # how this one ended is not for the next one's eyes
                if not clean:
                    os._exit(1)  # what cannot be taken away must not be found by the next: the driver makes another
            elif said == TIME:
                self._tell_time(pid)
            else:
                self._wait(pid, struct.unpack_from("<d", word, 1)[0])

    def _child(self) -> NoReturn:
        try:
            for target, opened in enumerate(self.opened):  # files grow to the file size limit, then comes SIGXFSZ
                file = raw(*opened)
                if raw(_DUP, file, target, 0) < 0:
                    os._exit(70)
                raw(_CLOSE, file)
            raw(_CLOSE, self.control)
            raw(_CLOSE, self.folder)
            if self.limit_threads and raw(*self.limit_threads) < 0:
                os._exit(70)
            raw(_PRCTL, 1, 9, 0, 0, 0)  # end with the zygote, where it is not PID 1
            self.filter.install(raw)  # before it has read an untrusted byte
            programs.run([self.sockets[at] for at in range(_SOCKETS_AT, self.sockets[0], 4)])
            os._exit(0)
        except BaseException:  # whatever it was: the driver sees no answer and this status
            os._exit(70)

    def _end(self, pid: int) -> bool:
        """End the program, reap and wipe. Whether nothing is left; `answer` says how it went."""
        running = raw(_WAIT, pid, *self.look) == 0
        self.answer[4] = running
        if self.owns_namespace:
            raw(*self.kill_all)
        elif running:
            raw(_KILL, pid, 9)
        if running:
            raw(_WAIT, pid, *self.reap)
        while raw(*self.reap_other) > 0:
            self._add_other()
        raw(*self.rewind)
        if raw(*self.list) == _EMPTY:
            return not self._soiled
        self._listing[:] = bytes(len(self._listing))
        return self._apart(wipe) == 0 and not self._soiled

    def _apart(self, work: Callable[[str], int]) -> int:
        """What `work` on the scratch folder says (0 to 255), in a process of its own: names that a program chose must
        not stay in the memory that the next one gets a copy of. Below zero where no process can be had."""
        pid = raw(*self.clone)
        if pid == 0:
            try:
                os._exit(work(self.scratch))
            except BaseException:
                os._exit(255)
        if pid < 0:
            return pid
        raw(_WAIT, pid, *self.reap_apart)
        said = self.spare[1] or self.spare[0]  # its exit status, else the signal that ended it
        self.spare[:] = self.nothing
        return said

    def _add_other(self) -> None:
        """Count what another process used to what the program used."""
        status, running, *times, peak = ENDED.unpack(self.answer)
        _, _, *more, other = ENDED.unpack(self.spare)
        self.spare[:] = self.nothing
        ENDED.pack_into(self.answer, 0, status, running, *map(sum, zip(times, more, strict=True)), max(peak, other))

    def _tell_time(self, pid: int) -> None:
        """CPU time, and whether it wrote too much (where no tmpfs is full at its size)."""
        full = 0 if self.owns_namespace else self._apart(is_full)
        if full < 0:  # the program holds all the threads that it may have, and this process none
            full, self._soiled = is_full(self.scratch), True
        try:
            used = time.clock_gettime((~pid << 3) | 2)
        except OSError:  # its clock went with it
            used = 0.0
        CLOCK.pack_into(self.clock, 0, used, bool(full))
        raw(*self.send_clock)
        self.clock[:] = bytes(CLOCK.size)

    @staticmethod
    def _wait(pid: int, seconds: float) -> None:
        """Wait until the program ends by itself."""
        end = time.monotonic() + seconds
        while not os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) and time.monotonic() < end:
            time.sleep(0.001)


def size_of(folder: str) -> int:
    """Bytes below a folder while a program changes it. What cannot be looked into is taken to be too much: a folder
    that may not be listed, or one that lies deeper than there are descriptors."""
    total = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    directory = entry.is_dir(follow_symlinks=False)
                    size = size_of(entry.path) if directory else entry.stat(follow_symlinks=False).st_blocks * 512
                except FileNotFoundError:
                    continue
                total += 4096 + size
                if total > SCRATCH_BYTES:
                    break
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, RecursionError):
        return SCRATCH_BYTES + 1
    return total


def is_full(folder: str) -> bool:
    return size_of(folder) > SCRATCH_BYTES


def wipe(folder: str) -> bool:
    """Empty a folder, whatever a program made of it: folders that may not be listed, however deep and however many. It
    holds no descriptor, and changes the working folder instead; nobody else is left to move things about. Whether
    something is left all the same."""
    os.chdir(folder)
    left = [os.listdir(".")]
    """What is still to go: here, and in each folder above, where the folder that this one is comes last."""
    while left:
        if not left[-1]:
            left.pop()
            if left:
                os.chdir("..")
                with contextlib.suppress(OSError):
                    os.rmdir(left[-1].pop())
            continue
        name = left[-1][-1]
        try:
            os.unlink(name)
            left[-1].pop()
        except (IsADirectoryError, PermissionError):
            try:
                os.chmod(name, 0o700)
                os.chdir(name)
            except OSError:
                left[-1].pop()
            else:
                left.append(os.listdir("."))
        except OSError:
            left[-1].pop()
    return bool(os.listdir(folder))


def main() -> None:
    """Arguments: control socket, tier, scratch folder (of the landlock tier), memory limit, file size limit, and
    `tests` where testers are forked."""
    control, memory, file_size = int(sys.argv[1]), int(sys.argv[4]), int(sys.argv[5])
    tier, scratch, kind = sys.argv[2], sys.argv[3], sys.argv[6]
    if tier == "namespaces":
        jail.libc.prctl(1, signal.SIGKILL, 0, 0, 0)  # end with the driver, and all the namespace with it
    else:
        _leave_a_guardian(control, scratch)
    for name in PRELOAD.split():
        __import__(name)
    if kind == "tests":
        from . import tester  # noqa: F401
    programs.warm_up()
    if tier == "namespaces":
        try:
            jail.enter_namespaces()
        except OSError as error:
            os.write(control, f"E{error.strerror or error}".encode())
            os._exit(1)
        pid = os.fork()
        if pid:
            os.close(control)
            _, status = os.waitpid(pid, 0)
            os._exit(os.waitstatus_to_exitcode(status) & 255)
        jail.libc.prctl(1, signal.SIGKILL, 0, 0, 0)
        scratch = "/tmp"
    try:
        threads = jail.thread_limit(_MORE_THREADS) if tier == "landlock" else 0
        _settle(scratch)
        jail.harden(scratch, memory, file_size, tier)
    except OSError as error:
        os.write(control, f"E{error.strerror or error}".encode())
        os._exit(1)
    os.write(control, b"READY")
    Zygote(control, scratch, threads).serve()


def _leave_a_guardian(control: int, scratch: str) -> None:
    """Go on in a child. The parent waits for it and then empties the folder that it may not delete itself: the driver
    may have been killed."""
    pid = os.fork()
    if pid:
        import shutil

        os.close(control)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _, status = os.waitpid(pid, 0)
        shutil.rmtree(scratch, ignore_errors=True)
        os._exit(os.waitstatus_to_exitcode(status) & 255)
    jail.libc.prctl(1, signal.SIGKILL, 0, 0, 0)


def _settle(scratch: str) -> None:
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)
    os.chdir(scratch)
    # PID 1 of a namespace gets no signal that has its default action, and programs expect the defaults.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    sys.argv[:] = [""]
    os.environ.clear()
    os.environ.update(PATH="/usr/bin:/bin", HOME=scratch, TMPDIR=scratch, LANG="C.UTF-8", PYTHONHASHSEED="0")
    sys.path[:] = [path for path in sys.path if "evalkit" not in path]
