"""One endpoint: sends a request through the `openai` package and says what came of it, in the few words that matter.

an answer    the parsed JSON of the reply
Fault        worth another try: rate_limited, timeout, disconnect, server_error, malformed, empty
Refusal      this request can never succeed (too long, a parameter out of range)
Closed       no request here can: a bad key, an unknown model, no credit, nobody there
"""

import asyncio
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from evalkit.endpoint.answer import Answer, Request
from evalkit.endpoint.config import Endpoint
from evalkit.endpoint.dialect import Dialect
from evalkit.endpoint.pace import Pace, retry_after
from evalkit.endpoint.reading import NoAnswer, cost, read_reply

if TYPE_CHECKING:
    import openai

DEFAULT_MAX_TOKENS = 4096
"""Worst case of a request that names no limit, where tokens are reserved."""
LIMITS = ("max_tokens", "max_completion_tokens")
REFUSALS = 20
"""Refused requests in a row, and not one answered, from which an endpoint is closed: it is the form that it refuses."""
GATEWAY = (408, 502, 504, 520, 521, 522, 523, 524)
"""Statuses of a gateway that gave up on the model behind it, which may have answered and billed."""
OPENAI = "api.openai.com"
ELSEWHERE = ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS", "OPENAI_ADMIN_KEY")
"""Variables that are for that address only."""
_BYTES = ("utf-8", "surrogatepass")
_FIX = {401: "check {key}", 403: "check the rights of {key}", 404: "check base_url and model", 402: "add credit"}
_NO_CREDIT = ("insufficient_quota", "billing_hard_limit_reached", "insufficient_balance", "credit_balance_too_low")


class Fault(Exception):
    """Worth another try, in `wait` seconds at the earliest. `billed`: dollars that it cost all the same; None where
    nobody knows."""

    def __init__(self, kind: str, said: str = "", *, wait: float = 0.0, billed: float | None = 0.0) -> None:
        super().__init__(said or kind)
        self.kind, self.said, self.wait, self.billed = kind, said or "no choices in the reply", wait, billed
        self.nobody_there = False
        """No connection came about."""
        self.patient = kind == "rate_limited"
        """Whether waiting for it to pass counts as no failure."""


class Refusal(Exception):
    """The endpoint will not take this request, whenever it is sent."""


class Closed(Exception):
    """Nothing sent to this endpoint can succeed."""

    def __init__(self, what: str, fix: str = "") -> None:
        super().__init__(what)
        self.what, self.fix = what, fix


