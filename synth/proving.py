"""Prove answers while others are still asked for: what a teacher is worth is known early, and the waiting is used."""

import queue
import threading
from collections import Counter
from pathlib import Path
from types import TracebackType

from evalkit.errors import PotstillError
from evalkit.records import Method, Problem
from evalkit.sandbox import Sandbox
from synth.ask import Answered
from synth.parse import Dropped, task_key
from synth.proof import BATCH, known_proofs, prove_batch, proven
from synth.records import Stage


class Proving:
    """A context manager around the asking. Proofs go to the journal that `prove` reads; what is left over it does.

    `kept`, `rejected` and `waiting` are the counts so far: rows may still turn out to be contaminated.
    """

    def __init__(self, journal: Path, sandbox: Sandbox) -> None:
        self.journal, self.sandbox = journal, sandbox
        self.kept = self.waiting = 0
        self.rejected: Counter[str] = Counter()
        self._seen: set[str] = set()
        self._queue: queue.SimpleQueue[Problem | None] = queue.SimpleQueue()
        self._known = known_proofs(journal)
        self._error: PotstillError | None = None
        self._thread = threading.Thread(target=self._work, name="proving", daemon=True)

    def __enter__(self) -> "Proving":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self._stop = True
        self._queue.put(None)
        self._thread.join()
        if self._error is not None and error is None:
            raise self._error

    _stop = False

    def offer(self, answered: Answered) -> None:
        """Take an answer that is final. Cheap; called where answers arrive."""
        found = answered.found
        if isinstance(found, Dropped):
            self.rejected[found.stage] += 1
        elif (key := task_key(found)) in self._seen:
            self.rejected[Stage.DUPLICATE] += 1
        else:
            self._seen.add(key)
            self.waiting += 1
            self._queue.put(found)

    def _work(self) -> None:
        try:
            while batch := self._next():
                if self._stop:
                    return
                proofs = prove_batch(batch, self.journal, self.sandbox, self._known)
                self.waiting -= len(batch)
                for proof in proofs:
                    if proven(proof):
                        self.kept += 1
                    else:
                        by_stub = proof.solution.passed and proof.solution.method is not Method.INLINE
                        self.rejected[Stage.STUB if by_stub else Stage.SOLUTION] += 1
        except PotstillError as error:
            self._error = error

    def _next(self) -> list[Problem]:
        """All that waits, at least one and at most a batch; nothing at the end."""
        first = self._queue.get()
        if first is None:
            return []
        batch = [first]
        while len(batch) < BATCH:
            try:
                more = self._queue.get_nowait()
            except queue.Empty:
                break
            if more is None:
                self._queue.put(None)
                break
            batch.append(more)
        return batch
