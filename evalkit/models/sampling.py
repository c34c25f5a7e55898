"""Draws one token per row, where every row has its own temperature, nucleus and stream of random numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Draw:
    """How one row picks. `uniform` is its own number in [0, 1)."""

    temperature: float
    top_p: float = 1.0
    uniform: float = 0.0


def pick(logits: Any, draws: Sequence[Draw]) -> list[int]:
    """One token per row of `(rows, vocabulary)`: the likeliest at temperature 0, otherwise the one at which the
    cumulative probability, over the nucleus and in the order of the ids, passes the row's number."""
    import torch

    tokens: list[int] = logits.argmax(-1).tolist()
    hot = [i for i, draw in enumerate(draws) if draw.temperature > 0]
    if not hot:
        return tokens

    def column(values: list[float]) -> Any:
        return torch.tensor(values, dtype=torch.float64, device=logits.device).unsqueeze(1)

    chosen = logits[hot].double()
    chosen = chosen - chosen.amax(-1, keepdim=True)  # first: a tiny temperature must not overflow
    probabilities = torch.softmax(chosen / column([draws[i].temperature for i in hot]), dim=-1)
    if any(draws[i].top_p < 1 for i in hot):
        probabilities = nucleus(probabilities, column([draws[i].top_p for i in hot]))
    cumulative = probabilities.cumsum(-1)
    total = cumulative[:, -1:]
    targets = torch.minimum(column([draws[i].uniform for i in hot]) * total, torch.nextafter(total, total * 0))
    found = torch.searchsorted(cumulative, targets, right=True).squeeze(1).tolist()
    for i, token in zip(hot, found, strict=True):
        tokens[i] = token
    return tokens


def nucleus(probabilities: Any, top_p: Any) -> Any:
    """The probabilities of the likeliest tokens whose sum reaches `top_p`, `(rows, 1)`; zero elsewhere, not rescaled.
    At least one is kept; at 1 all are."""
    import torch

    ordered, ids = probabilities.sort(dim=-1, descending=True, stable=True)
    kept = (ordered.cumsum(-1) - ordered < top_p) | (top_p >= 1)
    kept[:, 0] = True
    return torch.zeros_like(probabilities).scatter(-1, ids, ordered * kept)
