"""Scores rows with a teacher on this machine: what its cache keeps of them, as bytes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from distill.batches import Batches
from distill.data import Tokens
from distill.losses import Head
from distill.targets.codec import Form, encode_drawn, encode_top
from distill.targets.drawing import Drawn, Top, draw, top
from distill.trainer import head_of, hidden_states, labelled, targets


@dataclass(frozen=True)
class LocalTeacher:
    """A teacher, and how its answers are kept. `batch_tokens`: padded tokens that it reads at once."""

    model: Any
    pad_id: int
    form: Form
    temperature: float
    seed: int
    batch_tokens: int

    def score(self, rows: Sequence[Tokens]) -> list[bytes]:
        """One record per row, in their order. What is drawn for a row depends on the row and the seed alone."""
        found: dict[int, bytes] = {}
        for members in batched([len(row.input_ids) for row in rows], self.batch_tokens):
            chosen = [rows[i] for i in members]
            for i, record in zip(members, self._records(chosen), strict=True):
                found[i] = record
        return [found[i] for i in range(len(rows))]

    def with_draws(self, draws: int) -> "LocalTeacher":
        return replace(self, form=replace(self.form, draws=draws))

    @torch.no_grad()
    def _records(self, rows: Sequence[Tokens]) -> list[bytes]:
        device = next(self.model.parameters()).device
        batch = Batches(rows, self.pad_id)([{"members": [i]} for i in range(len(rows))])
        where, _, _ = targets(batch["labels"], None)
        hidden = labelled(hidden_states(self.model, {"input_ids": batch["input_ids"].to(device)}), where.to(device))
        head, ends = head_of(self.model), np.cumsum([row.learned for row in rows])[:-1]
        if self.form.width:
            whole = hidden.to("cpu", head.weight.dtype).view(torch.uint8).numpy()
            return [part.tobytes() for part in np.split(whole, ends)]
        head = Head(head.weight.to(hidden.dtype), head.bias, head.softcap)
        if self.form.draws:
            offsets = np.concatenate([uniforms(row, self.seed) for row in rows])
            drawn = draw(hidden, head, self.form.valid, self.temperature, self.form.draws, offsets)
            return [encode_drawn(part, self.form) for part in split_drawn(drawn, ends)]
        likeliest = top(hidden, head, self.form.valid, self.temperature, self.form.k)
        parts = zip(*(np.split(values, ends) for values in likeliest), strict=True)
        return [encode_top(Top(*part), self.form) for part in parts]


def uniforms(row: Tokens, seed: int) -> NDArray[np.float64]:
    """One number in [0, 1) per learned position, from the row's content and the seed."""
    return np.random.Generator(np.random.Philox([seed, int.from_bytes(row.digest[:8], "big")])).random(row.learned)


def split_drawn(drawn: Drawn, ends: Sequence[int] | NDArray[np.int64]) -> Iterator[Drawn]:
    """Cut at positions; the ids go with theirs."""
    uniques = np.split(drawn.uniques, ends)
    cuts = np.cumsum([part.sum() for part in uniques])[:-1]
    parts = (uniques, np.split(drawn.ids, cuts), np.split(drawn.counts, cuts), np.split(drawn.entropy, ends))
    return (Drawn(*part) for part in zip(*parts, strict=True))


def batched(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Indices in batches of similar length, each of at most `tokens` tokens with its padding (or of one row)."""
    batches: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        if not batches or (len(batches[-1]) + 1) * lengths[i] > tokens:
            batches.append([])
        batches[-1].append(i)
    return batches
