"""Ask by the OpenAI Batch API: one file of requests, answers within a day, mostly at half the price.

1. collect    batches that an earlier process submitted are found again and waited for, never submitted twice
2. note       a batch stands in the journal, each of its requests reserved at its worst case, before it is created
3. submit     the file is uploaded, the batch is created under the name that the journal knows it by
4. wait       until it has ended, however long that takes; a kill loses nothing
5. settle     answers are made durable; what failed or expired goes into the next round, or to the next endpoint
"""

import asyncio
import fcntl
import json
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import tenacity

from evalkit.endpoint.answer import Answer, Request
from evalkit.endpoint.batch_rows import portions, read_rows
from evalkit.endpoint.config import Endpoint
from evalkit.endpoint.intake import Intake, Item, OnResult, Status, check_prices
from evalkit.endpoint.journal import Journal, serialised
from evalkit.endpoint.line import Line
from evalkit.endpoint.reading import NoAnswer, cost, read_reply
from evalkit.errors import ConfigError, EndpointError, NotServed, OverBudget
from evalkit.records import digest

ROUNDS = 4
"""Batches that a request may stand in before it counts as failed."""
ENDED = ("completed", "failed", "expired", "cancelled")
TAG = "potstill"
"""Key of a batch's metadata under which it carries our name for it."""
SLOWEST_POLL = 30.0
"""Seconds between two looks at a batch."""


def batch_each(
    endpoints: Endpoint | Sequence[Endpoint],
    journal: Journal,
    requests: Iterable[Request],
    on_result: OnResult,
    *,
    transport: Any = None,
    max_usd: float | None = None,
    status: Status | None = None,
) -> Status:
    """As `ask_each`, by batches. Raises EndpointError where an endpoint has no Batch API, or refuses the batch."""
    endpoints = [endpoints] if isinstance(endpoints, Endpoint) else list(endpoints)
    check_prices(endpoints, max_usd)
    status = status or Status()
    run = _Run(endpoints, journal, transport, max_usd, Intake(endpoints, journal, status, on_result))
    with _alone(journal):
        asyncio.run(run.all(list(requests)))
    return status


