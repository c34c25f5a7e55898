"""Which parameters a route follows, and which values of others ask for nothing. The rest is refused by name."""

from collections.abc import Mapping
from typing import Any

from evalkit.serving.refusals import unknown, unsupported

COMMON = ("model", "stream", "stream_options", "n", "seed", "temperature", "top_p", "stop", "logprobs", "user")
LIMITS = ("max_tokens", "max_completion_tokens")
COMPLETIONS = frozenset({*COMMON, *LIMITS, "prompt", "echo", "prompt_logprobs"})
CHAT = frozenset({*COMMON, *LIMITS, "messages", "top_logprobs"})

NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "repetition_penalty": (1,),
    "logit_bias": ({},),
    "best_of": (1,),
    "suffix": ("",),
    "tools": ([],),
    "tool_choice": ("none",),
    "functions": ([],),
    "function_call": ("none",),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "metadata": ({},),
    "store": (False,),
    "service_tier": ("auto", "default"),
    "top_k": (0, -1),
    "min_p": (0,),
    "min_tokens": (0,),
    "ignore_eos": (False,),
    "prompt_logprobs": (),
    "echo": (False,),
    "top_logprobs": (),
    "parallel_tool_calls": (),
    "reasoning_effort": (),
    "prediction": (),
    "audio": (),
    "verbosity": (),
    "web_search_options": (),
}
"""Known elsewhere and without effect here: the values that ask for nothing, which are let through. So is null."""


def check_names(body: Mapping[str, Any], known: frozenset[str]) -> None:
    """Refuses every key that this route does not follow, unless its value asks for nothing."""
    for name, value in body.items():
        if name in known or value is None:
            continue
        if name not in NEUTRAL:
            raise unknown(name)
        if not any(
            value == neutral and isinstance(value, bool) == isinstance(neutral, bool) for neutral in NEUTRAL[name]
        ):
            raise unsupported(name)
