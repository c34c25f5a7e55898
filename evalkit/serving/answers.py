"""Waits for an answer, whole or as it comes. Who goes away meanwhile leaves no row behind."""

import asyncio
import json
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from evalkit.serving.continuation import Delta
from evalkit.serving.plan import Plan
from evalkit.serving.refusals import Refusal
from evalkit.serving.replies import Replies


class Events(StreamingResponse):
    """A streamed answer. However it ends, its rows are free."""

    def __init__(self, asked: Plan, replies: Replies) -> None:
        self.asked = asked
        super().__init__(_events(asked, replies), media_type="text/event-stream", headers={"cache-control": "no-cache"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.asked.ticket.cancel()


async def _events(asked: Plan, replies: Replies) -> AsyncIterator[str]:
    """Server-sent events: chunks as they come, then the usage if it was asked for, then `[DONE]`."""
    begun: set[int] = set()
    tokens, open_choices = 0, asked.choices
    if asked.chat:
        for index in range(asked.choices):
            delta = {"role": "assistant", "content": ""}
            yield replies.chunk([{"index": index, "delta": delta, "logprobs": None, "finish_reason": None}])
    try:
        while open_choices:
            new = await asked.ticket.next()
            yield replies.chunk([replies.choice(new, first=new.index not in begun)])
            begun.add(new.index)
            if new.finish:
                open_choices, tokens = open_choices - 1, tokens + new.count
    except Refusal as refusal:
        yield f"data: {json.dumps(refusal.body)}\n\n"
        return
    if asked.usage:
        yield replies.chunk([], replies.usage(tokens))
    yield "data: [DONE]\n\n"


async def collect(request: Request, asked: Plan) -> list[Delta] | None:
    """The last delta of every choice; None where the client went away before. Raises Refusal."""

    async def gather() -> list[Delta]:
        return [await asked.ticket.next() for _ in range(asked.choices)]

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    news, away = asyncio.create_task(gather()), asyncio.create_task(gone())
    try:
        await asyncio.wait({news, away}, return_when=asyncio.FIRST_COMPLETED)
        return await news if news.done() else None
    finally:
        asked.ticket.cancel()
        news.cancel()
        away.cancel()
