"""How the built-in server misbehaves on request: slow, rate-limited, broken, dishonest. For tests of clients."""

import asyncio
import random
import time
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

SHARES = (
    "rate_limited",
    "server_error",
    "malformed",
    "empty",
    "disconnect",
    "truncation",
    "wrong_finish",
)
"""Faults by the share of requests that meet them, at most one each."""


class Disconnect(Response):
    """Sends half of a reply, then the connection breaks."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"application/json"), (b"content-length", b"4096")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"id": "half', "more_body": True})
        raise ConnectionResetError("a fault that was asked for")


@dataclass
class Faults:
    """Shares of requests that meet each fault; `latency` is the mean of an exponential distribution, in seconds.

    `truncation` cuts the answer in half and says so, `wrong_finish` cuts it and says that it is whole. `storm`: for so
    many seconds after the first request every one is refused for its rate.
    """

    latency: float = 0.0
    rate_limited: float = 0.0
    retry_after: float = 0.05
    server_error: float = 0.0
    malformed: float = 0.0
    empty: float = 0.0
    disconnect: float = 0.0
    truncation: float = 0.0
    wrong_finish: float = 0.0
    storm: float = 0.0
    seed: int = 0
    requests: int = 0
    """Requests seen so far."""
    met: dict[str, int] = field(default_factory=dict)
    """Faults so far, by name."""
    _random: random.Random = field(default_factory=random.Random, repr=False)
    _first: float | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    async def strike(self) -> str | None:
        """Wait as asked; the fault that this request meets, or None."""
        self.requests += 1
        self._first = self._first or time.monotonic()
        if self.storm and time.monotonic() - self._first < self.storm:
            return self._count("rate_limited")
        if self.latency:
            await asyncio.sleep(self._random.expovariate(1 / self.latency))
        draw = self._random.random()
        for name in SHARES:
            share = getattr(self, name)
            if draw < share:
                return self._count(name)
            draw -= share
        return None

    def _count(self, name: str) -> str:
        self.met[name] = self.met.get(name, 0) + 1
        return name

    def response(self, name: str) -> Response | None:
        """What a fault answers instead; None where it spoils the answer (see `spoil`)."""
        if name == "rate_limited":
            headers = {"retry-after": str(self.retry_after)}
            return JSONResponse({"error": {"message": "slow down"}}, status_code=429, headers=headers)
        if name == "server_error":
            return JSONResponse({"error": {"message": "overloaded"}}, status_code=503)
        if name == "malformed":
            return Response('{"choices": [', media_type="application/json")
        if name == "empty":
            return JSONResponse({"id": "x", "object": "chat.completion", "choices": []})
        return Disconnect() if name == "disconnect" else None


def spoil(reply: dict[str, Any], name: str | None) -> dict[str, Any]:
    """A reply cut in half, with the finish reason that belongs to it or with one that does not."""
    if name not in ("truncation", "wrong_finish"):
        return reply
    choice = reply["choices"][0]
    said = choice["message"]["content"]
    message = {**choice["message"], "content": said[: len(said) // 2]}
    finish = "length" if name == "truncation" else "stop"
    return {**reply, "choices": [{**choice, "message": message, "finish_reason": finish}]}
