"""The routes: /v1/chat/completions, /v1/completions, /v1/models, /health."""

import asyncio
import json
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from evalkit.serving.answers import Events, collect
from evalkit.serving.engine import Engine
from evalkit.serving.plan import plan
from evalkit.serving.refusals import Refusal
from evalkit.serving.replies import Replies

MOST_BYTES = 1 << 24
"""Of a request's body."""
CLOSED = Response(status_code=499)
"""Goes to nobody: the client is gone."""


def create_app(engine: Engine, name: str) -> Starlette:
    """The application. Its life is that of the model's thread."""
    intake = ThreadPoolExecutor(1, thread_name_prefix="intake")

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        engine.start(asyncio.get_running_loop())
        yield
        await asyncio.to_thread(engine.join, 10.0)
        intake.shutdown(wait=False, cancel_futures=True)

    async def answer(request: Request, *, chat: bool) -> Response:
        try:
            raw = await _body(request)
        except ClientDisconnect:
            return CLOSED
        loop = asyncio.get_running_loop()
        asked = await loop.run_in_executor(intake, lambda: plan(_parse(raw), engine, name, chat=chat))
        replies = Replies(asked, name, engine.vocabulary)
        asked.submit(engine)
        if asked.ticket.stream:
            return Events(asked, replies)
        deltas = await collect(request, asked)
        if deltas is None:
            return CLOSED
        return Response(await asyncio.to_thread(replies.whole, deltas), media_type="application/json")

    async def chat(request: Request) -> Response:
        return await answer(request, chat=True)

    async def completions(request: Request) -> Response:
        return await answer(request, chat=False)

    async def models(_: Request) -> Response:
        model = {"id": name, "object": "model", "created": 0, "owned_by": "potstill", "max_model_len": engine.room}
        return JSONResponse({"object": "list", "data": [model]})

    async def health(_: Request) -> Response:
        status = "ok" if engine.alive else "ending"
        return JSONResponse({"status": status, "model": name, **engine.load}, 200 if engine.alive else 503)

    return Starlette(
        routes=[
            Route("/v1/chat/completions", chat, methods=["POST"]),
            Route("/v1/completions", completions, methods=["POST"]),
            Route("/v1/models", models),
            Route("/health", health),
        ],
        lifespan=lifespan,
        exception_handlers={Refusal: _refused, HTTPException: _no_route, Exception: _bug},
    )


async def _body(request: Request) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MOST_BYTES:
            raise Refusal(413, f"the body has more than {MOST_BYTES >> 20} MiB")
        parts.append(part)
    return b"".join(parts)


def _parse(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, f"the body is no JSON: {error}", code="invalid_json") from error


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return JSONResponse(error.body, error.status)


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    refusal = Refusal(error.status_code, f"{request.method} {request.url.path}: {error.detail}")
    return JSONResponse(refusal.body, error.status_code, headers=error.headers)


async def _bug(_: Request, __: Exception) -> Response:
    return JSONResponse(Refusal(500, "the server has a bug; its log says where").body, 500)