class Line:
    """A connection to one endpoint, with its pace and its dialect. Made inside the event loop, closed by `aclose`."""

    def __init__(
        self, endpoint: Endpoint, transport: Any = None, *, bounded: bool = False, known: bool = False
    ) -> None:
        """`bounded`: under a budget, where a request that names no limit gets one. `known`: the journal holds answers
        already, so key and model were right once."""
        import openai

        self.bounded, self.known = bounded, known
        self.endpoint = endpoint
        self.pace = Pace(
            endpoint.max_concurrency, requests=endpoint.requests_per_minute, tokens=endpoint.tokens_per_minute
        )
        self.dialect = Dialect()
        self.price = endpoint.prices
        self.answered = self.refused = 0
        """Answers, and refusals since the last of them."""
        self.closed: Closed | None = None
        self.down_since: float | None = None
        """Event-loop time since which nobody is there; None while somebody is."""
        self._secret = endpoint.key()
        with _hidden(() if (urlsplit(endpoint.base_url).hostname == OPENAI) else ELSEWHERE):
            self.client = openai.AsyncOpenAI(
                base_url=endpoint.base_url,
                api_key=self._secret,
                max_retries=0,
                http_client=_http(endpoint, transport),
            )

    async def aclose(self) -> None:
        await self.client.close()

    def params(self, request: Request) -> dict[str, Any]:
        """What is asked for; under a budget with a limit of tokens, whoever named one or not."""
        params = {
            name: value for name, value in {**self.endpoint.params, **request.params}.items() if value is not None
        }
        if self.bounded and not any(name in params for name in LIMITS):
            params["max_tokens"] = DEFAULT_MAX_TOKENS
        return params

    def most(self, params: Mapping[str, Any]) -> int:
        """Tokens that may be answered: of several limits the highest, times the choices asked for."""
        limits = [int(params[name]) for name in LIMITS if name in params]
        choices = max(int(params.get("n", 1)), int(params.get("best_of", 1)))
        return max(limits, default=DEFAULT_MAX_TOKENS) * choices

    def say(self, error: BaseException | str) -> str:
        """What a server or a library said, on one line and without the key: some servers echo it."""
        text = " ".join(str(error).split()) or type(error).__name__
        return (text.replace(self._secret, "***") if len(self._secret) > 4 else text)[:200]

    def prompt(self, request: Request) -> str | tuple[int, ...]:
        """What the completions route is sent: the prompt, or the messages one below the other."""
        return request.prompt if request.prompt is not None else "\n\n".join(m["content"] for m in request.messages)

    def body(self, request: Request) -> tuple[dict[str, Any], tuple[str, ...]]:
        """What is sent, in the endpoint's dialect, and what was changed for it."""
        params, adapted = self.dialect.speak(self.params(request))
        if self.endpoint.route == "chat":
            return {"model": self.endpoint.model, "messages": request.messages, **params}, adapted
        return {"model": self.endpoint.model, "prompt": self.prompt(request), **params}, adapted

    def worst(self, request: Request) -> float | None:
        """Dollars that a request can cost (None: unknown): every byte of the prompt a token (no byte-level tokenizer
        makes more of it), every token that may be answered."""
        prompt = sum(len(m["content"].encode(*_BYTES)) + 16 for m in request.messages)
        given = request.prompt or ""
        prompt += len(given.encode(*_BYTES)) if isinstance(given, str) else len(given)
        params = self.params(request)
        prompt += len(json.dumps(params))  # schemas and tools are read by the model, too
        return None if self.price is None else self.price.of(prompt, self.most(params))

    def likely_tokens(self, request: Request) -> int:
        """Tokens that a window is asked for before the endpoint says what it took: as providers estimate them."""
        params = self.params(request)
        most = self.most(params)
        given = request.prompt or ""
        prompt = len(given) // 4 if isinstance(given, str) else len(given)
        return sum(len(m["content"]) // 4 + 8 for m in request.messages) + prompt + most

    async def send(self, key: str, request: Request) -> Answer:
        """One request, one reply. Raises Fault, Refusal or Closed."""
        import openai

        while True:
            body, adapted = self.body(request)
            start = time.perf_counter()
            # What the library raises may quote the key back: it ends here, and only what it said goes on.
            problem: Exception
            try:
                async with asyncio.timeout(self.endpoint.timeout):  # the transport's own is for each read
                    reply = await self._post(body)
                return self._read(reply, key, time.perf_counter() - start, adapted)
            except openai.APIStatusError as error:
                self.down_since = None
                if error.status_code in (400, 422) and self.dialect.learn(error.body, body):
                    continue  # an endpoint bills no refusal, and the next request knows
                problem = self._status(error)
            except openai.APIConnectionError as error:
                problem = self._broken(error)
            except TimeoutError:
                problem = Fault("timeout", f"no answer in {self.endpoint.timeout:g} s", billed=None)
            except openai.APIError as error:
                problem = Fault("malformed", self.say(error), billed=None)
            raise problem

    async def _post(self, body: dict[str, Any]) -> Any:
        """The raw reply. `client.post` sends the body as it is: `chat.completions.create` would check each part of it
        against its types and build a model of the reply, half of all the CPU of a request."""
        import httpx2

        route = "/chat/completions" if self.endpoint.route == "chat" else "/completions"
        return await self.client.post(route, cast_to=httpx2.Response, body=body)

    def _read(self, reply: Any, key: str, latency: float, adapted: tuple[str, ...]) -> Answer:
        self.down_since = None
        self.pace.heard(reply.headers)
        try:
            answer = read_reply(json.loads(reply.content), key, self.endpoint, latency)
        except NoAnswer as error:
            raise Fault(error.kind, billed=cost(self.endpoint, error.usage)) from None
        except (ValueError, RecursionError) as error:
            raise Fault("malformed", f"not JSON: {self.say(error)}", billed=None) from None
        self.answered += 1
        self.refused = 0
        return answer.model_copy(update={"adapted": adapted}) if adapted else answer

    def _broken(self, error: "openai.APIConnectionError") -> Fault:
        """No whole reply: nobody there (not billed), no answer in time, or a connection that broke (who knows)."""
        import openai

        if _nobody_there(error):
            fault = Fault("disconnect", self.say(error.__cause__ or error))
            fault.nobody_there = True
            return fault
        if isinstance(error, openai.APITimeoutError):
            return Fault("timeout", f"no answer in {self.endpoint.timeout:g} s", billed=None)
        return Fault("disconnect", self.say(error.__cause__ or error), billed=None)

    def _status(self, error: "openai.APIStatusError") -> Exception:
        """What an HTTP error means. Not billed, but for those of a gateway that did not wait for the model."""
        code, said = error.status_code, self.say(error)
        body = error.body if isinstance(error.body, Mapping) else {}
        if body.get("code") in _NO_CREDIT or body.get("type") in _NO_CREDIT:
            return Closed(f"HTTP {code}: {said}", _FIX[402])
        if code == 429:
            return Fault("rate_limited", said, wait=retry_after(error.response.headers))
        if code in (408, 409) or code >= 500:
            wait = min(60.0, retry_after(error.response.headers, 0.0))
            return Fault("server_error", said, wait=wait, billed=None if code in GATEWAY else 0.0)
        fix = _FIX.get(code, "check the parameters").format(key=self.endpoint.api_key_env)
        # Some gateways answer 403 or 404 to one question that they do not like.
        once_right = self.answered or self.known
        if code in (401, 402) or (code in _FIX and not once_right):
            return Closed(f"HTTP {code}: {said}", fix)
        self.refused += 1
        if self.refused >= REFUSALS and not self.answered:
            return Closed(f"HTTP {code} to {self.refused} requests after each other: {said}", fix)
        return Refusal(f"HTTP {code}: {said}")


def _http(endpoint: Endpoint, transport: Any) -> Any:
    """The HTTP client: over aiohttp, at half the CPU of the default transport, unless a transport is given."""
    import httpx2
    from openai import DefaultAioHttpClient

    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=endpoint.max_concurrency)
    if transport is not None:
        return httpx2.AsyncClient(transport=transport, timeout=endpoint.timeout, limits=limits)
    timeout = httpx2.Timeout(endpoint.timeout, connect=min(30.0, endpoint.timeout))
    return DefaultAioHttpClient(timeout=timeout, limits=limits)


def _nobody_there(error: BaseException | None) -> bool:
    """Whether no connection came about at all. (The aiohttp transport calls a refused one a timeout of connecting.)"""
    import httpx2

    while error is not None:
        if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def _hidden(names: Sequence[str]) -> Iterator[None]:
    """Variables of the environment that the openai package must not see: it would send them to any address."""
    kept = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)
