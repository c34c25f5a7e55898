"""Requests and answers."""

from typing import Any

from pydantic import Field

from evalkit.records import Record, digest


class Request(Record):
    """One question: chat messages, or a prompt for the completions route, with its sampling parameters."""

    id: str
    messages: tuple[dict[str, str], ...] = ()
    prompt: str | None = None
    sample_index: int = 0
    params: dict[str, Any] = Field(default_factory=dict)

    def key(self, model: str) -> str:
        """Identity in the journal: model, messages, parameters and sample index; not the request's own id."""
        return digest([model, list(self.messages), self.prompt, self.params, self.sample_index])


class Usage(Record):
    """Tokens as billed: hidden reasoning is part of the completion, cached input part of the prompt."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    cached_tokens: int = 0


class Answer(Record):
    """What an endpoint said, with what it cost. `key` is its identity in the journal."""

    key: str
    text: str
    finish_reason: str
    usage: Usage
    cost_usd: float | None
    latency: float
    request_id: str = ""
    logprobs: Any = None
    from_journal: bool = False
