"""PID 1 of a workshop: a jail in which compilers run, and then, far narrower, what they built.

A compiler may start processes, read its own toolchain and write the scratch folder; it has no network, no signals to
others, no privileges. A built program (`strict`) gets what any program under test gets: the allow-list, no processes
but threads, its own limits. One command at a time; afterwards all that it left is killed and the folder is wiped when
the driver says so.

Frames from the driver: {argv, env, files, stdin, cpu, wall, memory, output, strict, wipe}. Answer: {why, status,
stdout, stderr, cpu, peak}.
"""

import contextlib
import json
import os
import resource
import select
import signal
import socket
import sys
import time
from typing import Any

from . import jail, landlock, wire
from .seccomp import Filter, child_filter, workshop_filter, zygote_filter
from .zygote import wipe

SCRATCH_MIB = 512
FILE_SIZE = 128 << 20

Command = dict[str, Any]


class Workshop:
    def __init__(self, control: int, scratch: str, owns_namespace: bool) -> None:
        self.control, self.scratch, self.owns_namespace = control, scratch, owns_namespace
        self.compiler = (Filter(workshop_filter()),)
        self.program = (Filter(zygote_filter(owns_namespace, extra=("execve",))), Filter(child_filter()))

    def serve(self) -> None:
        while True:
            try:
                command: Command = wire.receive(self.control)
            except EOFError:
                os._exit(0)
            try:
                answer = self.run(command)
            except OSError as error:
                answer = {"why": "broken", "detail": str(error)}
            wire.send(self.control, answer)

    def run(self, command: Command) -> dict[str, Any]:
        if command["wipe"]:
            wipe(self.scratch)
        for name, text in command["files"].items():
            with open(os.path.join(self.scratch, name), "w", encoding="utf-8", newline="") as file:
                file.write(text)
        said = [os.open(self.scratch, os.O_TMPFILE | os.O_RDWR, 0o600) for _ in range(3)]
        os.write(said[0], command["stdin"].encode())
        os.lseek(said[0], 0, os.SEEK_SET)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        pid = os.fork()
        if pid == 0:
            self._become(command, said)
        why = self._watch(pid, command["wall"])
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL) if self.owns_namespace else os.killpg(pid, signal.SIGKILL)
        status, peak = None, 0
        while True:
            try:
                reaped, code, usage = os.wait4(-1, 0)
            except ChildProcessError:
                break
            status, peak = (code if reaped == pid else status), max(peak, usage.ru_maxrss)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        texts = [os.pread(fd, command["output"], 0).decode("utf-8", "replace") for fd in said[1:]]
        for fd in said:
            os.close(fd)
        return {"why": why, "status": status, "stdout": texts[0], "stderr": texts[1], "cpu": cpu, "peak": peak}

    def _become(self, command: Command, said: list[int]) -> None:
        try:
            os.setsid()
            for number, fd in enumerate(said):
                os.dup2(fd, number)
            os.closerange(3, 1024)
            seconds = int(command["cpu"]) + 1
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
            jail.limit({"DATA": command["memory"]})
            if command["strict"]:
                jail.limit({"FSIZE": command["output"], "NOFILE": 64})
            for each in self.program if command["strict"] else self.compiler:
                each.install(jail.syscall)
            os.execve(command["argv"][0], command["argv"], {**os.environ, **command["env"]})
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}".encode())
        os._exit(126)

    def _watch(self, pid: int, wall: float) -> str | None:
        end, pidfd = time.monotonic() + wall, os.pidfd_open(pid)
        try:
            while (left := end - time.monotonic()) > 0:
                ready = select.select([pidfd, self.control], [], [], left)[0]
                if pidfd in ready:
                    return None
                if self.control in ready:  # nothing is sent meanwhile: the driver is gone
                    os._exit(0)
            return "wall"
        finally:
            os.close(pidfd)


def main() -> None:
    """Arguments: control socket, tier, scratch folder (of the landlock tier), the toolchains' folders as JSON."""
    fd, tier, scratch, folders = int(sys.argv[1]), sys.argv[2], sys.argv[3], json.loads(sys.argv[4])
    control = socket.socket(fileno=fd)
    jail.libc.prctl(1, signal.SIGKILL, 0, 0, 0)  # end with the driver
    try:
        if tier == "namespaces":
            jail.enter_namespaces(folders, SCRATCH_MIB, noexec=False)
            pid = os.fork()
            if pid:
                control.close()
                _, status = os.waitpid(pid, 0)
                os._exit(os.waitstatus_to_exitcode(status) & 255)
            jail.libc.prctl(1, signal.SIGKILL, 0, 0, 0)
            scratch = "/tmp"
        else:
            jail.libc.prctl(36, 1, 0, 0, 0)  # orphans of a compiler come back here
        null = os.open("/dev/null", os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
        os.close(null)
        os.chdir(scratch)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        os.environ.clear()
        os.environ.update(PATH="/usr/bin:/bin", HOME=scratch, TMPDIR=scratch, LANG="C.UTF-8")
        jail.limit({"FSIZE": FILE_SIZE, "NOFILE": 256, "NPROC": 128})
        jail.give_up_privileges()
        landlock.restrict(jail.libc, folders, scratch, least=0 if tier == "namespaces" else 3, executable=True)
    except OSError as error:
        wire.send(fd, {"failed": f"{error.strerror or error}"})
        os._exit(1)
    wire.send(fd, {"failed": None})
    Workshop(fd, scratch, tier == "namespaces").serve()
