"""PID 1 of a jail: hardened once, forks one program at a time, never holds a program's bytes.

Messages from the driver on the control socket: `G` + CPU limit (double) + the child's sockets forks one program; `K`
ends it. When it is gone, all that it left is killed and reaped, the scratch folder is wiped, and a few bytes (`ENDED`)
answer how it went.
"""

import array
import ctypes
import gc
import os
import select
import shutil
import signal
import socket
import struct
import sys
import time

gc.disable()  # until all is imported: nothing of it is ever garbage

from . import jail, programs  # noqa: E402
from .seccomp import Filter, child_filter  # noqa: E402
from .syscalls import MACHINE, number  # noqa: E402
from .wire import ENDED, WHY  # noqa: E402

CLONE, PRCTL = number("clone"), number("prctl")

PRELOAD = (
    "math re collections collections.abc itertools functools heapq typing random string json datetime copy bisect "
    "decimal fractions operator dataclasses enum abc contextlib io time textwrap cmath numbers "
    "array struct types warnings builtins"
)
"""What most programs import. Each module more makes every fork dearer; asyncio and sqlite3 alone cost it a tenth."""
CLONE_CHILD_SETTID, CLONE_CHILD_CLEARTID = 0x01000000, 0x00200000
SCRATCH_BYTES = 32 << 20
DISK_LOOK = 50
"""Milliseconds between looks at how much a program wrote, where no tmpfs bounds it."""
PR_GET_TID_ADDRESS = 40


class Zygote:
    def __init__(self, control: socket.socket, scratch: str) -> None:
        self.control, self.scratch = control, scratch
        self.owns_namespace = os.getpid() == 1
        self.filter = Filter(child_filter())
        self.poll = select.poll()
        self.poll.register(control, select.POLLIN)
        self.tid_address = ctypes.c_void_p()
        jail.libc.prctl(PR_GET_TID_ADDRESS, ctypes.byref(self.tid_address), 0, 0, 0)

    def fork(self) -> int:
        """A raw clone. `os.fork` also runs CPython's work after a fork, half of the whole cost here, which a process
        with one thread does not need."""
        flags = CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | signal.SIGCHLD
        address = self.tid_address.value or 0
        # flags, stack, parent's tid; then child's tid and thread-local storage, which aarch64 has the other way round.
        last = (address, 0) if MACHINE == "x86_64" else (0, address)
        return jail.check(jail.syscall(CLONE, flags, 0, 0, *last), "clone")

    def serve(self) -> None:
        gc.collect()
        gc.freeze()
        gc.enable()
        gc.set_threshold(10_000, 10, 10)  # a collection in a child touches what it would not have touched
        while True:
            message, ancillary, _, _ = self.control.recvmsg(32, 256)
            if not message:
                os._exit(0)
            if message[:1] == b"K":
                continue  # its program had ended by itself
            (cpu_limit,) = struct.unpack("<d", message[1:9])
            fds = array.array("i")
            for _, _, data in ancillary:
                fds.frombytes(data)
            self.run(list(fds), cpu_limit)

    def run(self, fds: list[int], cpu_limit: float) -> None:
        # They grow to the file size limit, then comes SIGXFSZ.
        output, errors = (os.open(self.scratch, os.O_TMPFILE | os.O_RDWR, 0o600) for _ in range(2))
        pid = self.fork()
        if pid == 0:
            self._child(fds, output, errors)
        os.close(output)
        os.close(errors)
        for fd in fds:
            os.close(fd)
        why = self._watch(pid, cpu_limit)
        try:  # noqa: SIM105  (a context manager is more memory touched, and so copied, after each fork)
            # As PID 1 this ends every process and thread that the program left; elsewhere it could have left none.
            os.kill(-1 if self.owns_namespace else pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        status, cpu, peak = self._reap(pid)
        if os.listdir(self.scratch):
            wipe(self.scratch)
            os.chdir(self.scratch)
        try:  # noqa: SIM105
            self.control.send(ENDED.pack(WHY.index(why), -1 if status is None else status, cpu, peak))
        except BrokenPipeError:
            pass  # the driver is gone, as `serve` will see
        if os.listdir(self.scratch):
            os._exit(1)  # what cannot be taken away must not be found by the next: the driver makes another jail

    def _child(self, fds: list[int], output: int, errors: int) -> None:
        try:
            os.dup2(output, 1)
            os.dup2(errors, 2)
            os.close(output)
            os.close(errors)
            self.control.close()
            jail.syscall(PRCTL, 1, signal.SIGKILL, 0, 0, 0)  # end with the zygote, where it is not PID 1
            self.filter.install(jail.syscall)  # before it has read an untrusted byte
            programs.run(fds)
            os._exit(0)
        except BaseException:  # whatever it was: the driver sees no answer and this status
            os._exit(70)

    def _watch(self, pid: int, cpu_limit: float) -> str | None:
        """Wait until the program ends, is told to, or has used its CPU time."""
        clock = (~pid << 3) | 2
        pidfd = os.pidfd_open(pid)
        self.poll.register(pidfd, select.POLLIN)
        wait = None
        try:
            while True:
                if cpu_limit:
                    used = time.clock_gettime(clock)
                    if used >= cpu_limit:
                        return "cpu"
                    wait = max(5, (cpu_limit - used) * 1000)
                if not self.owns_namespace:  # no tmpfs that is full at its size: look how much there is
                    if size_of(self.scratch) > SCRATCH_BYTES:
                        return "disk"
                    wait = DISK_LOOK if wait is None else min(wait, DISK_LOOK)
                events = self.poll.poll(wait)
                if any(fd == pidfd for fd, _ in events):
                    return None
                if events:
                    self.control.recv(32)  # nothing where the driver is gone: then the next message is nothing, too
                    return "killed"
        except OSError:  # its clock went with it
            return None
        finally:
            self.poll.unregister(pidfd)
            os.close(pidfd)

    def _reap(self, pid: int) -> tuple[int | None, float, int]:
        status, cpu, peak = None, 0.0, 0
        while True:
            try:
                reaped, code, usage = os.wait4(-1, 0)
            except ChildProcessError:
                return status, cpu, peak
            if reaped == pid:
                status = code
            cpu += usage.ru_utime + usage.ru_stime
            peak = max(peak, usage.ru_maxrss)


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
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, RecursionError):
        return SCRATCH_BYTES + 1
    return total


