"""Requests and answers."""

import hashlib
import json
from typing import Any

from pydantic import Field

from evalkit.records import Record


class Request(Record):
    """One question: chat messages, or a prompt for the completions route, with its sampling parameters."""

    id: str
    messages: tuple[dict[str, str], ...] = ()
    prompt: str | tuple[int, ...] | None = None
    """Text, or token ids where the completions route is to be read by another tokenizer than the server's own."""
    sample_index: int = 0
    params: dict[str, Any] = Field(default_factory=dict)
    first: str = ""
    """Label of the endpoint that is to be asked first, of several; a follow-up goes to who answered before."""

    def content(self, model: str, params: dict[str, Any]) -> str:
        """What identifies it, as canonical JSON: model, messages, parameters and sample index; not its own id."""
        facts = {
            "model": model,
            "messages": self.messages,
            "prompt": self.prompt,
            "params": {**params, **self.params},
            "sample_index": self.sample_index,
        }
        return json.dumps(facts, sort_keys=True, separators=(",", ":"))


def key_of(content: str) -> str:
    """Identity in the journal: SHA-256 of a request's content, first 32 hex digits."""
    return hashlib.sha256(content.encode()).hexdigest()[:32]


class Usage(Record):
    """Tokens as billed: hidden reasoning is part of the completion, cached input part of the prompt."""

    prompt_tokens: int = Field(default=0, ge=0)
    completion_tokens: int = Field(default=0, ge=0)
    reasoning_tokens: int = Field(default=0, ge=0)
    cached_tokens: int = Field(default=0, ge=0)


class TokenLogprobs(Record):
    """Log-probabilities (natural) of the words that were said: what logit distillation can learn from.

    `top[i]` are the most likely tokens at place `i` with theirs. Ids are those of `tokenizer`; served endpoints name
    tokens by their text, so a student of another tokenizer cannot use them.
    """

    tokenizer: str
    tokens: tuple[str, ...]
    logprobs: tuple[float, ...]
    top: tuple[tuple[tuple[str, float], ...], ...] = ()


class Answer(Record):
    """What an endpoint said, with what it cost. `key` is its identity in the journal."""

    key: str
    text: str
    finish_reason: str
    usage: Usage | None
    """None where the endpoint did not say."""
    cost_usd: float | None
    """Dollars; None where the price or the usage is unknown."""
    latency: float
    """Seconds from sending to the last byte; of the whole batch in batch mode."""
    model: str = ""
    endpoint: str = ""
    request_id: str = ""
    logprobs: TokenLogprobs | None = None
    scored: tuple[tuple[tuple[int, float], ...], ...] = ()
    """What the server thought of the prompt, where it was asked for `prompt_logprobs` (vLLM's form): for each token
    after the first, the likeliest ids there and the token's own, likeliest first, with natural log-probabilities."""
    adapted: tuple[str, ...] = ()
    """Parameters that the endpoint would not take, and what was done: what was asked is not quite what was sent."""
    from_journal: bool = False
