"""A real server on loopback that speaks the OpenAI interface, counts what it answered and misbehaves as told."""

import asyncio
import socket
import threading
import time
from collections import Counter
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from synth.teacher.batches import BatchApi

MODEL = "echo"


class Server:
    """Answers `answer to X` to X. `failing` maps a text to responses that come before the answer."""

    def __init__(self) -> None:
        self.answered: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.seen_headers: list[dict[str, str]] = []
        self.arrivals: list[float] = []
        self.failing: dict[str, list[Response]] = {}
        self.storm_until = 0.0
        self.delay = 0.0
        self.refused = 0
        self.models = [MODEL]
        self.refuses: dict[str, str] = {}
        """Parameters that are not taken, and the message that says so."""
        self.headers: dict[str, str] = {}
        self.usage: dict[str, Any] | None = {"prompt_tokens": 10, "completion_tokens": 100, "total_tokens": 110}
        self.choice: dict[str, Any] = {}
        """Laid over each choice."""
        self.raw: bytes | None = None
        """Sent instead of any answer."""
        self.batches = Batches(self)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.start()

    def start(self) -> None:
        routes = [
            Route("/v1/chat/completions", self.chat, methods=["POST"]),
            Route("/v1/completions", self.completions, methods=["POST"]),
            *self.batches.routes,
        ]
        config = uvicorn.Config(Starlette(routes=routes), host="127.0.0.1", port=self.port, log_level="critical")
        self.uvicorn = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.uvicorn.run, daemon=True)
        self.thread.start()
        while not self.uvicorn.started:
            time.sleep(0.01)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def chat(self, request: HttpRequest) -> Response:
        self.seen_headers.append(dict(request.headers))
        return await self.answer(await request.json(), chat=True)

    async def completions(self, request: HttpRequest) -> Response:
        return await self.answer(await request.json(), chat=False)

    async def answer(self, body: dict[str, Any], *, chat: bool) -> Response:
        text = body["messages"][-1]["content"] if chat else body["prompt"]
        self.bodies.append(body)
        self.arrivals.append(time.monotonic())
        if self.delay:
            await asyncio.sleep(self.delay)
        if time.monotonic() < self.storm_until:
            self.refused += 1
            return JSONResponse({"error": {"message": "slow down"}}, 429, headers={"retry-after": "0.1"})
        if faults := self.failing.get(text):
            return faults.pop()
        if self.raw is not None:
            return Response(self.raw, media_type="application/json")
        status, reply = self.reply(body, chat=chat)
        return JSONResponse(reply, status, headers=self.headers)

    def reply(self, body: dict[str, Any], *, chat: bool) -> tuple[int, dict[str, Any]]:
        """Status and JSON, also of a row of a batch."""
        text = body["messages"][-1]["content"] if chat else body["prompt"]
        if body["model"] not in self.models:
            return 404, {"error": {"message": "no such model"}}
        for name, message in self.refuses.items():
            if name in body:
                return 400, {"error": {"message": message, "param": name, "code": "unsupported_parameter"}}
        self.answered[text] += 1
        said = f"answer to {text}"
        form = {"message": {"role": "assistant", "content": said}} if chat else {"text": said}
        choice = {"index": 0, **form, "finish_reason": "stop", **self.choice}
        facts = {"id": "r", "object": "chat.completion", "created": 0, "model": body["model"], "choices": [choice]}
        return 200, facts | ({"usage": self.usage} if self.usage else {})

    def stop(self) -> None:
        self.uvicorn.should_exit = True
        self.thread.join(5)


class Batches(BatchApi):
    """The Batch API with faults."""

    def __init__(self, server: Server) -> None:
        self.failing: Counter[str] = Counter()
        """Texts that fail with 500 so many times."""
        self.expiring = 0
        """So many rows of the next batch get no answer."""
        self.invalid = ""
        """Why the next batch is refused as a whole."""
        self.forgetful = False
        """Whether the first file of answers is gone."""
        self.server = server
        super().__init__(self.one, seconds=0.1)

    def one(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        text = body["messages"][-1]["content"]
        if self.failing[text] > 0:
            self.failing[text] -= 1
            return 500, {"error": {"message": "busy"}}
        return self.server.reply(body, chat=True)

    def run(self, batch: dict[str, Any], rows: list[dict[str, Any]]) -> None:
        if self.invalid:
            errors = {"object": "list", "data": [{"message": self.invalid, "code": "x"}]}
            batch |= {"status": "failed", "errors": errors}
            return
        super().run(batch, rows[self.expiring :])
        if self.expiring:
            batch["status"], self.expiring = "expired", 0

    async def content(self, request: HttpRequest) -> Response:
        if self.forgetful:
            self.forgetful = False
            return JSONResponse({"error": {"message": "no such file"}}, 404)
        return await super().content(request)
