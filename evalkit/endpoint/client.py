"""Ask an endpoint many questions: what the journal knows is not asked again, what is rate-limited waits, never drops.

1. look up     answers in the journal cost nothing
2. reserve     the worst case is noted before a request is sent; `max_usd` is never exceeded
3. send        at an adaptive pace; 429 waits as long as it takes, other faults are tried a few times
4. commit      an answer is durable before it is handed on, and settles its reservation
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from evalkit.endpoint.answer import Answer, Request, Usage
from evalkit.endpoint.config import Endpoint
from evalkit.endpoint.journal import Journal
from evalkit.endpoint.pace import Pace
from evalkit.errors import ConfigError, EndpointError, NotServed, OverBudget

if TYPE_CHECKING:
    import openai

Stats = Counter[str]
"""Counts by what happened: sent, answered, from_journal, rate_limited, timeout, disconnect, server_error, empty."""
OnAnswer = Callable[[Answer | EndpointError, Stats], None]

TRIES = 5
"""Attempts at one request, those refused for their rate not counted."""
DEFAULT_MAX_TOKENS = 4096
"""Worst case of a request that names no limit, when money is reserved."""


def ask_many(
    endpoint: Endpoint,
    journal: Journal,
    requests: Sequence[Request],
    *,
    transport: Any = None,
    max_usd: float | None = None,
    on_answer: OnAnswer | None = None,
) -> dict[str, Answer | EndpointError]:
    """Answers by request id, in the order of the requests; an EndpointError where one could not be had.

    `transport` replaces the network (an in-process ASGI application). Raises EndpointError at once where nothing could
    ever succeed (bad key, unknown model, nobody there), ConfigError where a budget meets an unknown price.
    """
    if max_usd is not None and endpoint.price(1, 1) is None:
        raise ConfigError(f"the price of {endpoint.model} is unknown, so a budget cannot be held", where="max_usd")
    keys = {request.id: request.key(endpoint.model) for request in requests}
    known = journal.find(set(keys.values()))
    results: dict[str, Answer | EndpointError] = {}
    fresh: dict[str, Request] = {}
    stats: Stats = Counter()
    for request in requests:
        key = keys[request.id]
        if key in known:
            results[request.id] = known[key]
            stats["from_journal"] += 1
            if on_answer:
                on_answer(known[key], stats)
        else:
            fresh.setdefault(key, request)
    if fresh:
        run = _Run(endpoint, journal, transport, max_usd, stats, on_answer)
        answered = asyncio.run(run.all(fresh))
        results |= {id: answered[key] for id, key in keys.items() if key in answered}
    return {request.id: results[request.id] for request in requests}


class _Run:
    def __init__(
        self,
        endpoint: Endpoint,
        journal: Journal,
        transport: Any,
        max_usd: float | None,
        stats: Stats,
        on_answer: OnAnswer | None,
    ) -> None:
        self.endpoint, self.journal, self.transport = endpoint, journal, transport
        self.max_usd, self.stats, self.on_answer = max_usd, stats, on_answer
        self.committed = journal.spent()
        """Dollars spent and reserved."""
        self.results: dict[str, Answer | EndpointError] = {}

    async def all(self, requests: Mapping[str, Request]) -> dict[str, Answer | EndpointError]:
        import httpx2
        import openai

        self.pace = Pace(self.endpoint.max_concurrency)
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=self.endpoint.max_concurrency)
        http = httpx2.AsyncClient(transport=self.transport, timeout=self.endpoint.timeout, limits=limits)
        client = openai.AsyncOpenAI(
            base_url=self.endpoint.base_url, api_key=self.endpoint.key(), max_retries=0, http_client=http
        )
        source = iter(requests.items())
        async with client:
            workers = [asyncio.create_task(self._worker(client, source)) for _ in range(self.endpoint.max_concurrency)]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
        return self.results

    async def _worker(self, client: "openai.AsyncOpenAI", source: Iterable[tuple[str, Request]]) -> None:
        for key, request in source:
            try:
                result: Answer | EndpointError = await self._answer(client, key, request)
            except _Fatal as fatal:
                kind = EndpointError if self.stats["answered"] else NotServed
                raise kind(str(fatal), where=self.endpoint.base_url, fix=fatal.fix) from fatal.__cause__
            except EndpointError as error:
                result = error
            self.results[key] = result
            if self.on_answer:
                self.on_answer(result, self.stats)

    async def _answer(self, client: "openai.AsyncOpenAI", key: str, request: Request) -> Answer:
        worst = self._reserve(key, request)
        failures = 0
        while True:
            await self.pace.enter()
            answered = False
            start = time.perf_counter()
            try:
                self.stats["sent"] += 1
                answer = await self._send(client, key, request, start)
                answered = True
            except _Again as again:
                self.stats[again.kind] += 1
                if again.kind == "rate_limited":
                    self.pace.refused(again.wait)
                else:
                    failures += 1
                    if failures >= TRIES:
                        raise again.error(self) from again.__cause__
            finally:
                await self.pace.leave(answered=answered)
            if answered:
                self.journal.commit([answer])
                self.committed += (answer.cost_usd or 0.0) - worst
                self.stats["answered"] += 1
                return answer
            if failures:
                await asyncio.sleep(min(0.1 * 2**failures, 5.0))

    def _reserve(self, key: str, request: Request) -> float:
        """Note the worst case: every character a token, every token that may be answered. Only under a budget."""
        if self.max_usd is None:
            return 0.0
        characters = sum(len(message["content"]) + 16 for message in request.messages) + len(request.prompt or "")
        most = int(
            request.params.get("max_tokens") or request.params.get("max_completion_tokens") or DEFAULT_MAX_TOKENS
        )
        worst = self.endpoint.price(characters, most) or 0.0
        if self.committed + worst > self.max_usd:
            self.stats["over_budget"] += 1
            raise OverBudget(f"not sent: it could exceed the budget of ${self.max_usd}", where=self.endpoint.base_url)
        self.committed += worst
        self.journal.reserve({key: worst})
        return worst

    async def _send(self, client: "openai.AsyncOpenAI", key: str, request: Request, start: float) -> Answer:
        import openai

        try:
            if self.endpoint.route == "chat":
                reply: Any = await client.chat.completions.create(
                    model=self.endpoint.model,
                    messages=_untyped(request.messages),
                    **request.params,
                )
            else:
                reply = await client.completions.create(
                    model=self.endpoint.model, prompt=request.prompt or "", **request.params
                )
            return self._read(reply, key, time.perf_counter() - start)
        except openai.RateLimitError as error:
            raise _Again("rate_limited", _retry_after(error)) from error
        except openai.APITimeoutError as error:
            raise _Again("timeout") from error
        except openai.APIConnectionError as error:
            raise _Again("disconnect") from error
        except openai.InternalServerError as error:
            raise _Again("server_error") from error
        except openai.APIStatusError as error:
            fix = {401: f"check {self.endpoint.api_key_env}", 403: "check the key's rights", 404: "check url and model"}
            raise _Fatal(f"HTTP {error.status_code}: {_say(error)}", fix.get(error.status_code, "")) from error
        except (openai.APIError, ValueError, TypeError, AttributeError, LookupError) as error:
            raise _Again("malformed") from error

    def _read(self, reply: Any, key: str, latency: float) -> Answer:
        if not getattr(reply, "choices", None):
            raise _Again("empty")
        choice, usage = reply.choices[0], reply.usage
        text = choice.message.content if self.endpoint.route == "chat" else choice.text
        if not isinstance(text, str):
            raise _Again("empty")
        details = getattr(usage, "completion_tokens_details", None)
        cached = getattr(getattr(usage, "prompt_tokens_details", None), "cached_tokens", None)
        tokens = Usage(
            prompt_tokens=usage.prompt_tokens if usage else 0,
            completion_tokens=usage.completion_tokens if usage else 0,
            reasoning_tokens=getattr(details, "reasoning_tokens", None) or 0,
            cached_tokens=cached or 0,
        )
        cost = self.endpoint.price(tokens.prompt_tokens, tokens.completion_tokens) if usage else None
        logprobs = choice.logprobs.model_dump() if getattr(choice, "logprobs", None) else None
        return Answer(
            key=key,
            text=text,
            finish_reason=choice.finish_reason or "unknown",
            usage=tokens,
            cost_usd=cost,
            latency=latency,
            request_id=reply.id or "",
            logprobs=logprobs,
        )


class _Again(Exception):
    """Worth another try."""

    def __init__(self, kind: str, wait: float = 0.0) -> None:
        super().__init__(kind)
        self.kind, self.wait = kind, wait

    def error(self, run: _Run) -> EndpointError:
        said = _say(self.__cause__) if self.__cause__ else "no choices in the reply"
        kind = EndpointError if run.stats["answered"] or not _refused(self.__cause__) else NotServed
        return kind(
            f"no answer after {TRIES} tries ({self.kind}: {said})",
            where=run.endpoint.base_url,
            fix="check that the server is up, then run the same command again",
        )


def _refused(error: BaseException | None) -> bool:
    """Whether no connection came about at all."""
    import httpx2

    while error is not None:
        if isinstance(error, httpx2.ConnectError):
            return True
        error = error.__cause__ or error.__context__
    return False


class _Fatal(Exception):
    """Nothing sent to this endpoint can succeed."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what)
        self.fix = fix


def _untyped(messages: Sequence[dict[str, str]]) -> Any:
    """The openai package types messages by role; ours are checked by the endpoint."""
    return list(messages)


def _retry_after(error: "openai.RateLimitError") -> float:
    try:
        return max(0.0, float(error.response.headers.get("retry-after", "1")))
    except ValueError:
        return 1.0


def _say(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
