"""Groups what many requests want written into one transaction of the journal, and keeps the budget there."""

import asyncio
from collections.abc import Callable
from typing import Any

from evalkit.endpoint.answer import Answer
from evalkit.endpoint.journal import Journal, Transaction, serialised
from evalkit.errors import OverBudget

Write = Callable[[Transaction], Any]


class Writer:
    """Used inside one event loop. What was awaited is durable; `limit` is the budget in dollars."""

    def __init__(self, journal: Journal, limit: float | None) -> None:
        self.journal, self.limit = journal, limit
        self.under_way = 0
        """Attempts of this process that have no end yet."""
        self.too_much: float | None = None
        """Worst case of a request that did not fit any more while nothing was under way: no dearer one will."""
        self._pending: list[tuple[Write, asyncio.Future[Any]]] = []
        self._settled = asyncio.Event()
        self._patience = 12
        """Quarters of a second for which attempts of other processes are waited for, once."""

    async def reserve(self, key: str, usd: float | None) -> int:
        """Note an attempt before it is sent. Where the budget has no room, wait for those under way to be settled at
        what they really cost; raises OverBudget where none is left."""
        while True:
            if self.limit is not None and self.too_much is not None and (usd or 0.0) >= self.too_much:
                raise OverBudget(f"not sent: it could exceed the budget of ${self.limit:g}")
            settled = self._settled
            attempt = await self._write(lambda transaction: transaction.reserve(key, usd, self.limit))
            if attempt is not None:
                self.under_way += 1
                return int(attempt)
            if not self.under_way:
                if self.journal.spending().open and self._patience > 0:
                    self._patience -= 1  # another process may be about to settle what it holds
                    await asyncio.sleep(0.25)
                    continue
                self.too_much = usd or 0.0
            elif not settled.is_set():
                await settled.wait()

    async def commit(self, answer: Answer, request: str, attempt: int) -> None:
        """Make an answer durable."""
        text = serialised(answer)  # here: what fails in the transaction would fail others with it
        await self._write(lambda transaction: transaction.commit(answer, text, request, attempt))
        self._end()

    async def release(self, attempt: int, usd: float | None) -> None:
        """End an attempt without an answer. None: whether it was billed is unknown, so it stays at its worst case."""
        await self._write(lambda transaction: transaction.release(attempt, usd))
        self._end()

    def _end(self) -> None:
        self.under_way -= 1
        self._settled.set()
        self._settled = asyncio.Event()

    def _write(self, write: Write) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._pending.append((write, future))
        if len(self._pending) == 1:
            loop.call_soon(self._flush)
        return future

    def _flush(self) -> None:
        """One transaction for all that came up in this turn of the event loop."""
        pending, self._pending = self._pending, []
        try:
            with self.journal.write() as transaction:
                results = [write(transaction) for write, _ in pending]
        except Exception as error:  # every waiter must hear of it; it is raised there
            for _, future in pending:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), result in zip(pending, results, strict=True):
            if not future.done():
                future.set_result(result)
