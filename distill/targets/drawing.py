"""From a teacher's logits to what is kept of them: draws without bias, or the k likeliest ids and the rest.

Draws are systematic: of the points (u + i) / n, one uniform u per position, each falls on the id whose share of the
cumulated distribution it hits. The expected count of an id is exactly n q, and the count is never more than one away
from that; independent draws have the same mean with a far larger spread (Kitagawa 1996 for particle filters; that
random draws are the unbiased way to keep a teacher is of Anshumann et al., ACL 2025).
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distill.losses.heads import Head, Side
from distill.losses.tiles import slices

TILE_ELEMENTS = 1 << 22
"""Probabilities that are held at once."""


class Drawn(NamedTuple):
    """Of N positions in order: how many ids each has, and those ids with their counts, position after position."""

    uniques: NDArray[np.int64]
    ids: NDArray[np.int64]
    counts: NDArray[np.int64]
    entropy: NDArray[np.float32]
    """In nats, of the whole distribution at the temperature."""


class Top(NamedTuple):
    """Of N positions the k likeliest ids, likeliest first, with log-probabilities [N, k], and that of the rest [N]."""

    ids: NDArray[np.int64]
    log_probs: NDArray[np.float32]
    rest: NDArray[np.float32]


def draw(hidden: Tensor, head: Head, valid: int, temperature: float, draws: int, offsets: NDArray[np.float64]) -> Drawn:
    """`draws` systematic draws at each of N positions: hidden [N, H], offsets u [N] in [0, 1)."""
    parts = [
        _draw(log_probs, draws, torch.from_numpy(offsets[rows]).to(hidden.device))
        for rows, log_probs in _log_probs(hidden, head, valid, temperature)
    ]
    return Drawn(*map(np.concatenate, zip(*parts, strict=True)))


def _draw(log_probs: Tensor, draws: int, offsets: Tensor) -> Drawn:
    probs = log_probs.exp()
    entropy = -(probs * log_probs).sum(1)
    cumulated = probs.double().cumsum(1)
    cumulated /= cumulated[:, -1:].clone()
    points = (offsets[:, None] + torch.arange(draws, device=probs.device, dtype=torch.float64)) / draws
    found = torch.searchsorted(cumulated, points, right=True).clamp_max_(
        probs.shape[1] - 1
    )  # sorted, as the points are
    first = torch.ones_like(found, dtype=torch.bool)
    first[:, 1:] = found[:, 1:] != found[:, :-1]
    starts = torch.nonzero(first.reshape(-1)).squeeze(1)
    counts = torch.diff(starts, append=starts.new_tensor([found.numel()]))
    ids = found.reshape(-1)[starts]
    return Drawn(first.sum(1).cpu().numpy(), ids.cpu().numpy(), counts.cpu().numpy(), entropy.float().cpu().numpy())


def top(hidden: Tensor, head: Head, valid: int, temperature: float, k: int) -> Top:
    """The k likeliest ids of N positions and the summed rest; k at most `valid`, where the rest is -inf."""
    k = min(k, valid)
    parts = []
    for _, log_probs in _log_probs(hidden, head, valid, temperature):
        values, ids = log_probs.topk(k, 1)
        rest = log_probs.scatter(1, ids, -torch.inf).logsumexp(1)
        parts.append((ids.cpu().numpy(), values.float().cpu().numpy(), rest.float().cpu().numpy()))
    return Top(*map(np.concatenate, zip(*parts, strict=True)))


def _log_probs(hidden: Tensor, head: Head, valid: int, temperature: float) -> Iterator[tuple[slice, Tensor]]:
    """Rows and their log q [rows, valid], a tile at a time."""
    whole = slice(0, valid)
    for rows in slices(hidden.shape[0], max(1, TILE_ELEMENTS // valid)):
        yield rows, Side(hidden[rows], head, torch.float32).log_probs(whole, temperature, None)
