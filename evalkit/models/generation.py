"""Continues many prompts at once: left-padded batches, a key-value cache, finished rows dropped on the way.

1. prefill      all prompts of a batch in one pass, logits of the last position only
2. step         one token per row; a row ends with end-of-text, a stop string, or its budget
3. compact      rows that ended leave batch and cache once they are a quarter of it

Randomness: each row draws from a stream of its own, seeded by (seed, prompt, sample), and picks by inverse CDF. What
is drawn for one prompt depends neither on its neighbours nor on torch's random state, which is left alone.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from evalkit.models.cached import CachedRows, padding_id
from evalkit.models.protocol import Generated, cut_at_stop
from evalkit.records import digest

BATCH = 64
CHECK_EVERY = 4
"""Tokens between two looks for a stop string: decoding costs more than a few tokens too many."""
TAIL = 16
"""Tokens looked at beside the new ones: no stop string is longer."""


@dataclass
class Row:
    """One continuation under way."""

    prompt: str
    ids: list[int]
    sample: int
    out: list[int] = field(default_factory=list)
    finish: str = ""
    seconds: float = 0.0


def generate(
    model: Any,
    tokenizer: Any,
    rows: Sequence[Row],
    *,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    stop: Sequence[str],
) -> None:
    """Fill `out`, `finish` and `seconds` of every row. The model's mode is restored, also where an error ends this."""
    import torch

    ends = end_ids(model, tokenizer)
    training = model.training
    model.eval()
    ordered = sorted(rows, key=lambda row: len(row.ids))
    try:
        with torch.inference_mode():
            for start in range(0, len(ordered), BATCH):
                batch = _Batch(model, tokenizer, ordered[start : start + BATCH], ends, stop)
                batch.run(max_new_tokens, temperature, seed)
    finally:
        model.train(training)


def end_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Every id that ends a text, by the model's generation settings and by its tokenizer."""
    configured = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    ids = configured if isinstance(configured, list) else [configured]
    return frozenset(id for id in [*ids, tokenizer.eos_token_id] if id is not None)


def context_length(model: Any) -> int | None:
    """Positions the model has; None where its configuration does not say."""
    value = getattr(model.config, "max_position_embeddings", None)
    return value if isinstance(value, int) and value > 0 else None


class _Batch:
    def __init__(self, model: Any, tokenizer: Any, rows: Sequence[Row], ends: frozenset[int], stop: Sequence[str]):
        self.model, self.tokenizer, self.ends, self.stop = model, tokenizer, ends, stop
        self.rows = list(rows)
        self.cached = CachedRows(model, [row.ids for row in rows], padding_id(tokenizer))
        self.start = time.perf_counter()

    def run(self, max_new_tokens: int, temperature: float, seed: int) -> None:
        draws = _draws(self.rows, max_new_tokens, seed) if temperature > 0 else None
        room = context_length(self.model)
        alive = list(range(len(self.rows)))
        for step in range(max_new_tokens):
            logits = self.cached.forward()
            tokens = _pick(logits, temperature, None if draws is None else [draws[i][step] for i in alive])
            last = step + 1 == max_new_tokens
            for i, token in zip(alive, tokens, strict=True):
                self._advance(self.rows[i], token, last, room)
            if (step + 1) % CHECK_EVERY == 0:
                self._look_for_stops([self.rows[i] for i in alive])
            keep = [k for k, i in enumerate(alive) if not self.rows[i].finish]
            if not keep:
                return
            if len(keep) <= 0.75 * len(alive):
                alive = [alive[k] for k in keep]
                tokens = [tokens[k] for k in keep]
                self.cached.select(keep)
            self.cached.append(tokens)

    def _advance(self, row: Row, token: int, last: bool, room: int | None) -> None:
        if row.finish:
            return
        row.seconds = time.perf_counter() - self.start
        if token in self.ends:
            row.finish = "stop"
            return
        row.out.append(token)
        if last or (room is not None and len(row.ids) + len(row.out) >= room):
            row.finish = "length"

    def _look_for_stops(self, rows: Sequence[Row]) -> None:
        open_rows = [row for row in rows if not row.finish]
        if not open_rows or not self.stop:
            return
        tails = [row.out[-(CHECK_EVERY + TAIL) :] for row in open_rows]
        for row, text in zip(open_rows, decode(self.tokenizer, tails), strict=True):
            if cut_at_stop(text, self.stop)[1]:
                row.finish = "stop"


def _draws(rows: Sequence[Row], count: int, seed: int) -> list[Any]:
    """Uniform numbers in [0, 1), one stream per row."""
    return [stream(seed, row.prompt, row.sample).random(count) for row in rows]


def stream(seed: int, prompt: str | list[int], sample: int) -> Any:
    """The numpy generator that one continuation draws from: its own, whatever stands beside it."""
    import numpy as np

    return np.random.default_rng(int(digest([seed, prompt, sample]), 16))


def _pick(logits: Any, temperature: float, draws: list[float] | None) -> list[int]:
    """One token per row: the likeliest, or the one at which the cumulative probability passes the draw."""
    import torch

    if draws is None:
        return logits.argmax(-1).tolist()
    cumulative = torch.softmax(logits.double() / temperature, dim=-1).cumsum(-1)
    targets = torch.tensor(draws, dtype=torch.float64, device=logits.device) * cumulative[:, -1]
    return torch.searchsorted(cumulative, targets.unsqueeze(1), right=True).squeeze(1).tolist()


def decode(tokenizer: Any, sequences: Sequence[list[int]]) -> list[str]:
    return tokenizer.batch_decode(sequences, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def finished(row: Row, text: str, stop: Sequence[str]) -> Generated:
    """The row as an answer, its text cut at the first stop string."""
    kept, cut = cut_at_stop(text, stop)
    return Generated(text=kept, finish_reason="stop" if cut else row.finish, tokens=len(row.out), seconds=row.seconds)
