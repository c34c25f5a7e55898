"""The sandbox as callers see it: `run` one job, `run_many` in order with back-pressure."""

import os
import queue
import sys
import threading
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from evalkit.errors import SandboxError
from evalkit.records import Language, Method, Outcome, Tier, Verdict
from evalkit.sandbox.inside.syscalls import NUMBERS
from evalkit.sandbox.job import Job
from evalkit.sandbox.languages import Compiler
from evalkit.sandbox.probes import probe
from evalkit.sandbox.slots import Slot, needs_tester, tester_key

DEFAULT_CPU = 2.0
"""CPU seconds where no reference says what the task needs."""
REFERENCE_CPU = 10.0
LEAST_CPU, TIMES_REFERENCE = 0.1, 20
AHEAD = 4
"""Jobs read ahead per slot."""
TOGETHER = 8
"""Completions of a problem that one slot judges after each other, at most."""
REPEATED = 3
"""Broken jobs in a row after which the sandbox itself is taken to be broken."""


class Sandbox:
    """Slots that run untrusted programs, one at a time each. A context manager; also usable with `async with`.

    Raises SandboxError at start where this machine offers no isolation that holds, saying what to enable.
    """

    def __init__(self, slots: int | None = None, *, tier: Tier | None = None, accept_no_sandbox: bool = False) -> None:
        """`tier` asks for one tier instead of the strongest that holds here. `accept_no_sandbox` runs programs with
        limits but without any wall where none can be built: only for programs that you would run yourself."""
        self.slots = slots or os.cpu_count() or 1
        self._asked, self._accept_none = tier, accept_no_sandbox
        self.tier = tier or Tier.NAMESPACES
        self._reference_cpu: dict[tuple[object, ...], float] = {}
        self._inline: dict[tuple[object, ...], bool] = {}

    def __enter__(self) -> "Sandbox":
        if sys.platform != "linux" or os.uname().machine not in NUMBERS:
            raise SandboxError(
                f"no sandbox for {sys.platform} on {os.uname().machine}: programs are run on Linux, x86-64 or aarch64",
                where="sandbox",
                fix="run this in a Linux machine or container",
            )
        # Jails end with the thread that started them, so these threads live as long as the sandbox.
        self._threads = ThreadPoolExecutor(self.slots, thread_name_prefix="sandbox")
        self._free = _Free()
        self._open: list[Slot | Compiler] = []
        self._compilers: dict[str, queue.SimpleQueue[Compiler]] = defaultdict(queue.SimpleQueue)
        self._one_alone = threading.Lock()
        try:
            first = self._threads.submit(self._first_slot).result()
        except BaseException:
            self._threads.shutdown()
            for slot in self._open:
                slot.close()
            raise
        self._free.put(first)
        for _ in range(self.slots - 1):
            self._free.put(None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)
        for slot in self._open:
            slot.close()

    async def __aenter__(self) -> "Sandbox":
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)

    def run(self, job: Job) -> Verdict:
        """Judge one job. Raises SandboxError where the sandbox broke twice on it."""
        return self._threads.submit(self._judge, job).result()

    def run_many(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, Verdict | SandboxError]]:
        """Judge jobs in order; a job the sandbox broke on twice comes with its error, never with a verdict.

        Jobs are read as slots become free. Completions of one problem that follow each other share a tester where they
        need one. Raises SandboxError where several in a row broke.
        """
        waiting: deque[tuple[list[Job], Future[list[Verdict | SandboxError]]]] = deque()
        source, broken, ahead = _together(jobs), 0, 0
        try:
            while True:
                while ahead < AHEAD * self.slots and (group := next(source, None)) is not None:
                    waiting.append((group, self._threads.submit(self._judge_all, group)))
                    ahead += len(group)
                if not waiting:
                    return
                group, future = waiting.popleft()
                ahead -= len(group)
                for job, result in zip(group, future.result(), strict=True):
                    broken = broken + 1 if isinstance(result, SandboxError) else 0
                    if broken >= REPEATED and isinstance(result, SandboxError):
                        raise result
                    yield job, result
        finally:
            for _, future in waiting:
                future.cancel()

    def _judge_all(self, jobs: list[Job]) -> list[Verdict | SandboxError]:
        results: list[Verdict | SandboxError] = []
        for job in jobs:
            try:
                results.append(self._judge(job))
            except SandboxError as error:
                results.append(error)
        return results

    def rest(self) -> None:
        """End the testers that free slots keep for further candidates of a problem; jails stay."""
        for slot in self._free.idle():
            slot.rest()

    def _first_slot(self) -> Slot:
        """A slot of the strongest tier whose jails can be built here and stop hostile probes."""
        if self._asked is Tier.NONE and not self._accept_none:
            raise SandboxError("running without isolation must be accepted", fix="pass accept_no_sandbox=True")
        tiers = [self._asked] if self._asked else [Tier.NAMESPACES, Tier.LANDLOCK]
        if self._accept_none and Tier.NONE not in tiers:
            tiers.append(Tier.NONE)
        failures = []
        for self.tier in tiers:
            try:
                slot = self._new_slot()
                probe(slot)
                return slot
            except SandboxError as error:
                failures.append(error.what)
        raise SandboxError(
            f"no isolation holds on this machine: {'; '.join(failures)}",
            where="sandbox",
            fix="allow unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1, or the container's"
            " seccomp and AppArmor profiles), or use a kernel with Landlock 3 or newer (Linux 6.2)",
        )

    def _new_slot(self) -> Slot:
        slot = Slot(self.tier)
        self._open.append(slot)
        return slot

    def _judge(self, job: Job) -> Verdict:
        if job.language is not Language.PYTHON:
            return self._compiled(job)
        cpu = self._cpu_limit(job)
        verdict = self._attempt(job, cpu)
        if verdict.outcome is Outcome.WALL_TIMEOUT:  # a busy machine is no verdict on the program
            verdict = self._alone(job, cpu)
        if not verdict.passed and self._is_inline(job):
            verdict = self._attempt(job, cpu, inline=True)
        if verdict.passed and not job.any_of and verdict.method is not Method.INLINE:
            self._reference_cpu.setdefault(_reference_key(job, job.program), verdict.cpu)
        return verdict

    def _compiled(self, job: Job) -> Verdict:
        """Judge in a workshop of the job's language; where that breaks, once more in a new one."""
        free = self._compilers[job.language]
        for last in (False, True):
            try:
                compiler = free.get_nowait()
            except queue.Empty:
                compiler = Compiler(job.language, self._asked).__enter__()
                self._open.append(compiler)
            try:
                verdict = compiler.verdict(job)
            except SandboxError:
                self._open.remove(compiler)
                compiler.close()
                if last:
                    raise
            else:
                free.put(compiler)
                return verdict
        raise AssertionError("unreachable")

    def _is_inline(self, job: Job) -> bool:
        """Whether this problem's test cannot be split, decided once: its reference fails against a proxy and passes
        beside its test. (It patches the program, hands over classes of its own, reads its source.)"""
        if job.reference is None or not needs_tester(job):
            return False
        key = _reference_key(job, job.reference)
        if key in self._reference_cpu:
            return False
        if key not in self._inline:
            reference = job.model_copy(update={"program": job.reference})
            verdict = self._attempt(reference, REFERENCE_CPU)
            if verdict.passed:
                self._reference_cpu[key] = verdict.cpu
            self._inline[key] = not verdict.passed and self._attempt(reference, REFERENCE_CPU, inline=True).passed
        return self._inline[key]

    def _alone(self, job: Job, cpu: float) -> Verdict:
        """Judge while all other slots rest."""
        with self._one_alone:
            resting = [self._free.get() for _ in range(self.slots - 1)]
            try:
                return self._attempt(job, cpu)
            finally:
                for slot in resting:
                    self._free.put(slot)

    def _attempt(self, job: Job, cpu: float, *, inline: bool = False) -> Verdict:
        """Judge on a free slot; where the slot breaks, once more on a new one."""
        for last in (False, True):
            slot = self._free.get(job) or self._new_slot()
            try:
                verdict = slot.judge(job, cpu, inline=inline)
            except SandboxError:
                self._open.remove(slot)
                slot.close()
                self._free.put(None)
                if last:
                    raise
            except BaseException:  # a bug of ours: what state the slot is in, nobody knows
                self._open.remove(slot)
                slot.close()
                self._free.put(None)
                raise
            else:
                self._free.put(slot)
                return verdict
        raise AssertionError("unreachable")

    def _cpu_limit(self, job: Job) -> float:
        """CPU seconds: as asked, else twenty times what the reference takes on this machine, else a default."""
        if job.limits.cpu is not None:
            return job.limits.cpu
        if job.reference is None:
            return DEFAULT_CPU
        if job.reference == job.program:
            return REFERENCE_CPU
        key = _reference_key(job, job.reference)
        if key not in self._reference_cpu:
            reference = self._attempt(job.model_copy(update={"program": job.reference}), REFERENCE_CPU)
            if not reference.passed:
                return DEFAULT_CPU
            self._reference_cpu[key] = reference.cpu
        return max(LEAST_CPU, TIMES_REFERENCE * self._reference_cpu[key])


