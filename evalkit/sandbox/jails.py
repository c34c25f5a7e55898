"""The driver's end of one jail: start it, hand it a program's sockets, end the program, read how it went."""

import array
import os
import select
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from evalkit.errors import SandboxError
from evalkit.records import Tier
from evalkit.sandbox.inside.wire import ENDED, WHY

START_SECONDS = 30.0
MEMORY = 1 << 30
FILE_SIZE = 16 << 20
"""Bytes that a program may print or write to one file."""
_START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from inside.zygote import main; main()"


@dataclass(frozen=True)
class Ended:
    """How a program's process ended."""

    why: str | None
    """`cpu`: its CPU time was used up; `killed`: the driver said so; None: by itself."""
    status: int | None
    """Wait status."""
    cpu: float
    peak: int
    """Bytes."""

    @property
    def signal(self) -> int | None:
        return os.WTERMSIG(self.status) if self.status is not None and os.WIFSIGNALED(self.status) else None


class Jail:
    """One zygote behind its walls. Raises SandboxError where it cannot be built here."""

    def __init__(self, tier: Tier) -> None:
        self.tier, self.busy = tier, False
        self.scratch = tempfile.mkdtemp(prefix="potstill-") if tier is not Tier.NAMESPACES else "-"
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        python = os.path.realpath(sys.executable)
        arguments = [str(theirs.fileno()), str(tier), self.scratch, str(MEMORY), str(FILE_SIZE)]
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

    def wait_ready(self) -> "Jail":
        self.control.settimeout(START_SECONDS)
        try:
            message = self.control.recv(4096)
        except TimeoutError:
            message = b""
        self.control.settimeout(None)
        if message != b"READY":
            self.close()
            said = message[1:].decode(errors="replace")
            if not said and self.process.stderr is not None:
                said = self.process.stderr.read().decode(errors="replace").strip().rpartition("\n")[2]
            raise SandboxError(f"the {self.tier} jail did not start: {said or 'no answer'}", where="sandbox")
        return self

    def start(self, sockets: list[socket.socket], cpu: float) -> None:
        """Fork one program that holds these sockets."""
        fds = array.array("i", [each.fileno() for each in sockets])
        self.busy = True
        try:
            self.control.sendmsg([b"G" + struct.pack("<d", cpu)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        except OSError as error:
            raise SandboxError(f"a jail is gone: {error}", where="sandbox") from error

    def end(self, grace: float = 0.0) -> Ended:
        """End the program if it still runs after `grace` seconds; how it went."""
        if not self.busy:
            raise AssertionError("no program was started")
        try:
            if not (grace and select.select([self.control], [], [], grace)[0]):
                self.control.send(b"K")
            return self.wait()
        except OSError as error:
            raise SandboxError(f"a jail is gone: {error}", where="sandbox") from error

    def wait(self) -> Ended:
        self.control.settimeout(START_SECONDS)
        try:
            message = self.control.recv(4096)
        except TimeoutError:
            message = b""
        if not message:
            raise SandboxError(
                "a jail died", where="sandbox", fix="look for the out-of-memory killer in the kernel log"
            )
        self.control.settimeout(None)
        self.busy = False
        why, status, cpu, peak = ENDED.unpack(message)
        return Ended(WHY[why], None if status < 0 else status, round(cpu, 6), peak * 1024)

    def close(self) -> None:
        self.control.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.scratch != "-":
            shutil.rmtree(self.scratch, ignore_errors=True)
