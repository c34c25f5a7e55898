"""The loss of one token tile where the teacher is known at some ids only: targets that a cache or a server kept.

Two kinds (distill.sources says which divergence can be had from which):

    sampled   q^ = shares of draws from the teacher. Every term is linear in q, so the gradient p - q^ of the forward KL
              has the gradient of the dense one as its mean, whatever was drawn. Its value needs the teacher's entropy,
              which is one number per token: KL(q || p) = -H(q) - sum q log p.
    top-k     q at the k likeliest ids and the mass of all others, as one more bucket. The student's ids are gathered in
              the same buckets, and any divergence is taken between the two: never more than the dense one, equal to it
              where k is the vocabulary. Inside the bucket of the rest the student is not told anything (the bias).

The bucket of the rest is summed over the ids in it, never had as one minus the others, which cancels. With c as in
divergences and C its sum over the buckets, the gradient of the logits is c_k - p_k C at a listed id and
r_v (c_rest - p_rest C) at the others, where r = p_v / p_rest.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from distill.losses.divergences import DIVERGENCES
from distill.losses.gradients import Gradients, fold
from distill.losses.heads import Side, over
from distill.losses.tiles import VOCAB_TILE, LossSpec, part_rows, slices

NOTHING = -1e4
"""log of a probability of zero, finite: the bucket of the rest where all ids are listed."""


class Sparse(NamedTuple):
    """Targets of N positions at temperature T. Ids that a position does not use have probability 0 (sampled only)."""

    ids: Tensor
    """[N, K], each below `valid`."""
    probs: Tensor
    """[N, K]; shares of the draws, or probabilities of the k likeliest."""
    rest: Tensor | None = None
    """[N], the probability of all ids that are not listed; None: the ids were sampled."""
    entropy: Tensor | None = None
    """[N], of the whole distribution, in nats; where it is not known, the divergence is not known (nan)."""

    def part(self, rows: slice) -> "Sparse":
        rest, entropy = (part if part is None else part[rows] for part in (self.rest, self.entropy))
        return Sparse(self.ids[rows], self.probs[rows], rest, entropy)


class _Seen(NamedTuple):
    """What the first pass finds out about the student, per token [n, 1]."""

    plain: Tensor
    """Log-sum-exp at T = 1."""
    scaled: Tensor
    """Log-sum-exp at T."""
    rest: Tensor | None
    """Log-sum-exp at T over the ids that are not listed."""
    at: Tensor
    """Logits at the listed ids [n, K]."""
    label: Tensor
    mean: Tensor
    """Mean of the logits (for label smoothing)."""


class _Slope(NamedTuple):
    """The gradient of the divergence: exp(logits / T - base) * factor, and what stands at the listed ids."""

    base: Tensor
    factor: Tensor
    at: Tensor

    def part(self, rows: slice) -> "_Slope":
        return _Slope(*(part[rows] for part in self))


def sparse_rows(
    student: Side, targets: Sparse, labels: Tensor, weights: Tensor, spec: LossSpec, grads: Gradients, rows: slice
) -> Tensor:
    """Both passes over one token tile. Adds to `grads`; returns the weighted sums of (CE, D)."""
    tiles = list(slices(spec.valid, spec.vocab_tile or VOCAB_TILE))
    seen = _look(student, targets, labels, tiles, spec)
    divergence, slope = _compare(seen, targets, spec)
    ce = seen.plain - seen.label
    if spec.label_smoothing:
        ce = ce + spec.label_smoothing * (seen.label - seen.mean)
    weights = weights[:, None]
    for columns in tiles if grads else ():
        buffer = student.logits(columns)
        for part in slices(buffer.shape[0], part_rows(buffer)):
            side = student.part(part)
            gradient = _gradient(
                side, targets.part(part), labels[part], columns, seen.plain[part], slope.part(part), spec
            )
            buffer[part] = side.through_softcap(gradient, columns)
        fold(student, buffer, weights, columns, grads, rows)
    return torch.stack([(ce * weights).sum(), (divergence * weights).sum()])


def _look(student: Side, targets: Sparse, labels: Tensor, tiles: Sequence[slice], spec: LossSpec) -> _Seen:
    at = targets.probs.new_zeros(targets.ids.shape, dtype=student.exact)
    label, mean = at.new_zeros(at.shape[0], 1), at.new_zeros(at.shape[0], 1)
    plain, scaled, rest = [], [], []
    for columns in tiles:
        logits = student.logits(columns)
        row, place, column = _places(targets.ids, columns, spec.valid)
        at[row, place] = logits[row, column]
        row, place, column = _places(labels[:, None], columns, spec.valid)
        label[row, place] = logits[row, column]
        mean += logits.sum(1, keepdim=True) if spec.label_smoothing else 0
        plain.append(torch.logsumexp(logits, 1, keepdim=True))
        if spec.temperature != 1:
            scaled.append(torch.logsumexp(over(logits, spec.temperature), 1, keepdim=True))
        if targets.rest is not None:
            rest.append(_rest(logits, targets.ids, columns, spec))
    whole = torch.logsumexp(torch.cat(plain, 1), 1, keepdim=True)
    return _Seen(
        whole,
        torch.logsumexp(torch.cat(scaled, 1), 1, keepdim=True) if scaled else whole,
        torch.logsumexp(torch.cat(rest, 1), 1, keepdim=True) if rest else None,
        at,
        label,
        mean / spec.valid,
    )


def _rest(logits: Tensor, ids: Tensor, columns: slice, spec: LossSpec) -> Tensor:
    """Log-sum-exp at T over the tile's ids that are not listed [n, 1]; a few rows at a time, because it copies them."""
    found = []
    for part in slices(logits.shape[0], part_rows(logits)):
        row, _, column = _places(ids[part], columns, spec.valid)
        others = logits[part].clone()
        others[row, column] = -torch.inf
        found.append(torch.logsumexp(over(others, spec.temperature), 1, keepdim=True))
    return torch.cat(found)


