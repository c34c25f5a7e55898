"""What a model is to evalkit: something that continues prompts."""

from collections.abc import Sequence
from typing import Protocol

from evalkit.records import Record


class Generated(Record):
    """One continuation. `text` ends before the stop string; `tokens` counts what was generated up to there
    (None: the endpoint did not say)."""

    text: str
    finish_reason: str
    """`stop` (end-of-text or a stop string) or `length`."""
    tokens: int | None
    seconds: float
    """Wall time until this one was finished."""
    error: str = ""
    """Why there is no answer (the prompt is too long, the endpoint gave up); then the text says nothing."""


class Model(Protocol):
    """Continues prompts, n times each."""

    @property
    def name(self) -> str: ...

    def complete(
        self,
        prompts: Sequence[str],
        *,
        n: int = 1,
        max_new_tokens: int = 128,
        temperature: float = 0.0,
        seed: int = 0,
        stop: Sequence[str] = (),
    ) -> list[list[Generated]]:
        """`n` continuations of each prompt, in order. Temperature 0 is greedy. What was drawn for one prompt does not
        depend on the prompts beside it. Raises ModelError or EndpointError where no answer at all can be had."""
        ...


def cut_at_stop(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """The text before the first stop string, and whether one was found."""
    cuts = [at for mark in stop if (at := text.find(mark)) >= 0]
    return (text[: min(cuts)], True) if cuts else (text, False)
