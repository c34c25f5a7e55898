"""Endpoints differ in the parameters that they take; their own answers say how, and that is remembered.

Reasoning models want `max_completion_tokens` for `max_tokens` and refuse a temperature; many servers know no JSON
schema. What was changed is counted, shown once and noted in each answer.
"""

import re
from collections.abc import Mapping
from typing import Any

RENAMED = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
DROPPED = (
    "response_format",
    "temperature",
    "top_p",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "top_logprobs",
    "logprobs",
    "reasoning_effort",
    "stop",
)
"""Parameters without which an answer is still an answer. No other is ever left out."""
_UNKNOWN = re.compile(
    r"unsupported|not support|does not accept|unrecognized|unknown|unexpected|extra (inputs|fields)|not permitted"
    r"|not allowed|only the default|incompatible|invalid parameter",
    re.IGNORECASE,
)


class Dialect:
    """What one endpoint has refused so far."""

    def __init__(self) -> None:
        self.changes: dict[str, str | None] = {}
        """Parameter to the name it goes by here, or None where it is left out."""

    def speak(self, params: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
        """The parameters as this endpoint takes them, and what was changed."""
        if not self.changes:
            return dict(params), ()
        spoken, notes = {}, []
        for name, value in params.items():
            to = self.changes.get(name, name)
            if to is not None:
                spoken[to] = value
            if to != name:
                notes.append(f"{name} → {to}" if to else f"without {name}")
        return spoken, tuple(notes)

    def learn(self, body: Any, sent: Mapping[str, Any]) -> str | None:
        """Take a refusal (the body of a 400) as a lesson about one parameter; what changes, or None: none of these."""
        error = body.get("error", body) if isinstance(body, Mapping) else {}
        error = error if isinstance(error, Mapping) else {"message": error}
        message = f"{error.get('message') or error.get('detail') or error}"
        named = error.get("param")
        if (
            isinstance(named, str)
            and named in sent
            and (_UNKNOWN.search(message) or "unsupported" in str(error.get("code")))
        ):
            return self._change(named, message)
        if not _UNKNOWN.search(message):
            return None
        mentioned = (name for name in sent if re.search(rf"\b{re.escape(name)}\b", message))
        return next((change for name in mentioned if (change := self._change(name, message))), None)

    def _change(self, name: str, message: str) -> str | None:
        original = next((old for old, new in self.changes.items() if new == name), name)
        if name in RENAMED and RENAMED[name] in message and original == name:
            self.changes[name] = RENAMED[name]
            return f"{name} → {RENAMED[name]}"
        if name in DROPPED:
            self.changes[name] = None
            if name == "logprobs":
                self.changes["top_logprobs"] = None  # means nothing without it
            return f"without {name}"
        return None
