"""One slot judges one program at a time: by recorded calls in one jail, or split over two."""

import json
import marshal
import select
import socket
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from evalkit.errors import SandboxError
from evalkit.records import Language, Method, Outcome, Tier, Verdict
from evalkit.sandbox.calls import Call, calls_of_check, recorded_calls
from evalkit.sandbox.inside import wire
from evalkit.sandbox.jails import Ended, Jail
from evalkit.sandbox.job import Job
from evalkit.sandbox.outcomes import (
    HOSTILE,
    compare,
    compare_any,
    compare_output,
    failed,
    how_it_ended,
    no_verdict,
    read_verdict,
)
from evalkit.sandbox.preparation import prepared

ANSWER_BYTES = 64 << 10
"""What a program may answer beyond four times what is expected: answers are parsed here, so they are kept small."""
VERDICT_BYTES = 64 << 10
MOST_RUNS = 500
"""Candidates that one tester's process judges."""
GRACE = 0.5
"""Seconds for a program that closed its socket to be seen ending: how it ended is then its own doing, not ours."""
PROGRAM_LENGTH = 1 << 20
"""Characters of a program; longer ones are not worth a parser's memory."""


def calls_of(job: Job) -> tuple[Call, ...] | None:
    """The recorded calls that a job's tests are; None where they are more than that."""
    if job.test_program is not None:
        return calls_of_check(job.test_program)
    return recorded_calls(job.tests, job.entry_point)


def needs_tester(job: Job) -> bool:
    """Whether a job is judged by a test that runs in a jail of its own."""
    return job.language is Language.PYTHON and not job.stdio and calls_of(job) is None


def tester_key(job: Job) -> tuple[Any, ...]:
    """What makes two jobs one problem to a tester."""
    return job.test_program, job.tests, job.imports, job.entry_point


