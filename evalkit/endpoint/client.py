"""Ask endpoints many questions: what the journal knows is not asked again, what is rate-limited waits, never drops.

1. look up     answers in the journal cost nothing, whichever of the endpoints gave them
2. deal        each request has an order of endpoints, fixed by its content and their shares; the first is asked first
3. reserve     the worst case is noted before a request is sent; `max_usd` is never exceeded
4. send        at an adaptive pace; 429 waits as long as it takes, other faults are tried a few times
5. commit      an answer is durable before it is handed on, and settles its reservation
6. fall back   what one endpoint cannot answer goes to the next; an endpoint that nothing can succeed at is closed
"""

import asyncio
import random
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import tenacity

from evalkit.endpoint.answer import Answer, Request
from evalkit.endpoint.config import Endpoint
from evalkit.endpoint.intake import Intake, Item, OnResult, Status, check_prices
from evalkit.endpoint.journal import Journal
from evalkit.endpoint.line import Closed, Fault, Line, Refusal
from evalkit.endpoint.writer import Writer
from evalkit.errors import EndpointError, NotServed

TRIES, TRIES_OF_NOBODY = 8, 4
"""Attempts at one request, those refused for their rate not counted; and where no connection comes about. (With one
reply in five broken, eight leave one request in 400,000 without an answer.)"""
FIRST_WAIT, SLOWEST = 0.1, 5.0
"""Seconds before the second attempt at a request, doubled from try to try, and the most."""
OUTAGE = 120.0
"""Seconds for which an endpoint that has answered before may be away: until then its requests wait."""
LAST_ANSWERS = 10.0
"""Seconds for which the answers under way are waited for when a run ends by an error."""
AT_A_TIME = 256
"""Requests looked up in the journal at once."""
WAITING = 2048
"""Requests that wait in memory; the rest stays where it comes from."""


def ask_many(
    endpoints: Endpoint | Sequence[Endpoint],
    journal: Journal,
    requests: Sequence[Request],
    *,
    transport: Any = None,
    max_usd: float | None = None,
    status: Status | None = None,
) -> dict[str, Answer | EndpointError]:
    """Answers by request id, in the order of the requests; an EndpointError where one could not be had.

    See `ask_each`, which holds no answers.
    """
    results: dict[str, Answer | EndpointError] = {}

    def keep(request: Request, result: Answer | EndpointError) -> None:
        results[request.id] = result

    ask_each(endpoints, journal, requests, keep, transport=transport, max_usd=max_usd, status=status)
    return {request.id: results[request.id] for request in requests}


def ask_each(
    endpoints: Endpoint | Sequence[Endpoint],
    journal: Journal,
    requests: Iterable[Request],
    on_result: OnResult,
    *,
    transport: Any = None,
    max_usd: float | None = None,
    status: Status | None = None,
) -> Status:
    """Hand each result to `on_result` as it comes; memory stays flat however many requests there are.

    `transport` replaces the network (an in-process ASGI application), or a mapping of addresses to such. Raises
    EndpointError at once where nothing could ever succeed (bad key, unknown model, nobody there), ConfigError where a
    budget meets an unknown price.
    """
    endpoints = [endpoints] if isinstance(endpoints, Endpoint) else list(endpoints)
    check_prices(endpoints, max_usd)
    run = _Run(endpoints, journal, transport, max_usd, status or Status(), on_result)
    source = iter(requests)
    # What the journal knows needs no event loop and no client; most runs over a finished journal end here.
    for batch in _batches(source):
        if unknown := run.intake.look_up(batch):
            asyncio.run(run.all(unknown, source))
            break
    return run.status


