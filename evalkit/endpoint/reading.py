"""Reads what an OpenAI-compatible endpoint replied: text, finish reason, usage, logprobs; one reading for both routes
and for batches."""

import math
from collections.abc import Mapping
from typing import Any

from evalkit.endpoint.answer import Answer, TokenLogprobs, Usage
from evalkit.endpoint.config import Endpoint

MOST_TOKENS = 1 << 40
"""A usage beyond this is none."""
LEAST_LOGPROB = -9999.0


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
        if said is None and (finish not in ("stop", "unknown") or choice["message"].get("refusal")):
            said = ""  # refused, cut off while it thought, or calling tools: billed, and asking again would be too
            finish = "refusal" if finish in ("stop", "unknown") else finish
        logprobs = read_logprobs(choice.get("logprobs"), endpoint.tokenizer or endpoint.model)
        if not isinstance(said, str):
            raise NoAnswer("empty", usage)
        return Answer(
            key=key,
            text=storable(said),
            finish_reason=storable(str(finish)),
            usage=usage,
            cost_usd=cost(endpoint, usage, batch=batch),
            latency=latency,
            model=endpoint.model,
            endpoint=endpoint.label,
            request_id=storable(str(reply.get("id") or "")),
            logprobs=logprobs,
            scored=read_scored(choice.get("prompt_logprobs")),
        )
    except (LookupError, TypeError, AttributeError, ValueError, OverflowError, RecursionError) as error:
        raise NoAnswer("malformed", usage) from error


def storable(text: str) -> str:
    """Text without halves of surrogate pairs, which no file and no database takes."""
    return text.encode("utf-8", "replace").decode() if not text.isascii() else text


def cost(endpoint: Endpoint, usage: Usage | None, *, batch: bool = False) -> float | None:
    """Dollars; None where the price or the usage is unknown."""
    price = endpoint.prices
    if price is None or usage is None:
        return None
    dollars = price.of(usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens)
    return dollars * (endpoint.batch_discount if batch else 1.0)


def read_usage(usage: Any) -> Usage | None:
    """Usage as billed; None where the reply has none, or none that can be read.

    Some providers leave hidden reasoning out of `completion_tokens`; the total has it.
    """
    try:
        prompt, completion, total = (usage.get(n) for n in ("prompt_tokens", "completion_tokens", "total_tokens"))
        if total is not None:
            completion = max(completion or 0, total - prompt)
        if completion is None or not 0 <= prompt + completion < MOST_TOKENS:
            return None
        return Usage(
            prompt_tokens=prompt,
            completion_tokens=completion,
            reasoning_tokens=(usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0,
            cached_tokens=(usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0,
        )
    except (LookupError, TypeError, AttributeError, ValueError, OverflowError):
        return None


def read_logprobs(found: Any, tokenizer: str) -> TokenLogprobs | None:
    """Both forms: the chat route's list of tokens, the completions route's parallel lists. None where there are none,
    or one is no number."""
    if not found:
        return None
    read = _read_logprobs(found, tokenizer)
    every = (*read.logprobs, *(p for place in read.top for _, p in place)) if read else ()
    return None if not all(map(math.isfinite, every)) else read


def _read_logprobs(found: Any, tokenizer: str) -> TokenLogprobs | None:
    if content := found.get("content"):
        return TokenLogprobs(
            tokenizer=tokenizer,
            tokens=tuple(_text(place) for place in content),
            logprobs=tuple(_finite(place["logprob"]) for place in content),
            top=tuple(tuple((_text(o), _finite(o["logprob"])) for o in p.get("top_logprobs") or ()) for p in content),
        )
    if found.get("tokens"):
        # An echoed prompt's first token has no probability: nothing stands before it.
        pairs = [(t, p) for t, p in zip(found["tokens"], found["token_logprobs"], strict=True) if p is not None]
        tops = (found.get("top_logprobs") or [])[-len(pairs) :] if pairs else []
        return TokenLogprobs(
            tokenizer=tokenizer,
            tokens=tuple(storable(token) for token, _ in pairs),
            logprobs=tuple(_finite(value) for _, value in pairs),
            top=tuple(tuple((storable(t), _finite(p)) for t, p in (top or {}).items()) for top in tops),
        )
    return None


def read_scored(found: Any) -> tuple[tuple[tuple[int, float], ...], ...]:
    """vLLM's `prompt_logprobs`: nothing for the first token, then ids at each. Empty where it is absent."""
    if not found:
        return ()
    places = (((int(i), _finite(entry["logprob"])) for i, entry in place.items()) for place in found[1:])
    return tuple(tuple(sorted(place, key=lambda pair: (-pair[1], pair[0]))) for place in places)


def _text(place: Mapping[str, Any]) -> str:
    """A token's text; where it is part of a character, its bytes say more than the replacement sign in its text."""
    if (raw := place.get("bytes")) is not None:
        try:
            return bytes(raw).decode()
        except UnicodeDecodeError:
            return "".join(f"\\x{byte:02x}" for byte in raw)
    return storable(str(place["token"]))


def _finite(logprob: float) -> float:
    """JSON has no infinity: what cannot be is as good as impossible."""
    return max(float(logprob), LEAST_LOGPROB)
