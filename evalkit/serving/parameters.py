"""Reads the parameters of a request. What is not understood is refused by name, never passed over in silence."""

import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evalkit.serving.names import CHAT, COMPLETIONS, LIMITS, check_names
from evalkit.serving.refusals import Refusal, invalid, unknown

MOST_STOPS, LONGEST_STOP = 64, 1024
MOST_CHOICES = 4096
"""Continuations of one request."""
SHORT = 16
"""Tokens of a completion where the request names no number: OpenAI's default."""
WIDEST = 1 << 63


@dataclass(frozen=True)
class Sampling:
    """How prompts are continued."""

    n: int = 1
    max_tokens: int | None = None
    """None: to the end of the context."""
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    """How many of the likeliest tokens stand beside each one's logprob; None for no logprobs."""
    prompt_logprobs: int | None = None
    """The same for the tokens of the prompt; -1 for the whole vocabulary."""
    echo: bool = False

    @property
    def scored(self) -> int | None:
        """How many of the likeliest tokens are kept for each place of the prompt; None where it is not scored."""
        asked = [k for k in (self.prompt_logprobs, self.logprobs if self.echo else None) if k is not None]
        return None if not asked else (-1 if -1 in asked else max(asked))


def read_sampling(body: Mapping[str, Any], *, chat: bool) -> Sampling:
    """Raises Refusal where a value cannot be."""
    check_names(body, CHAT if chat else COMPLETIONS)
    if not isinstance(body.get("user") or "", str):
        raise invalid("user", "a text")
    return Sampling(
        n=whole(body, "n", 1, MOST_CHOICES) or 1,
        max_tokens=_limit(body, chat),
        temperature=_number(body, "temperature", 1.0, math.inf),
        top_p=_number(body, "top_p", 1.0, 1.0),
        seed=whole(body, "seed", -WIDEST, WIDEST - 1),
        stop=_stops(body.get("stop")),
        logprobs=_chat_logprobs(body) if chat else whole(body, "logprobs", 0, WIDEST),
        prompt_logprobs=whole(body, "prompt_logprobs", -1, WIDEST),
        echo=flag(body, "echo"),
    )


def fresh_seed() -> int:
    """For a request that names none."""
    return secrets.randbits(63)


def whole(body: Mapping[str, Any], name: str, least: int, most: int) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if type(value) is not int or not least <= value <= most:
        raise invalid(name, f"a whole number from {least} on" + (f", {most} at most" if most < WIDEST - 1 else ""))
    return value


def flag(body: Mapping[str, Any], name: str) -> bool:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise invalid(name, "true or false")
    return bool(value)


def streamed(body: Mapping[str, Any]) -> tuple[bool, bool]:
    """Whether the answer is streamed, and whether its usage is told at the end."""
    stream, options = flag(body, "stream"), body.get("stream_options")
    if options is None:
        return stream, False
    if not stream:
        raise invalid("stream_options", "only with stream")
    if not isinstance(options, Mapping):
        raise invalid("stream_options", "an object")
    for name, value in options.items():
        if name != "include_usage" and not (name == "include_obfuscation" and value in (None, False)):
            raise unknown(f"stream_options.{name}")
    return stream, flag(options, "include_usage")


def _number(body: Mapping[str, Any], name: str, default: float, most: float) -> float:
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise invalid(name, "a number from 0 on" + (f", {most:g} at most" if most < math.inf else ""))
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise invalid(name, "a finite number")
    return number


def _limit(body: Mapping[str, Any], chat: bool) -> int | None:
    least = 1 if chat else 0
    found = {name: limit for name in LIMITS if (limit := whole(body, name, least, WIDEST)) is not None}
    if len(set(found.values())) > 1:
        raise invalid("max_completion_tokens", "differs from max_tokens")
    return next(iter(found.values()), None if chat else SHORT)


def _chat_logprobs(body: Mapping[str, Any]) -> int | None:
    wanted, top = flag(body, "logprobs"), whole(body, "top_logprobs", 0, WIDEST)
    if top is not None and not wanted:
        raise invalid("top_logprobs", "only with logprobs: true")
    return (top or 0) if wanted else None


def _stops(value: Any) -> tuple[str, ...]:
    stops = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or len(stops) > MOST_STOPS:
        raise invalid("stop", f"a text or a list of at most {MOST_STOPS} texts")
    for stop in stops:
        if not isinstance(stop, str) or not 0 < len(stop) <= LONGEST_STOP:
            raise invalid("stop", f"each a text of 1 to {LONGEST_STOP} characters")
    return tuple(stops)


def read_model(body: Any, name: str) -> dict[str, Any]:
    """The body as an object that asks for the served model."""
    if not isinstance(body, dict):
        raise Refusal(400, "the body is no JSON object")
    asked = body.get("model")
    if not isinstance(asked, str) or not asked:
        raise invalid("model", f"name the model; this server has {name!r}")
    if asked != name:
        said = f"no such model: {asked[:200]!r}; this server has {name!r}"
        raise Refusal(404, said, param="model", code="model_not_found")
    return body