class _Run:
    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        journal: Journal,
        transport: Any,
        max_usd: float | None,
        status: Status,
        on_result: OnResult,
    ) -> None:
        self.endpoints, self.journal, self.transport = endpoints, journal, transport
        self.max_usd, self.status = max_usd, status
        self.stats = status.stats
        self.intake = Intake(endpoints, journal, status, on_result)

    async def all(self, first: list[Item], source: Iterator[Request]) -> None:
        self.writer = Writer(self.journal, self.max_usd)
        self.lines = self.intake.open_lines(self.transport, self.max_usd)
        self.queues: list[asyncio.Queue[Item]] = [asyncio.Queue() for _ in self.lines]
        self.room = asyncio.Semaphore(WAITING)
        self.open = 1  # the dealer itself
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        tasks = [asyncio.create_task(self._guard(self._deal(first, source)))]
        for index, line in enumerate(self.lines):
            for _ in range(line.endpoint.max_concurrency):
                tasks.append(asyncio.create_task(self._guard(self._work(index))))
        try:
            await self.over
        except EndpointError:
            await self._let_finish()
            raise
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for line in self.lines:
                await line.aclose()

    async def _let_finish(self) -> None:
        """Nothing more is sent, but what was is paid for: its answers are waited for a while."""
        give_up = asyncio.get_running_loop().time() + LAST_ANSWERS
        while self.writer.under_way and asyncio.get_running_loop().time() < give_up:
            await asyncio.sleep(0.02)

    async def _guard(self, work: Any) -> None:
        """What goes wrong in a task ends the run; a task that died in silence would leave it waiting forever."""
        try:
            await work
        except Exception as error:
            if not self.over.done():
                self.over.set_exception(error)

    async def _deal(self, first: list[Item], source: Iterator[Request]) -> None:
        items = first
        while True:
            for item in items:
                await self.room.acquire()
                self.open += 1
                self._pass_on(item)
            batch = list(islice(source, AT_A_TIME))
            if not batch:
                break
            items = self.intake.look_up(batch)
            await asyncio.sleep(0)
        self._close_one()

    def _pass_on(self, item: Item) -> None:
        """To the first endpoint in its order that is open; a result where there is none."""
        while item.order and self.lines[item.order[0]].closed:
            item.order.pop(0)
        if item.order:
            self.queues[item.order[0]].put_nowait(item)
            return
        if all(line.closed for line in self.lines):
            raise self._nothing_left()
        self._finish(item, item.error or EndpointError("no endpoint could answer"))

    def _nothing_left(self) -> EndpointError:
        """Every endpoint is closed: why, where, and what to do."""
        line = next((line for line in self.lines if line.answered), self.lines[0])
        assert line.closed is not None  # every line is
        kind = EndpointError if any(line.answered for line in self.lines) or len(self.journal) else NotServed
        return kind(line.closed.what, where=line.endpoint.base_url, fix=line.closed.fix)

    def _finish(self, item: Item, result: Answer | EndpointError) -> None:
        self.intake.finish(item, result)
        self.room.release()
        self._close_one()

    def _close_one(self) -> None:
        self.open -= 1
        if not self.open and not self.over.done():
            self.over.set_result(None)

    async def _work(self, index: int) -> None:
        line, queue = self.lines[index], self.queues[index]
        while True:
            item = await queue.get()
            if line.closed:
                self._pass_on(item)
                continue
            try:
                result: Answer | EndpointError = await self._ask(line, item, index)
            except Closed as closed:
                self._shut(line, closed)
                self._pass_on(item)
                continue
            except EndpointError as error:
                error.where = error.where or line.endpoint.base_url
                item.error = error
                item.order.pop(0)
                if item.order:
                    self.stats["fell_back"] += 1
                    self._pass_on(item)
                    continue
                result = error
            self._finish(item, result)

    def _shut(self, line: Line, closed: Closed) -> None:
        if line.closed is None:
            line.closed = closed
            line.pace.close(closed)
            if len(self.lines) > 1:
                self.status.notes.append(f"{line.endpoint.label} is asked no more: {closed.what}")

    async def _ask(self, line: Line, item: Item, index: int) -> Answer:
        """An answer from one endpoint. Raises EndpointError where it has none for this request, OverBudget, Closed."""
        tries = _Tries()
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(Fault), stop=tries.enough, wait=tries.wait, reraise=True
        )
        try:
            async for attempt in retrying:
                with attempt:
                    return await self._attempt(line, item, index)
        except Fault as fault:
            if fault.nobody_there and not line.answered:
                raise Closed(f"no answer after {tries.failures} tries: {fault.said}", _UP) from fault
            raise EndpointError(
                f"no answer after {tries.failures} tries ({fault.kind}: {fault.said})",
                where=line.endpoint.base_url,
                fix=_AGAIN,
            ) from fault
        except Refusal as refusal:
            self.stats["refused"] += 1
            raise EndpointError(str(refusal), where=line.endpoint.base_url) from refusal
        raise AssertionError("tenacity ends by a return or an exception")

    async def _attempt(self, line: Line, item: Item, index: int) -> Answer:
        """One request sent, and what it cost."""
        worst = line.worst(item.request)
        slot = await line.pace.enter(line.likely_tokens(item.request))
        answer, billed = None, None
        try:
            if line.closed:
                raise line.closed
            attempt = await self.writer.reserve(item.keys[index], worst)
            self.stats["sent"] += 1
            try:
                answer = await line.send(item.keys[index], item.request)
            except Fault as fault:
                self.stats[fault.kind] += 1
                try:
                    self._heed(line, slot, fault)
                finally:
                    await self.writer.release(attempt, fault.billed)
                raise
            except (Refusal, Closed):
                await self.writer.release(attempt, 0.0)
                raise
            await self.writer.commit(answer, item.contents[index], attempt)
            self._tell(line, answer)
            billed = answer.usage.prompt_tokens + answer.usage.completion_tokens if answer.usage else None
            return answer
        finally:
            line.pace.leave(slot, answered=answer is not None, tokens=billed)

    def _heed(self, line: Line, slot: Any, fault: Fault) -> None:
        """What a fault says about the whole endpoint: slow down, wait for it to come back, or give it up."""
        if fault.kind == "rate_limited":
            line.pace.refused(slot, fault.wait)
        elif fault.nobody_there and line.answered:
            now = asyncio.get_running_loop().time()
            line.down_since = line.down_since or now
            if now - line.down_since > OUTAGE:
                raise Closed(f"nobody there for {OUTAGE:.0f} s: {fault.said}", _AGAIN)
            fault.patient = True
            line.pace.away(min(10.0, 0.5 + (now - line.down_since) / 2))

    def _tell(self, line: Line, answer: Answer) -> None:
        for change in answer.adapted:
            note = f"{line.endpoint.label} was asked {change}: it does not take that parameter"
            if note not in self.status.notes:
                self.status.notes.append(note)


_UP = "check that the server is up, then run the same command again"
_AGAIN = "run the same command again: it asks only for what is missing"


class _Tries:
    """When tenacity stops, how long it waits. Refusals for the rate and outages wait in the pace and do not count."""

    def __init__(self) -> None:
        self.failures = 0

    def enough(self, state: tenacity.RetryCallState) -> bool:
        fault = _fault(state)
        if fault.patient:
            return False
        self.failures += 1
        return self.failures >= (TRIES_OF_NOBODY if fault.nobody_there else TRIES)

    def wait(self, state: tenacity.RetryCallState) -> float:
        fault = _fault(state)
        if fault.patient:
            return 0.0
        backoff: float = min(SLOWEST, FIRST_WAIT * 2**self.failures)
        return max(fault.wait, random.uniform(0.5, 1.0) * backoff)


def _fault(state: tenacity.RetryCallState) -> Fault:
    fault = state.outcome.exception() if state.outcome else None
    assert isinstance(fault, Fault)  # nothing else is tried again
    return fault


def _batches(source: Iterator[Request]) -> Iterator[list[Request]]:
    while batch := list(islice(source, AT_A_TIME)):
        yield batch
