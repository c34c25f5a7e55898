"""The driver's end of one jail: start it, hand it a program's sockets, end the program, read how it went."""

import array
import math
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from evalkit.errors import SandboxError
from evalkit.records import Tier
from evalkit.sandbox.inside.wire import CLOCK, ENDED

START_SECONDS = 30
"""Time that a jail has for any answer."""
LEAST_LOOK, DISK_LOOK = 0.005, 0.05
"""Seconds between looks at a program's clock, and at what it wrote where no tmpfs bounds that."""
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
MEMORY = 1 << 30
FILE_SIZE = 16 << 20
"""Bytes that a program may print or write to one file."""
_START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from inside.zygote import main; main()"


@dataclass(frozen=True)
class Ended:
    """How a program's process ended."""

    why: str | None
    """`cpu`: its CPU time was used up; `disk`: it wrote too much; `killed`: the driver said so; None: by itself."""
    status: int
    """Wait status."""
    cpu: float
    peak: int
    """Bytes."""

    @property
    def signal(self) -> int | None:
        return os.WTERMSIG(self.status) if os.WIFSIGNALED(self.status) else None


class Jail:
    """One zygote behind its walls. Raises SandboxError where it cannot be built here."""

    def __init__(self, tier: Tier, *, for_tests: bool = False) -> None:
        """`for_tests`: what is forked in it is the trusted side of split judging."""
        self.tier, self.busy = tier, False
        self.limit, self.used, self.why = 0.0, 0.0, ""
        self.scratch = tempfile.mkdtemp(prefix="potstill-") if tier is not Tier.NAMESPACES else "-"
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        python = os.path.realpath(sys.executable)
        arguments = [str(theirs.fileno()), str(tier), self.scratch, str(MEMORY), str(FILE_SIZE)]
        arguments.append("tests" if for_tests else "programs")
        self.process = subprocess.Popen(
            [python, "-s", "-P", "-S", "-B", "-c", _START, str(Path(__file__).parent), *arguments],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={"PYTHONHASHSEED": "0", "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
        )
        theirs.close()
        self.control = ours
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("<qq", START_SECONDS, 0))

    def wait_ready(self) -> "Jail":
        message = self._receive()
        if message != b"READY":
            self.close()
            said = message[1:].decode(errors="replace")
            if not said and self.process.stderr is not None:
                said = self.process.stderr.read().decode(errors="replace").strip().rpartition("\n")[2]
            raise SandboxError(f"the {self.tier} jail did not start: {said or 'no answer'}", where="sandbox")
        return self

    def start(self, sockets: list[socket.socket], cpu: float) -> None:
        """Fork one program that holds these sockets. `cpu`: seconds that it may use, 0 for any."""
        fds = array.array("i", [each.fileno() for each in sockets])
        self.busy, self.limit, self.used, self.why = True, cpu, 0.0, ""
        self._say(b"G", [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])

    def patience(self) -> float:
        """Seconds until `over` should be asked, as if all time of all cores were the program's from now on; infinite
        without limits."""
        looks = math.inf if self.tier is Tier.NAMESPACES else DISK_LOOK  # there a tmpfs is full at its size
        return min(looks, max(LEAST_LOOK, (self.limit - self.used) / CORES)) if self.limit else looks

    def over(self) -> bool:
        """Whether the program has used up its CPU time or its disk; then it is to be ended."""
        self._say(b"C")
        self.used, full = CLOCK.unpack(self._receive() or self._dead())
        self.why = "disk" if full else "cpu" if self.limit and self.used >= self.limit else ""
        return bool(self.why)

    def end(self, grace: float = 0.0) -> Ended:
        """End the program, if it still runs after `grace` seconds; how it went."""
        if not self.busy:
            raise AssertionError("no program was started")
        if grace:
            self._say(b"W" + struct.pack("<d", grace))
        self._say(b"K")
        status, ran, *times, peak = ENDED.unpack(self._receive() or self._dead())
        self.busy = False
        cpu = times[0] + times[2] + (times[1] + times[3]) / 1e6
        return Ended(self.why or ("killed" if ran else None), status, round(cpu, 6), peak * 1024)

    def _say(self, message: bytes, ancillary: Any = ()) -> None:
        try:
            self.control.sendmsg([message], ancillary)
        except OSError as error:
            raise SandboxError(f"a jail is gone: {error}", where="sandbox") from error

    def _receive(self) -> bytes:
        """The next message; nothing where none came."""
        try:
            return self.control.recv(4096)
        except OSError:
            return b""

    def _dead(self) -> NoReturn:
        raise SandboxError("a jail died", where="sandbox", fix="look for the out-of-memory killer in the kernel log")

    def close(self) -> None:
        self.control.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.scratch != "-":
            shutil.rmtree(self.scratch, ignore_errors=True)