def _reference_key(job: Job, program: str) -> tuple[object, ...]:
    return program, tester_key(job), tuple(job.files.items())


class _Free:
    """Slots that judge nothing now; None stands for one that was not opened yet."""

    def __init__(self) -> None:
        self._slots: deque[Slot | None] = deque()
        self._changed = threading.Condition()

    def put(self, slot: Slot | None) -> None:
        with self._changed:
            self._slots.append(slot)
            self._changed.notify()

    def get(self, job: Job | None = None) -> Slot | None:
        """Wait for a slot: the one whose tester has just judged this job's problem, where it is free."""
        with self._changed:
            self._changed.wait_for(lambda: self._slots)
            kept = next((slot for slot in self._slots if job and slot and slot.keeps(job)), None)
            if kept is None:
                return self._slots.popleft()
            self._slots.remove(kept)
            return kept

    def idle(self) -> list[Slot]:
        """Open slots that are free at this moment."""
        with self._changed:
            return [slot for slot in self._slots if slot is not None]


def _together(jobs: Iterable[Job]) -> Iterator[list[Job]]:
    """Jobs, those together that follow each other and need the same tester."""
    group: list[Job] = []
    for job in jobs:
        if group and (len(group) == TOGETHER or not needs_tester(job) or tester_key(job) != tester_key(group[0])):
            yield group
            group = []
        group.append(job)
    if group:
        yield group
