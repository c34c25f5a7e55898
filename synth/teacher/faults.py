"""How the built-in server misbehaves on request: slow, rate-limited, broken. For tests of clients."""

import asyncio
import random
from dataclasses import dataclass, field

from starlette.responses import JSONResponse, Response


@dataclass
class Faults:
    """Shares of requests that meet each fault; `latency` is the mean of an exponential distribution, in seconds."""

    latency: float = 0.0
    rate_limited: float = 0.0
    retry_after: float = 0.05
    server_error: float = 0.0
    malformed: float = 0.0
    empty: float = 0.0
    seed: int = 0
    requests: int = 0
    """Requests seen so far."""
    _random: random.Random = field(default_factory=random.Random, repr=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    async def strike(self) -> Response | None:
        """Wait as asked; the fault's response, or None where this request is answered."""
        self.requests += 1
        if self.latency:
            await asyncio.sleep(self._random.expovariate(1 / self.latency))
        draw = self._random.random()
        for share, response in (
            (self.rate_limited, self._rate_limited),
            (self.server_error, lambda: JSONResponse({"error": {"message": "overloaded"}}, status_code=503)),
            (self.malformed, lambda: Response('{"choices": [', media_type="application/json")),
            (self.empty, lambda: JSONResponse({"id": "x", "object": "chat.completion", "choices": []})),
        ):
            if draw < share:
                return response()
            draw -= share
        return None

    def _rate_limited(self) -> Response:
        headers = {"retry-after": str(self.retry_after)}
        return JSONResponse({"error": {"message": "slow down"}}, status_code=429, headers=headers)