def _places(ids: Tensor, columns: slice, valid: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of ids [n, K] those inside the tile: row, place among the K, column of the tile; broadcastable indices."""
    if columns.start == 0 and columns.stop == valid:
        n, k = ids.shape
        return torch.arange(n, device=ids.device)[:, None], torch.arange(k, device=ids.device)[None], ids
    row, place = torch.nonzero((ids >= columns.start) & (ids < columns.stop), as_tuple=True)
    return row, place, ids[row, place] - columns.start


def _compare(seen: _Seen, targets: Sparse, spec: LossSpec) -> tuple[Tensor, _Slope]:
    """D per token [n, 1], and its gradient."""
    scale = (1 - spec.alpha) * spec.temperature
    probs = targets.probs.to(seen.at.dtype)
    log_p = over(seen.at, spec.temperature) - seen.scaled
    if targets.rest is None or seen.rest is None:
        entropy = torch.nan if targets.entropy is None else targets.entropy.to(seen.at.dtype)[:, None]
        value = -(probs * log_p).sum(1, keepdim=True) - entropy
        return value, _Slope(seen.scaled, torch.full_like(seen.plain, scale), probs * -scale)
    rest = targets.rest.to(seen.at.dtype)[:, None]
    log_q = torch.cat([probs, rest], 1).log().clamp_min(NOTHING)
    log_p = torch.cat([log_p, seen.rest - seen.scaled], 1).clamp_min(NOTHING)
    value, c = DIVERGENCES[spec.divergence].terms(log_p, log_q, spec.beta)
    total, value = c.sum(1, keepdim=True), value.sum(1, keepdim=True)
    c = torch.addcmul(c, log_p.exp(), total, value=-1).mul_(scale)
    return value, _Slope(seen.rest.clamp_min(NOTHING), c[:, -1:], c[:, :-1])


def _gradient(
    side: Side, targets: Sparse, labels: Tensor, columns: slice, plain: Tensor, slope: _Slope, spec: LossSpec
) -> Tensor:
    """Unweighted gradient of the tile's logits."""
    logits = side.logits(columns)
    row, place, column = _places(targets.ids, columns, spec.valid)
    at = slope.at[row, place]
    gradient = (over(logits, spec.temperature) - slope.base).clamp_max_(0).exp_()
    shared = targets.rest is None and spec.temperature == 1  # the same p serves both terms
    gradient.mul_(slope.factor + spec.alpha if shared else slope.factor)
    if targets.rest is None:
        row, column = torch.broadcast_tensors(row, column)
        gradient.index_put_((row, column), at, accumulate=True)  # unused slots add 0 to an id that may be listed too
    else:
        gradient[row, column] = at
    if spec.alpha == 0:
        return gradient
    if not shared:
        gradient.add_((logits - plain).exp_(), alpha=spec.alpha)
    if spec.label_smoothing:
        gradient -= spec.alpha * spec.label_smoothing / spec.valid
    row, _, column = _places(labels[:, None], columns, spec.valid)
    gradient[row, column] -= spec.alpha * (1 - spec.label_smoothing)
    return gradient