class Slot:
    """A candidate's jail and, once needed, a tester's."""

    def __init__(self, tier: Tier) -> None:
        self.tier = tier
        self.candidate = Jail(tier).wait_ready()
        self.tester: Jail | None = None
        self.resident: _Resident | None = None

    def close(self) -> None:
        self.candidate.close()
        if self.resident is not None:
            self.resident.verdicts.close()
        if self.tester is not None:
            self.tester.close()

    def keeps(self, job: Job) -> bool:
        """Whether its tester has judged this job's problem last."""
        return self.resident is not None and self.resident.key == tester_key(job)

    def judge(self, job: Job, cpu: float, *, inline: bool = False) -> Verdict:
        """The verdict on a job under a CPU limit in seconds. SandboxError where the sandbox itself broke.

        `inline`: a test that would be split runs in the program's own process, and the verdict is weak.
        """
        calls = calls_of(job)
        if len(job.program) > PROGRAM_LENGTH:
            method = Method.STDIO if job.stdio else Method.SPLIT if calls is None else Method.CALLS
            return Verdict(
                outcome=Outcome.SYNTAX_ERROR, method=method, tier=self.tier, detail="the program is too long to be read"
            )
        start = time.perf_counter()
        if job.stdio:
            facts = self._by_stdio(job, cpu)
        elif calls is not None:
            facts = self._by_calls(job, calls, cpu)
        else:
            facts = self._inline(job, cpu) if inline else self._split(job, cpu)
        said = {name: _storable(fact) for name, fact in facts.items() if type(fact) is str}
        return Verdict(**facts | said, wall=round(time.perf_counter() - start, 6))

    def _by_calls(self, job: Job, calls: tuple[Call, ...], cpu: float) -> dict[str, Any]:
        recorded = [call.sent for call in calls]
        room = ANSWER_BYTES + 4 * sum(len(call.source) for call in calls)
        with ExitStack() as stack:
            ours, theirs = _pair(stack)
            self.candidate.start([theirs], cpu)
            theirs.close()
            _hand(
                ours,
                role="calls",
                program=job.program,
                entry=job.entry_point,
                files=job.files,
                calls=recorded,
                probe=job.patience if job.any_of else 0,
            )
            answer, late = _read_frame(ours, time.monotonic() + job.limits.wall, room, self.candidate)
            ended = self.candidate.end(GRACE if answer is None and late is None else 0.0)
        facts: dict[str, Any] = {"method": Method.CALLS, "tier": self.tier, "assertions_total": len(calls)}
        facts |= {"cpu": ended.cpu, "peak_memory": ended.peak}
        if answer is None:
            return facts | how_it_ended(ended, late)
        return facts | (compare_any if job.any_of else compare)(answer, calls)

    def _by_stdio(self, job: Job, cpu: float) -> dict[str, Any]:
        """Every case in a process of its own, until one fails. Expected output stays here."""
        facts: dict[str, Any] = {"method": Method.STDIO, "tier": self.tier, "assertions_total": len(job.stdio)}
        spent, peak = 0.0, 0
        for index, (given, expected) in enumerate(job.stdio):
            with ExitStack() as stack:
                ours, theirs = _pair(stack)
                self.candidate.start([theirs], cpu)
                theirs.close()
                _hand(ours, role="stdio", program=job.program, files=job.files, input=given)
                answer, late = _read_frame(ours, time.monotonic() + job.limits.wall, wire.MAX_FRAME, self.candidate)
                ended = self.candidate.end(GRACE if answer is None and late is None else 0.0)
            spent, peak = spent + ended.cpu, max(peak, ended.peak)
            facts |= {"cpu": round(spent, 6), "peak_memory": peak, "assertions_held": index}
            if answer is None:
                return facts | how_it_ended(ended, late) | {"failed_assertion": f"case {index + 1}"}
            try:
                wrong = compare_output(answer, expected)
            except HOSTILE as error:
                wrong = {"outcome": Outcome.PROTOCOL_VIOLATION, "detail": f"no readable answer: {error!r}"[:300]}
            if wrong is not None:
                return facts | {"failed_assertion": f"case {index + 1}"} | wrong
        return facts | {"assertions_held": len(job.stdio), "outcome": Outcome.PASSED}

    def _split(self, job: Job, cpu: float) -> dict[str, Any]:
        source = job.test_program if job.test_program is not None else "\n".join(job.tests)
        try:
            test = prepared(source, job.imports, job.entry_point)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            return self._no_test(error)
        resident = self._resident(test, job)
        with ExitStack() as stack:
            ours, theirs = _pair(stack)
            candidate_end, tester_end = _pair(stack)
            self.candidate.start([theirs, candidate_end], cpu)
            resident.judge(tester_end)
            for sent in (theirs, candidate_end, tester_end):
                sent.close()
            _hand(ours, role="candidate", program=job.program, entry=job.entry_point, files=job.files)
            deadline = time.monotonic() + job.limits.wall
            answer, late = _read_frame(resident.verdicts, deadline, VERDICT_BYTES, self.candidate)
            loaded = None
            if answer is not None and answer[:1] == ["unloaded"]:
                loaded, _ = _read_frame(ours, min(deadline, time.monotonic() + 1), VERDICT_BYTES, self.candidate)
            gone = answer is not None and answer[:1] in (["broken"], ["unloaded"])
            ended = self.candidate.end(GRACE if gone else 0.0)
        facts: dict[str, Any] = {"method": Method.SPLIT, "tier": self.tier}
        facts |= {"cpu": ended.cpu, "peak_memory": ended.peak}
        if answer is None:
            return facts | no_verdict(ended, self._dismiss(), late)
        if answer[:1] not in (["passed"], ["failed"], ["unloaded"]):
            self._dismiss()
        return facts | read_verdict(answer, loaded, ended)

    def _inline(self, job: Job, cpu: float) -> dict[str, Any]:
        source = job.test_program if job.test_program is not None else "\n".join(job.tests)
        try:
            test = prepared(source, job.imports, job.entry_point)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            return self._no_test(error)
        with ExitStack() as stack:
            ours, theirs = _pair(stack)
            self.candidate.start([theirs], cpu)
            theirs.close()
            _hand(ours, role="inline", program=job.program, entry=job.entry_point, files=job.files, **test)
            answer, late = _read_frame(ours, time.monotonic() + job.limits.wall, VERDICT_BYTES, self.candidate)
            ended = self.candidate.end(GRACE if answer is None and late is None else 0.0)
        facts: dict[str, Any] = {"method": Method.INLINE, "tier": self.tier}
        facts |= {"cpu": ended.cpu, "peak_memory": ended.peak}
        if answer is None:
            return facts | how_it_ended(ended, late)
        if answer[:1] == ["unloaded"]:
            failure = answer[1] if len(answer) == 2 and type(answer[1]) is list and answer[1] else ["junk"]
            return facts | failed(failure)
        return facts | read_verdict(answer, None, ended)

    def _no_test(self, error: Exception) -> dict[str, Any]:
        """Of a test that is no program."""
        facts = {"method": Method.SPLIT, "tier": self.tier, "outcome": Outcome.EXCEPTION}
        return {**facts, "exception": type(error).__name__, "detail": f"the test: {error}"[:300]}

    def _resident(self, test: dict[str, Any], job: Job) -> "_Resident":
        """The tester's process for this test: the one that judged its last candidate, or a new one."""
        kept = self.resident
        if kept is not None and kept.key == tester_key(job) and kept.runs < MOST_RUNS:
            return kept
        if self.tester is None:
            self.tester = Jail(self.tier, for_tests=True).wait_ready()
        self._dismiss()
        here, there = socket.socketpair()
        self.tester.start([there], 0.0)  # its time is the wall's
        there.close()
        _hand(here, role="tester", entry=job.entry_point, **test)
        self.resident = _Resident(tester_key(job), here, reusable=test["resident"])
        return self.resident

    def rest(self) -> None:
        """End what is kept for the next candidate of a problem."""
        self._dismiss()

    def _dismiss(self) -> Ended | None:
        """End the tester's process; None where there is none."""
        if self.resident is None or self.tester is None:
            return None
        self.resident.verdicts.close()
        self.resident = None
        return self.tester.end()


