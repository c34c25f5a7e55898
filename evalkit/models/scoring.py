"""What a model thinks of tokens that are given: the logprob and rank of each token of a prompt, and the likeliest ones
in its place. Raw distribution (temperature 1), fp32, real ids only, computed over slices of the positions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evalkit.models.cached import CachedRows
from evalkit.models.vocabulary import Vocabulary

SLICE = 1 << 23
"""Logits that exist at once, at most (32 MiB in fp32): rows times columns times vocabulary."""


@dataclass
class Scores:
    """Of one prompt of T tokens, for the tokens behind its first: numpy arrays."""

    logprobs: Any
    """`(T-1,)`, fp32."""
    ranks: Any
    """`(T-1,)`: 1 for the likeliest."""
    top_ids: Any
    """`(T-1, k)`, likeliest first."""
    top_logprobs: Any
    """`(T-1, k)`, fp32."""


def score(
    rows: CachedRows, lengths: Sequence[int], tops: Sequence[int], vocabulary: Vocabulary, *, whole: bool
) -> tuple[list[Scores], Any]:
    """Feeds prompts of these lengths and scores them; row i keeps its `tops[i]` likeliest tokens. Returns the scores
    and the logits of the last position, `(rows, vocabulary)`. `whole`: the model must see all positions at once."""
    columns = rows.ids.shape[1]
    size = len(vocabulary.real)
    width = columns if whole else max(1, SLICE // (len(rows) * size))
    parts: list[list[tuple[Any, ...]]] = [[] for _ in lengths]
    k = min(max(tops), size)
    last = None
    for start, raw in rows.slices(width):
        logits = vocabulary.masked(raw)
        last = logits[:, -1]
        targets = rows.ids[:, start + 1 : start + 1 + logits.shape[1]]
        for i, part in enumerate(_judge(logits[:, : targets.shape[1]].log_softmax(-1), targets, k)):
            first = max(0, columns - lengths[i] - start)
            parts[i].append(tuple(values[first:] for values in part))
    return [_joined(part, top) for part, top in zip(parts, tops, strict=True)], last


def likeliest(logits: Any, tokens: Sequence[int], k: int) -> tuple[list[float], list[list[int]], list[list[float]]]:
    """Of one position per row, `(rows, vocabulary)`: the tokens' logprobs, and ids and logprobs of the k likeliest."""
    import torch

    logprobs = logits.log_softmax(-1)
    chosen = logprobs.gather(1, torch.tensor(tokens, device=logits.device).unsqueeze(1)).squeeze(1).tolist()
    values, ids = logprobs.topk(min(k, logprobs.shape[-1]), dim=-1)
    return chosen, ids.tolist(), values.tolist()


def _judge(logprobs: Any, targets: Any, k: int) -> list[tuple[Any, ...]]:
    """Per row: logprob and rank of each target, ids and logprobs of the k likeliest, as numpy arrays."""
    actual = logprobs.gather(-1, targets.unsqueeze(-1))
    ranks = (logprobs > actual).sum(-1) + 1
    values, ids = logprobs.topk(k, dim=-1)
    columns = [actual.squeeze(-1), ranks, ids, values]
    return list(zip(*(column.cpu().numpy() for column in columns), strict=True))


def _joined(parts: list[tuple[Any, ...]], top: int) -> Scores:
    import numpy as np

    logprobs, ranks, ids, values = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Scores(logprobs, ranks, ids[:, :top].copy(), values[:, :top].copy())
