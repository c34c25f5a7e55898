"""The driver's end of a workshop: compilers in a jail of their own, and what they built under the strict profile."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from evalkit.errors import SandboxError
from evalkit.records import Tier
from evalkit.sandbox.inside import wire

_START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from inside.workshop import main; main()"
OUTPUT = 1 << 20
"""Bytes of what a command says that are read."""


@dataclass(frozen=True)
class Ran:
    """One command: exit code (negative: the signal that ended it), None where it was stopped for its wall time."""

    code: int | None
    stdout: str
    stderr: str
    cpu: float
    peak: int


class Workshop:
    """A jail that reads `folders` and nothing else of the host. A context manager.

    Raises SandboxError where neither namespaces nor Landlock 3 can be had, or where it breaks.
    """

    def __init__(self, folders: Sequence[str], tier: Tier | None = None) -> None:
        self.folders = [*folders]
        self.tiers = [tier] if tier else [Tier.NAMESPACES, Tier.LANDLOCK]

    def __enter__(self) -> "Workshop":
        failures = []
        for tier in self.tiers:
            self.tier = tier
            try:
                self._start()
                return self
            except SandboxError as error:
                failures.append(error.what)
                self.close()
        raise SandboxError(f"no compiler can be walled in here: {'; '.join(failures)}", where="sandbox")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _start(self) -> None:
        self.scratch = tempfile.mkdtemp(prefix="potstill-") if self.tier is not Tier.NAMESPACES else "-"
        self.control, theirs = socket.socketpair()
        python = os.path.realpath(sys.executable)
        arguments = [str(theirs.fileno()), str(self.tier), self.scratch, json.dumps(self.folders)]
        self.process = subprocess.Popen(
            [python, "-s", "-P", "-S", "-B", "-c", _START, str(Path(__file__).parent), *arguments],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
        )
        theirs.close()
        if (failed := self._receive()["failed"]) is not None:
            raise SandboxError(f"the {self.tier} workshop did not start: {failed}", where="sandbox")

    def run(
        self,
        argv: Sequence[str],
        *,
        files: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str = "",
        cpu: float = 30.0,
        wall: float = 60.0,
        memory: int = 2 << 30,
        strict: bool = False,
        wipe: bool = False,
    ) -> Ran:
        """Write `files` into the scratch folder and run a command there; `wipe` empties the folder first.

        `strict` is for what was built: no processes but threads, and nothing of what compilers may do beyond programs.
        """
        command = {
            "argv": [*argv],
            "env": dict(env or {}),
            "files": dict(files or {}),
            "stdin": stdin,
            "cpu": cpu,
            "wall": wall,
            "memory": memory,
            "output": OUTPUT,
            "strict": strict,
            "wipe": wipe,
        }
        try:
            wire.send(self.control.fileno(), command)
        except (OSError, MemoryError) as error:
            raise SandboxError(f"the workshop takes no command: {error}", where="sandbox") from error
        answer = self._receive()
        if answer["why"] == "broken":
            raise SandboxError(f"the workshop could not run a command: {answer['detail']}", where="sandbox")
        code = None if answer["why"] == "wall" else os.waitstatus_to_exitcode(answer["status"])
        return Ran(code, answer["stdout"], answer["stderr"], round(answer["cpu"], 6), answer["peak"] * 1024)

    def _receive(self) -> Any:
        """The next answer. The workshop itself watches the clock; where it dies, the socket ends."""
        try:
            return wire.receive(self.control.fileno())
        except (EOFError, OSError, ValueError) as error:
            raise SandboxError(f"the workshop is gone: {error or 'no answer'}", where="sandbox") from error

    def close(self) -> None:
        self.control.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.scratch != "-":
            shutil.rmtree(self.scratch, ignore_errors=True)