def wipe(folder: str) -> None:
    """Empty a folder, whatever a program made of it: folders that may not be listed, however deep. It holds no
    descriptor, and changes the working folder instead; nobody else is left to move things about."""
    above: list[str] = []
    refused: set[tuple[str, ...]] = set()
    os.chdir(folder)
    while True:
        below = None
        for name in os.listdir("."):
            if (*above, name) in refused:
                continue
            try:
                os.unlink(name)
            except (IsADirectoryError, PermissionError):
                below = name
                break
            except OSError:
                refused.add((*above, name))
        if below is not None:
            try:
                os.chmod(below, 0o700)
                os.chdir(below)
            except OSError:
                refused.add((*above, below))
            else:
                above.append(below)
        elif above:
            name = above.pop()
            os.chdir("..")
            try:
                os.rmdir(name)
            except OSError:
                refused.add((*above, name))
        else:
            return


def main() -> None:
    """Arguments: control socket, tier, scratch folder (of the landlock tier), memory limit, file size limit."""
    fd, tier, scratch, memory, file_size = (
        int(sys.argv[1]),
        sys.argv[2],
        sys.argv[3],
        int(sys.argv[4]),
        int(sys.argv[5]),
    )
    control = socket.socket(fileno=fd)
    if tier == "namespaces":
        jail.libc.prctl(1, signal.SIGKILL, 0, 0, 0)  # end with the driver, and all the namespace with it
    else:
        _leave_a_guardian(control, scratch)
    for name in PRELOAD.split():
        __import__(name)
    programs.warm_up()
    if tier == "namespaces":
        try:
            jail.enter_namespaces()
        except OSError as error:
            control.sendall(f"E{error.strerror or error}".encode())
            os._exit(1)
        pid = os.fork()
        if pid:
            control.close()
            _, status = os.waitpid(pid, 0)
            os._exit(os.waitstatus_to_exitcode(status) & 255)
        jail.libc.prctl(1, signal.SIGKILL, 0, 0, 0)
        scratch = "/tmp"
    try:
        _settle(scratch)
        jail.harden(scratch, memory, file_size, tier)
    except OSError as error:
        control.sendall(f"E{error.strerror or error}".encode())
        os._exit(1)
    control.sendall(b"READY")
    Zygote(control, scratch).serve()


def _leave_a_guardian(control: socket.socket, scratch: str) -> None:
    """Go on in a child. The parent waits for it and then empties the folder that it may not delete itself: the driver
    may have been killed."""
    pid = os.fork()
    if pid:
        control.close()
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