@dataclass
class _Batch:
    """One that was submitted: our name, the endpoint's id, and the attempts in it by the key of their request."""

    id: str
    line: Line
    remote: str | None
    attempts: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Key to the attempt's number and the request's content."""


class _Run:
    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        journal: Journal,
        transport: Any,
        max_usd: float | None,
        intake: Intake,
    ) -> None:
        self.endpoints, self.journal, self.transport, self.max_usd = endpoints, journal, transport, max_usd
        self.intake, self.status = intake, intake.status
        self.failed: dict[str, EndpointError] = {}
        """Why a request could not be answered last, by its key."""

    async def all(self, requests: Sequence[Request]) -> None:
        self.lines = self.intake.open_lines(self.transport, self.max_usd)
        try:
            await self._collect(await self._found_again())
            items = self.intake.look_up(requests)
            for _ in range(ROUNDS):
                items = await self._round(items)
                if not items:
                    return
        finally:
            for line in self.lines:
                await line.aclose()
        for item in items:
            error = next((self.failed[key] for key in item.keys if key in self.failed), None)
            self.intake.finish(item, error or EndpointError(f"in no answer of {ROUNDS} batches"))

    async def _round(self, items: Sequence[Item]) -> list[Item]:
        """Submit, wait, settle; the items that have no answer yet."""
        by_line: dict[int, list[Item]] = defaultdict(list)
        for item in items:
            by_line[item.order[0]].append(item)
        batches = []
        for index, mine in by_line.items():
            for part in portions(mine, index):
                if batch := self._note(part, index):
                    await self._submit(batch, {item.keys[index]: item for item in part})
                    batches.append(batch)
        await self._collect(batches)
        known = self.journal.find({key for item in items for key in item.keys})
        left = []
        for item in items:
            key = item.keys[item.order[0]]
            if key in known:
                self.intake.finish(item, known[key].model_copy(update={"from_journal": False}))
            elif isinstance(error := self.failed.get(key), OverBudget):
                self.intake.finish(item, error)
            else:
                left.append(self._next(item, refused=isinstance(error, _Refused)))
        return [item for item in left if item is not None]

    def _next(self, item: Item, *, refused: bool) -> Item | None:
        """The item for another round: to the next endpoint where this one refused it; None where that was the last."""
        if refused:
            error = self.failed[item.keys[item.order.pop(0)]]
            if not item.order:
                self.intake.finish(item, error)
                return None
            self.status.stats["fell_back"] += 1
        return item

    def _note(self, items: Sequence[Item], index: int) -> _Batch | None:
        """Write a batch and the worst case of each request into the journal; None where the budget has no room."""
        line = self.lines[index]
        batch = _Batch(uuid.uuid4().hex, line, None)
        with self.journal.write() as transaction:
            for item in items:
                key, content = item.keys[index], item.contents[index]
                worst = line.worst(item.request)
                worst = None if worst is None else worst * line.endpoint.batch_discount
                attempt = transaction.reserve(key, worst, self.max_usd, batch.id, content)
                if attempt is None:
                    said = f"not sent: it could exceed the budget of ${self.max_usd:g}"
                    self.failed[key] = OverBudget(said, where=line.endpoint.base_url)
                else:
                    batch.attempts[key] = attempt, content
            if batch.attempts:
                values = (batch.id, _address(line.endpoint), None)
                transaction.db.execute("INSERT INTO batches VALUES (?, ?, ?)", values)
        return batch if batch.attempts else None

    async def _submit(self, batch: _Batch, items: Mapping[str, Item]) -> None:
        line = batch.line
        route = "/v1/chat/completions" if line.endpoint.route == "chat" else "/v1/completions"
        rows = []
        for key in batch.attempts:
            body = line.body(items[key].request)[0]
            rows.append(json.dumps({"custom_id": key, "method": "POST", "url": route, "body": body}))
        data = ("\n".join(rows) + "\n").encode()
        upload = (f"{batch.id}.jsonl", data)
        try:
            file = await self._call(line, lambda: line.client.files.create(file=upload, purpose="batch"))
        except EndpointError:
            self._forget(batch)
            raise
        try:
            created = await self._create(batch, file.id, route)
        except _NotTaken:
            self._forget(batch)
            raise
        self._store(batch, created.id)
        self.status.stats["batches"] += 1
        self.status.stats["sent"] += len(rows)

    async def _create(self, batch: _Batch, file: str, route: Any) -> Any:
        """Create the batch, once: where an answer was lost on its way, it is looked for before it is created again."""

        async def create() -> Any:
            if found := await self._remote(batch.line, batch.id):
                return found
            return await batch.line.client.batches.create(
                input_file_id=file, endpoint=route, completion_window="24h", metadata={TAG: batch.id}
            )

        return await self._call(batch.line, create)

    async def _remote(self, line: Line, id: str) -> Any:
        """The endpoint's batch that carries our name, or None."""
        async for found in line.client.batches.list(limit=100):
            if (found.metadata or {}).get(TAG) == id:
                return found
        return None

    def _store(self, batch: _Batch, remote: str) -> None:
        batch.remote = remote
        with self.journal.write() as transaction:
            changed = transaction.db.execute("UPDATE batches SET remote = ? WHERE id = ?", (remote, batch.id)).rowcount
        if changed != 1:
            raise AssertionError(f"batch {remote} has no row in the journal")

    async def _found_again(self) -> list[_Batch]:
        """Batches of an earlier process. One that was noted and never created is forgotten: it cost nothing."""
        batches = []
        for id, address, remote in self.journal.rows("SELECT id, endpoint, remote FROM batches"):
            line = next((line for line in self.lines if _address(line.endpoint) == address), None)
            if line is None:
                self.status.notes.append(
                    f"a batch at {address} is not waited for: the recipe names that teacher no more"
                )
                continue
            batch = _Batch(id, line, remote)
            rows = "SELECT id, key, request FROM attempts JOIN batched ON batched.attempt = id WHERE batch = ?"
            for number, key, content in self.journal.rows(rows, (id,)):
                batch.attempts[key] = number, content
            if remote is None:
                found = await self._call(line, lambda line=line, id=id: self._remote(line, id))
                if found is None:
                    self._forget(batch)
                    continue
                self._store(batch, found.id)
            batches.append(batch)
        return batches

    async def _collect(self, batches: Sequence[_Batch]) -> None:
        await asyncio.gather(*(self._wait(batch) for batch in batches))

    async def _wait(self, batch: _Batch) -> None:
        """Until it has ended; then its answers are made durable."""
        start, pause = time.monotonic(), 0.25
        line, remote = batch.line, batch.remote or ""
        while True:
            now = await self._call(line, lambda: self._retrieve(line, remote))
            if now is None:
                self._lose(batch)
                return
            counts = now.request_counts
            done = f"{counts.completed + counts.failed} of {counts.total}" if counts else "no counts"
            line.pace.why = f"batch {remote}: {now.status}, {done}"
            if now.status in ENDED:
                break
            await asyncio.sleep(pause)
            pause = min(SLOWEST_POLL, pause * 1.5)
        rows: dict[str, Any] = {}
        for file in (now.output_file_id, now.error_file_id):
            if file:
                content = await self._call(line, lambda file=file: self._content(line, file))
                if content is None:
                    self._lose(batch)
                    return
                rows |= {row["custom_id"]: row for row in read_rows(content.content)}
        self._settle(batch, rows, time.monotonic() - start)
        if now.status == "failed" and not rows:
            said = "; ".join(error.message or "" for error in (now.errors.data or [])) if now.errors else ""
            raise EndpointError(f"the batch was refused: {said or 'no reason given'}", where=line.endpoint.base_url)

    async def _retrieve(self, line: Line, remote: str) -> Any:
        """The batch as it stands; None where the endpoint knows it no more."""
        import openai

        try:
            return await line.client.batches.retrieve(remote)
        except openai.NotFoundError:
            return None

    async def _content(self, line: Line, file: str) -> Any:
        """A file of answers; None where the endpoint has thrown it away."""
        import openai

        try:
            return await line.client.files.content(file)
        except openai.NotFoundError:
            return None

    def _lose(self, batch: _Batch) -> None:
        """A batch that the endpoint has forgotten: whether it was billed is unknown, so it stays at its worst case."""
        self.status.notes.append(
            f"{batch.line.endpoint.label} knows batch {batch.remote} no more: its {len(batch.attempts)} requests are"
            " asked again, and stay charged at their worst case"
        )
        with self.journal.write() as transaction:
            transaction.db.execute("DELETE FROM batched WHERE batch = ?", (batch.id,))
            transaction.db.execute("DELETE FROM batches WHERE id = ?", (batch.id,))

    def _settle(self, batch: _Batch, rows: Mapping[str, Any], seconds: float = 0.0) -> None:
        """Answers and failures of an ended batch, in one transaction; the batch is gone from the journal by its end."""
        with self.journal.write() as transaction:
            for key, (attempt, content) in batch.attempts.items():
                result, billed = self._read(batch.line, key, content, rows.get(key), seconds)
                if isinstance(result, Answer):
                    transaction.commit(result, serialised(result), content, attempt)
                    batch.line.answered += 1
                else:
                    self.failed[key] = result
                    transaction.release(attempt, billed)
            transaction.db.execute("DELETE FROM batched WHERE batch = ?", (batch.id,))
            transaction.db.execute("DELETE FROM batches WHERE id = ?", (batch.id,))

    def _forget(self, batch: _Batch) -> None:
        """A batch that was never created: nothing of it was billed."""
        with self.journal.write() as transaction:
            for attempt, _ in batch.attempts.values():
                transaction.release(attempt, 0.0)
            transaction.db.execute("DELETE FROM batched WHERE batch = ?", (batch.id,))
            transaction.db.execute("DELETE FROM batches WHERE id = ?", (batch.id,))

    def _read(
        self, line: Line, key: str, content: str, row: Any, seconds: float
    ) -> tuple[Answer, None] | tuple[EndpointError, float | None]:
        """One row of an output or error file, and what it cost if it holds no answer (None: who knows). No row: it
        expired, or the batch was cancelled before its turn."""
        where = line.endpoint.base_url
        if row is None:
            self.status.stats["expired"] += 1
            return EndpointError("the batch ended before its turn", where=where), 0.0
        response = row.get("response") or {}
        code, body = response.get("status_code"), response.get("body")
        if code == 200:
            try:
                return read_reply(body, key, line.endpoint, seconds, batch=True), None
            except NoAnswer as error:
                self.status.stats[error.kind] += 1
                return EndpointError(f"{error.kind} reply", where=where), cost(line.endpoint, error.usage, batch=True)
        said = json.dumps(row.get("error") or body)[:200]
        if code in (400, 422) and line.dialect.learn(body, json.loads(content)["params"]):
            return EndpointError(f"HTTP {code}: {said}", where=where), 0.0  # the next round speaks as it wants
        self.status.stats["refused" if code and 400 <= code < 500 and code != 429 else "server_error"] += 1
        kind = _Refused if code and 400 <= code < 500 and code != 429 else EndpointError
        return kind(f"HTTP {code}: {said}", where=where), 0.0

    async def _call(self, line: Line, call: Any) -> Any:
        """One call of the API, tried again while the server is away or busy."""
        import openai

        passing = (openai.APIConnectionError, openai.RateLimitError, openai.InternalServerError)
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(passing),
            wait=tenacity.wait_random_exponential(multiplier=0.5, max=30),
            stop=tenacity.stop_after_attempt(8),
            reraise=True,
        )
        try:
            async for attempt in retrying:
                with attempt:
                    return await call()
        except openai.OpenAIError as error:
            refused = isinstance(error, openai.APIStatusError) and error.status_code < 500
            first = not len(self.journal) and not self.status.stats["batches"]
            kind = (_NotServed if first else _NotTaken) if refused else NotServed if first else EndpointError
            fix = "run the same command again: what was submitted is waited for"
            if refused:
                fix = "does this endpoint have a Batch API? Without --batch it is asked one by one"
            raise kind(f"batch: {line.say(error)}", where=line.endpoint.base_url, fix=fix) from None


class _NotTaken(EndpointError):
    """The endpoint has refused a call: what it asked for does not exist."""


class _NotServed(_NotTaken, NotServed):
    """The same, where nothing has ever come from that address."""


class _Refused(EndpointError):
    """This endpoint will not take the request in any batch."""


def _address(endpoint: Endpoint) -> str:
    """What a batch of it is known by after a restart: also what is asked and how it is named."""
    return f"{endpoint.label} ({digest([endpoint.model, endpoint.base_url, endpoint.route, endpoint.params])})"


@contextmanager
def _alone(journal: Journal) -> Iterator[None]:
    """One process submits batches with a journal at a time: another would take what is being submitted for lost."""
    with open(f"{journal.path}.batches", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            said = "another process submits batches with this journal"
            raise ConfigError(said, where=str(journal.path), fix="wait for it") from error
        yield
