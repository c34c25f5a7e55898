"""A loopback server for bench/teacher.py: answers after a latency, or with faults, as cheaply as uvicorn can.

    python bench/workers/teacher_server.py PORT [--latency 0.05] [--faults 0.3] [--storm 0]

Faults are a third each of 429 (Retry-After 0.05, at once), 503 (at once), and replies that come after the latency and
are torn, empty or cut off by a closed connection. GET /stats tells what was counted.
"""

import argparse
import asyncio
import json
import random
import time
from collections import Counter
from typing import Any

import uvicorn

RETRY_AFTER = 0.05
TEXT = "def f(x):\n    return x\n" * 40
REPLY = json.dumps(
    {
        "id": "r",
        "object": "chat.completion",
        "created": 0,
        "model": "echo",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 250, "completion_tokens": 240, "total_tokens": 490},
    }
).encode()
EMPTY = b'{"id": "x", "object": "chat.completion", "created": 0, "model": "echo", "choices": []}'


class App:
    def __init__(self, latency: float, faults: float, storm: float) -> None:
        self.latency, self.faults, self.storm = latency, faults, storm
        self.random = random.Random(0)
        self.counts: Counter[str] = Counter()
        self.refused_at: list[float] = []
        self.first = 0.0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        while (await receive()).get("more_body"):
            pass
        if scope["path"] == "/stats":
            counts = {**self.counts, "enforced_waits": union(self.refused_at, RETRY_AFTER)}
            await self.say(send, 200, json.dumps(counts).encode())
            return
        now = time.monotonic()
        self.first = self.first or now
        draw = self.random.random()
        if now - self.first < self.storm or draw < self.faults / 3:
            self.counts["rate_limited"] += 1
            self.refused_at.append(now)
            await self.say(send, 429, b'{"error": {"message": "slow down"}}', (b"retry-after", b"%.2f" % RETRY_AFTER))
        elif draw < 2 * self.faults / 3:
            self.counts["server_error"] += 1
            await self.say(send, 503, b'{"error": {"message": "busy"}}')
        else:
            await asyncio.sleep(self.latency)
            if draw >= self.faults:
                self.counts["answered"] += 1
                await self.say(send, 200, REPLY)
            else:
                await self.broken(send)

    async def broken(self, send: Any) -> None:
        kind = self.random.choice(("torn", "empty", "closed"))
        self.counts[kind] += 1
        if kind == "closed":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4096")]})
            await send({"type": "http.response.body", "body": REPLY[:100], "more_body": True})
            raise ConnectionResetError
        await self.say(send, 200, REPLY[:100] if kind == "torn" else EMPTY)

    async def say(self, send: Any, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
        fixed = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": [*fixed, *headers]})
        await send({"type": "http.response.body", "body": body})


def union(starts: list[float], length: float) -> float:
    """Seconds covered by intervals of one length."""
    covered, end = 0.0, float("-inf")
    for start in starts:
        covered += length - max(0.0, end - start)
        end = start + length
    return covered


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A loopback server that answers slowly, or not.")
    parser.add_argument("port", type=int)
    parser.add_argument("--latency", type=float, default=0.05)
    parser.add_argument("--faults", type=float, default=0.0)
    parser.add_argument("--storm", type=float, default=0.0)
    asked = parser.parse_args()
    app = App(asked.latency, asked.faults, asked.storm)
    uvicorn.run(app, host="127.0.0.1", port=asked.port, log_level="critical", lifespan="off")
