"""The teacher as an ASGI application behind the OpenAI interface: /v1/chat/completions, files and batches, /v1/models,
/health."""

import hashlib
import time
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from synth.teacher.batches import BatchApi
from synth.teacher.faults import Faults, spoil
from synth.teacher.flaws import answer

MODEL = "potstill-builtin"
CHARACTERS_PER_TOKEN = 4
"""There is no tokenizer here: usage is counted in fours of characters."""


def create_app(*, flaws: float = 0.0, seed: int = 0, faults: Faults | None = None) -> Starlette:
    """The application. `flaws`: share of answers with a planted flaw; `faults`: how the server misbehaves."""
    faults = faults or Faults()

    def respond(body: Any, fault: str | None = None) -> tuple[int, dict[str, Any]]:
        """Status and JSON for the body of a chat request."""
        try:
            asked = [message["content"] for message in body["messages"] if message["role"] == "user"]
            text = asked[0]
            heard = "".join(message["content"] for message in body["messages"])
            if not all(isinstance(said, str) for said in asked):
                raise TypeError
        except (KeyError, IndexError, TypeError):
            return 400, error("messages: a list with a user message whose content is a text")
        if body.get("model") != MODEL:
            return 404, error(f"no such model; this server has {MODEL}")
        said = answer(text, flaws, seed, again=len(asked) > 1)
        if said is None:
            return 400, error("this built-in teacher answers questions with Category, Level and Task number lines only")
        finish = "stop"
        limit = body.get("max_tokens") or body.get("max_completion_tokens")
        if limit and len(said) > limit * CHARACTERS_PER_TOKEN:
            said, finish = said[: limit * CHARACTERS_PER_TOKEN], "length"
        return 200, spoil(reply(heard, said, finish), fault)

    async def chat(request: Request) -> Response:
        fault = await faults.strike()
        if fault is not None and (instead := faults.response(fault)) is not None:
            return instead
        try:
            body = await request.json()
        except ValueError:
            body = None
        status, said = respond(body, fault)
        return JSONResponse(said, status)

    async def models(_: Request) -> Response:
        owner = "potstill (a grammar, not a language model)"
        return JSONResponse({"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": owner}]})

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    return Starlette(
        routes=[
            Route("/v1/chat/completions", chat, methods=["POST"]),
            Route("/v1/models", models),
            Route("/health", health),
            *BatchApi(respond).routes,
        ]
    )


def reply(asked: str, said: str, finish: str) -> dict[str, Any]:
    """A chat completion of one choice."""
    prompt, completion = len(asked) // CHARACTERS_PER_TOKEN, len(said) // CHARACTERS_PER_TOKEN
    return {
        "id": f"chatcmpl-{hashlib.sha256(asked.encode()).hexdigest()[:16]}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": MODEL,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": finish}],
        "usage": {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion},
    }


def error(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error"}}