@dataclass
class _Resident:
    """A tester's process that runs one test for one candidate after another."""

    key: tuple[Any, ...]
    verdicts: socket.socket
    reusable: bool
    runs: int = 0

    def judge(self, candidate: socket.socket) -> None:
        """Hand over a candidate's socket; one verdict will come."""
        self.runs += 1 if self.reusable else MOST_RUNS
        try:
            socket.send_fds(self.verdicts, [b"R"], [candidate.fileno()])
        except OSError as error:
            raise SandboxError(f"a tester is gone: {error}", where="sandbox") from error


def _storable(text: str) -> str:
    """Without halves of surrogate pairs, which no file takes."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _pair(stack: ExitStack) -> tuple[socket.socket, socket.socket]:
    one, two = socket.socketpair()
    stack.enter_context(one)
    stack.enter_context(two)
    return one, two


def _hand(to: socket.socket, **job: Any) -> None:
    try:
        wire.write(to.fileno(), marshal.dumps(job))
    except OSError as error:
        raise SandboxError(f"a jail did not take its program: {error}", where="sandbox") from error


def _read_frame(
    source: socket.socket, deadline: float, room: int, program: Jail
) -> tuple[list[Any] | None, str | None]:
    """The frame's list, or None with the reason where it is late (`wall`), the program is over its limits (`limit`, of
    which its jail knows more), the frame is too long (`flood`) or nonsense (`junk`)."""
    poll = select.poll()
    poll.register(source, select.POLLIN)
    data = bytearray()
    look = time.monotonic() + program.patience()
    while len(data) < 4 or len(data) < 4 + int.from_bytes(data[:4], "little"):
        now = time.monotonic()
        if now >= deadline:
            return None, "wall"
        if now >= look:
            if program.over():
                return None, "limit"
            look = now + program.patience()
        if not poll.poll((min(deadline, look) - now) * 1000 + 1):
            continue
        try:
            part = source.recv(1 << 16, socket.MSG_DONTWAIT)
        except BlockingIOError:
            continue
        except ConnectionResetError:
            part = b""
        if not part:
            return None, None
        data += part
        if len(data) >= 4 and int.from_bytes(data[:4], "little") > room:
            return None, "flood"
    try:
        answer = json.loads(bytes(data[4 : 4 + int.from_bytes(data[:4], "little")]))
    except HOSTILE:
        return None, "junk"
    return (answer, None) if type(answer) is list else (None, "junk")
