"""Reads what an OpenAI-compatible endpoint replied: text, finish reason, usage, logprobs; one reading for both routes
and for batches."""

from collections.abc import Mapping
from typing import Any

from evalkit.endpoint.answer import Answer, TokenLogprobs, Usage
from evalkit.endpoint.config import Endpoint


class NoAnswer(Exception):
    """A reply that holds no answer. `usage` is what it was billed for all the same, where it says."""

    def __init__(self, kind: str, usage: Usage | None = None) -> None:
        super().__init__(kind)
        self.kind, self.usage = kind, usage


def read_reply(reply: Any, key: str, endpoint: Endpoint, latency: float, *, batch: bool = False) -> Answer:
    """The answer in the parsed JSON of a reply. Raises NoAnswer where it has no choice, or another form."""
    if not isinstance(reply, Mapping):
        raise NoAnswer("malformed")
    usage = read_usage(reply.get("usage"))
    choices = reply.get("choices")
    if not choices:
        raise NoAnswer("empty", usage)
    try:
        choice = choices[0]
        said = choice["message"].get("content") if endpoint.route == "chat" else choice["text"]
        finish = choice.get("finish_reason") or "unknown"
        if said is None and (finish != "stop" or choice["message"].get("refusal")):
            said = ""  # refused, cut off while it thought, or calling tools: billed, and asking again would be too
            finish = "refusal" if finish == "stop" else finish
        logprobs = read_logprobs(choice.get("logprobs"), endpoint.tokenizer or endpoint.model)
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise NoAnswer("malformed", usage) from error
    if not isinstance(said, str):
        raise NoAnswer("empty", usage)
    return Answer(
        key=key,
        text=said,
        finish_reason=finish,
        usage=usage,
        cost_usd=cost(endpoint, usage, batch=batch),
        latency=latency,
        model=endpoint.model,
        endpoint=endpoint.label,
        request_id=str(reply.get("id") or ""),
        logprobs=logprobs,
    )


def cost(endpoint: Endpoint, usage: Usage | None, *, batch: bool = False) -> float | None:
    """Dollars; None where the price or the usage is unknown."""
    price = endpoint.prices
    if price is None or usage is None:
        return None
    dollars = price.of(usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens)
    return dollars * (endpoint.batch_discount if batch else 1.0)


def read_usage(usage: Any) -> Usage | None:
    """Usage as billed; None where the reply has none, or none that can be read."""
    try:
        return Usage(
            prompt_tokens=usage["prompt_tokens"],
            completion_tokens=usage.get("completion_tokens") or 0,
            reasoning_tokens=(usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0,
            cached_tokens=(usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0,
        )
    except (LookupError, TypeError, AttributeError, ValueError):
        return None


def read_logprobs(found: Any, tokenizer: str) -> TokenLogprobs | None:
    """Both forms: the chat route's list of tokens, the completions route's parallel lists."""
    if not found:
        return None
    if content := found.get("content"):
        return TokenLogprobs(
            tokenizer=tokenizer,
            tokens=tuple(_text(place) for place in content),
            logprobs=tuple(place["logprob"] for place in content),
            top=tuple(tuple((_text(o), o["logprob"]) for o in place.get("top_logprobs") or ()) for place in content),
        )
    if found.get("tokens"):
        # An echoed prompt's first token has no probability: nothing stands before it.
        pairs = [(t, p) for t, p in zip(found["tokens"], found["token_logprobs"], strict=True) if p is not None]
        tops = (found.get("top_logprobs") or [])[-len(pairs) :] if pairs else []
        return TokenLogprobs(
            tokenizer=tokenizer,
            tokens=tuple(token for token, _ in pairs),
            logprobs=tuple(value for _, value in pairs),
            top=tuple(tuple((top or {}).items()) for top in tops),
        )
    return None


def _text(place: Mapping[str, Any]) -> str:
    """A token's text; where it is part of a character, its bytes say more than the replacement sign in its text."""
    if (raw := place.get("bytes")) is not None:
        try:
            return bytes(raw).decode()
        except UnicodeDecodeError:
            return "".join(f"\\x{byte:02x}" for byte in raw)
    return str(place["token"])
