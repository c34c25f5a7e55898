"""The model's thread: takes jobs as they come, keeps the batch full, hands back what the rows have given.

Rows are taken in the order in which they were asked for. Between two token steps at most one pass over new prompts is
made, so that rows under way go on.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

from evalkit.models.generation import context_length
from evalkit.models.vocabulary import Vocabulary
from evalkit.serving.batch import Batch
from evalkit.serving.continuation import Delta
from evalkit.serving.refusals import ENDING, Refusal
from evalkit.serving.work import Job, Row, Ticket

PREFILL = 1 << 14
"""Positions fed in one pass over new prompts, padding included; one prompt may be longer."""
log = logging.getLogger(__name__)


class Engine:
    """One model and the thread that runs it."""

    def __init__(self, model: Any, tokenizer: Any, max_batch: int) -> None:
        self.model, self.tokenizer, self.max_batch = model.eval(), tokenizer, max_batch
        self.device = next(model.parameters()).device
        self.room = context_length(model)
        self.vocabulary = Vocabulary(tokenizer)
        self.batch = Batch(model, tokenizer, self.vocabulary, self._fail)
        self.waiting: deque[Job] = deque()
        self._wake = threading.Condition()
        self._stopping = False
        self._news: list[tuple[Ticket, Delta | Refusal]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Answers go to tickets of this loop."""
        self._loop = loop
        self._thread.start()

    def stop(self) -> None:
        """No more work: what is under way is refused. Returns at once; safe in a signal handler."""
        self._stopping = True

    def join(self, timeout: float) -> None:
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join(timeout)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and not self._stopping

    @property
    def load(self) -> dict[str, int]:
        """Rows under way, and continuations that wait."""
        with self._wake:
            waiting = sum(len(job.waiting) for job in self.waiting if not job.ticket.cancelled)
        return {"rows": len(self.batch.rows), "waiting": waiting}

    def submit(self, jobs: Sequence[Job]) -> None:
        """Raises Refusal where the server is ending."""
        with self._wake:
            if not self.alive:
                raise ENDING
            self.waiting.extend(jobs)
            self._wake.notify()

    def _run(self) -> None:
        import torch

        with torch.inference_mode():
            while self._wait():
                self._attempt(self._admit())
                self._attempt(None)
        self._refuse(ENDING)

    def _wait(self) -> bool:
        """Sleeps while there is nothing to do; false once it is over."""
        with self._wake:
            while not self._stopping and not self.waiting and not self.batch.rows:
                self._wake.wait(timeout=1.0)
        return not self._stopping

    def _admit(self) -> list[Row]:
        """New rows, as many as the batch has room for, with prompts for one pass."""
        rows: list[Row] = []
        longest, jobs = 0, 0
        self.batch.drop()
        free = self.max_batch - len(self.batch.rows)
        if self.batch.rows and not self.batch.joinable:
            return rows
        with self._wake:
            while self.waiting and free > 0:
                job = self.waiting[0]
                if job.ticket.cancelled:
                    self.waiting.popleft()
                    continue
                longest, jobs = max(longest, len(job.prompt.ids)), jobs + 1
                if rows and (longest * jobs > PREFILL or job.to_score != rows[0].job.to_score):
                    break
                taken = [job.waiting.popleft() for _ in range(min(free, len(job.waiting)))]
                rows += [Row(job, continuation) for continuation in taken]
                free -= len(taken)
                if not job.waiting:
                    self.waiting.popleft()
        return rows

    def _attempt(self, fresh: list[Row] | None) -> None:
        """Starts new rows, or steps with those under way; where the model fails, refuses what that was for."""
        rows = self.batch.rows if fresh is None else fresh
        try:
            if fresh is None:
                self.batch.step()
            elif fresh:
                self.batch.start(fresh)
        except Exception as error:  # out of memory, a kernel that fails: other requests may fare better
            log.exception("the model failed")
            said = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
            broken = self.batch.clear() if fresh is None or self.batch.torn else []
            for row in [*rows, *broken]:
                self._fail(row.job, Refusal(500, f"the model failed: {said}"))
        self._tell(rows)

    def _tell(self, rows: Sequence[Row]) -> None:
        """Hands what these rows have given to the event loop, in one call."""
        for row in rows:
            ticket, continuation = row.job.ticket, row.continuation
            if not ticket.cancelled and (ticket.stream or continuation.finish) and (delta := continuation.delta()):
                self._news.append((ticket, delta))
        if self._news and self._loop is not None:
            news, self._news = self._news, []
            try:
                self._loop.call_soon_threadsafe(_deliver, news)
            except RuntimeError:  # the loop is closed: nobody waits
                self._stopping = True

    def _fail(self, job: Job, refusal: Refusal) -> None:
        if not job.ticket.cancelled:
            job.ticket.cancel()
            self._news.append((job.ticket, refusal))

    def _refuse(self, refusal: Refusal) -> None:
        """Gives up all that waits or is under way."""
        with self._wake:
            for job in [*self.waiting, *(row.job for row in self.batch.clear())]:
                self._fail(job, refusal)
            self.waiting.clear()
        self._tell([])


def _deliver(news: list[tuple[Ticket, Delta | Refusal]]) -> None:
    for ticket, item in news:
        ticket.news.put_nowait(item)
