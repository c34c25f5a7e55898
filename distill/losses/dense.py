"""The loss of one token tile where the teacher's logits are all there, or where there is no teacher.

Three passes over the vocabulary tiles: log-sum-exp of both models; the sum of c (see divergences), left out where it is
known beforehand; the terms of the loss with the gradient of the logits. Where one tile spans the vocabulary, its logits
are made once and all passes read them; forward KL at temperature 1 has a shorter way there (see together).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from distill.losses.cross_entropy import add_ce_gradient, ce_tile
from distill.losses.divergences import DIVERGENCES
from distill.losses.gradients import Gradients, fold
from distill.losses.heads import Side, log_sum_exp, over
from distill.losses.tiles import VOCAB_TILE, LossSpec, part_rows, slices
from distill.losses.together import ce_and_forward_kl, serves


class Norms(NamedTuple):
    """Log-sum-exp per token [n, 1]: student at T = 1 and at T, teacher at T. None where one tile is the vocabulary."""

    plain: Tensor | None = None
    student: Tensor | None = None
    teacher: Tensor | None = None

    def part(self, rows: slice) -> "Norms":
        return Norms(*(norm if norm is None else norm[rows] for norm in self))


def dense_rows(
    student: Side,
    teacher: Side | None,
    labels: Tensor,
    weights: Tensor,
    spec: LossSpec,
    grads: Gradients,
    rows: slice,
) -> Tensor:
    """The three passes over one token tile. Adds to `grads`; returns the weighted sums of (CE, D), CE nan if unused."""
    tiles = list(slices(spec.valid, spec.vocab_tile or VOCAB_TILE))
    norms = _normalisers(student, teacher, tiles, spec) if len(tiles) > 1 else Norms()
    total = _totals(student, teacher, tiles, spec, norms) if grads and teacher is not None and len(tiles) > 1 else None
    weights = weights[:, None]
    sums = weights.new_zeros(2)
    quick = serves(spec, len(tiles))
    for columns in tiles:
        buffer = student.logits(columns)
        if teacher is not None:
            teacher.logits(columns)
        for part in slices(buffer.shape[0], part_rows(buffer)):
            side, other = student.part(part), None if teacher is None else teacher.part(part)
            if quick:
                sums += _together(side, other, labels[part], weights[part], columns, spec, bool(grads))
                continue
            known = total[part] if isinstance(total, Tensor) else total
            tile = _Tile(side, other, labels[part], weights[part], columns, norms.part(part), known)
            added, gradient = _tile_loss(tile, spec, bool(grads))
            sums += added
            if gradient is not None:  # the logits of these rows are not read again: their place takes the gradient
                buffer[part] = side.through_softcap(gradient, columns)
        if grads:
            fold(student, buffer, weights, columns, grads, rows)
    return sums


def _together(
    student: Side, teacher: Side | None, labels: Tensor, weights: Tensor, columns: slice, spec: LossSpec, wanted: bool
) -> Tensor:
    """As `_tile_loss`, where one softmax of each model serves all of it; the gradient takes the place of the logits."""
    logits, other = student.logits(columns), None if teacher is None else teacher.logits(columns)
    in_place = student.head.softcap is None
    ce, value, gradient = ce_and_forward_kl(logits, other, labels, spec, wanted=wanted, in_place=in_place)
    if gradient is not None and gradient is not logits:
        logits.copy_(student.through_softcap(gradient, columns))
    return torch.stack([(ce * weights).sum(), (value * weights).sum()])


class _Tile(NamedTuple):
    """Some rows of one token tile, over one vocabulary tile."""

    student: Side
    teacher: Side | None
    labels: Tensor
    weights: Tensor
    columns: slice
    norms: Norms
    total: Tensor | float | None


def _tile_loss(tile: _Tile, spec: LossSpec, wanted: bool) -> tuple[Tensor, Tensor | None]:
    """Weighted sums of (CE, D) over the tile, and the unweighted gradient of its logits if that is wanted."""
    sums = tile.weights.new_zeros(2)
    student, columns = tile.student, tile.columns
    plain = student.log_probs(columns, 1.0, tile.norms.plain) if spec.alpha > 0 or spec.temperature == 1 else None
    gradient: Tensor | None = None
    if tile.teacher is not None:
        value, gradient = _divergence_tile(student, tile.teacher, columns, spec, tile.norms, tile.total, plain)
        sums[1] = (value * tile.weights).sum()
        gradient.mul_((1 - spec.alpha) * spec.temperature)
    sums[0] = torch.nan if plain is None else (ce_tile(plain, tile.labels, columns, spec) * tile.weights).sum()
    if not wanted:
        return sums, None
    if spec.alpha > 0:
        assert plain is not None
        gradient = add_ce_gradient(gradient, plain, tile.labels, columns, spec)
    return sums, gradient


def _divergence_tile(
    student: Side,
    teacher: Side,
    columns: slice,
    spec: LossSpec,
    norms: Norms,
    total: Tensor | float | None,
    plain: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """D summed over the tile [n, 1], and dD/ds [n, columns]. `plain`: the student's log p where it is known (T = 1)."""
    divergence = DIVERGENCES[spec.divergence]
    if divergence.on_logits:
        s, t = (over(side.logits(columns), spec.temperature) for side in (student, teacher))
        value, slope = divergence.terms(s, t, spec.beta)
        return value.sum(1, keepdim=True) / spec.valid, slope.div_(spec.valid)
    known = plain is not None and spec.temperature == 1
    log_p = plain if known else student.log_probs(columns, spec.temperature, norms.student)
    assert log_p is not None
    value, slope = divergence.terms(log_p, teacher.log_probs(columns, spec.temperature, norms.teacher), spec.beta)
    summed = value.sum(1, keepdim=True)
    if total is None:
        total = divergence.total if divergence.total is not None else slope.sum(1, keepdim=True)
    p = log_p.exp()
    return summed, torch.sub(slope, p, alpha=total) if isinstance(total, float) else slope.sub(p.mul_(total))


def _normalisers(student: Side, teacher: Side | None, tiles: Sequence[slice], spec: LossSpec) -> Norms:
    plain = log_sum_exp(student, tiles, 1.0)
    if teacher is None or DIVERGENCES[spec.divergence].on_logits:
        return Norms(plain)
    scaled = plain if spec.temperature == 1 else log_sum_exp(student, tiles, spec.temperature)
    return Norms(plain, scaled, log_sum_exp(teacher, tiles, spec.temperature))


def _totals(student: Side, teacher: Side, tiles: Sequence[slice], spec: LossSpec, norms: Norms) -> Tensor | float:
    """Sum of c over the vocabulary, [n, 1] or the constant that it is."""
    divergence = DIVERGENCES[spec.divergence]
    if divergence.total is not None:
        return divergence.total
    parts = []
    for columns in tiles:
        log_p = student.log_probs(columns, spec.temperature, norms.student)
        log_q = teacher.log_probs(columns, spec.temperature, norms.teacher)
        parts.append(divergence.terms(log_p, log_q, spec.beta)[1].sum(1, keepdim=True))
    return torch.stack(parts).sum(0)
