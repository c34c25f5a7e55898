"""alpha * CE + (1 - alpha) * T^2 * D(teacher || student) from hidden states, tile by tile, gradients in closed form.

The positions that carry a label arrive as rows of hidden states; logits exist for one tile (some tokens x some
vocabulary) at a time, in fp32, and are gone before the next. Three passes over the vocabulary tiles of each token tile:

    1. log-sum-exp of both models (online), the logit of the label
    2. sum of c (see divergences); left out where it is known beforehand
    3. the terms of the loss and the gradient of the logits, folded at once into the gradients of hidden and head

Where one tile spans the vocabulary, its logits are made once and all passes read them. Only the first `valid` rows of
either head are read: what a vocabulary is padded with has probability zero by construction, not by a mask.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from distill.losses.divergences import DIVERGENCES

if TYPE_CHECKING:
    from collections.abc import Sequence

TILE_ELEMENTS = {"cpu": 1 << 21, "cuda": 1 << 26}
"""Logits per tile. On a CPU a tile and its few temporaries stay near the caches; on a GPU it fills the machine."""

PART_ELEMENTS = {"cpu": 1 << 18}
"""Logits that the elementwise passes take at once: on a CPU few enough to stay in the second cache between passes."""

VOCAB_TILE = 65536
"""Vocabularies up to this size are one tile."""


@dataclass(frozen=True)
class Head:
    """A language model head: logits = softcap(hidden @ weight.T + bias). Weight is [vocabulary, width]."""

    weight: Tensor
    bias: Tensor | None = None
    softcap: float | None = None


@dataclass(frozen=True)
class LossSpec:
    """The loss and its tiles. `valid`: ids below it are real, the rest is padding."""

    valid: int
    alpha: float = 0.0
    temperature: float = 1.0
    divergence: str = "forward_kl"
    beta: float = 0.5
    label_smoothing: float = 0.0
    token_tile: int | None = None
    vocab_tile: int | None = None


class LossSums(NamedTuple):
    """Weighted sums over the tokens; divide by the global sum of weights. Only `loss` has a gradient.

    `ce` is nan where nothing needs it: alpha 0 at a temperature other than 1.
    """

    loss: Tensor
    ce: Tensor
    divergence: Tensor


def tiled_loss(
    hidden: Tensor,
    head: Head,
    labels: Tensor,
    weights: Tensor,
    spec: LossSpec,
    teacher: tuple[Tensor, Head] | None = None,
) -> LossSums:
    """Sums over N positions: hidden [N, H] (already shifted and selected), labels [N] < valid, weights [N].

    `teacher` is (hidden states [N, H'], head) and is not read where alpha is 1. Gradients reach hidden, the head's
    weight and bias where they require them; the dtype of hidden is that of the projections, the rest is fp32 or better.
    """
    if spec.alpha < 1 and teacher is None:
        raise ValueError("alpha < 1 needs a teacher")
    scale = _scale(hidden)
    if scale is not None:
        hidden, head = hidden.to(scale), Head(head.weight.to(scale), head.bias, head.softcap)
    loss, ce, divergence = _Tiled.apply(hidden, head.weight, head.bias, head.softcap, labels, weights, spec, teacher)
    return LossSums(loss, ce, divergence)


def _scale(hidden: Tensor) -> torch.dtype | None:
    """Under autocast the projections run in its dtype, as the model's own head would."""
    kind = hidden.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None


class _Tiled(torch.autograd.Function):
    """Gradients are made in the forward pass, while the logits of a tile are there, and scaled in the backward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        softcap: float | None,
        labels: Tensor,
        weights: Tensor,
        spec: LossSpec,
        teacher: tuple[Tensor, Head] | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        needs = ctx.needs_input_grad
        exact = torch.float64 if hidden.dtype == torch.float64 else torch.float32
        grads = _Gradients(
            torch.zeros_like(hidden, dtype=exact) if needs[0] else None,
            torch.zeros_like(weight, dtype=exact) if needs[1] else None,
            torch.zeros_like(bias, dtype=exact) if bias is not None and needs[2] else None,
        )
        sums = hidden.new_zeros(2, dtype=exact)
        with torch.autocast(hidden.device.type, enabled=False), torch.no_grad():
            for rows in _slices(hidden.shape[0], _token_tile(hidden, spec)):
                student = _Side(hidden[rows], Head(weight, bias, softcap), exact)
                other = None if spec.alpha == 1 or teacher is None else _Side(teacher[0][rows], teacher[1], exact)
                sums += _token_rows(student, other, labels[rows], weights[rows].to(exact), spec, grads, rows)
        ctx.save_for_backward(*(g for g in grads if g is not None))
        ctx.present = [g is not None for g in grads]
        ctx.dtypes = (hidden.dtype, weight.dtype, bias.dtype if bias is not None else None)
        loss = (1 - spec.alpha) * spec.temperature**2 * sums[1]
        if spec.alpha > 0:
            loss = loss + spec.alpha * sums[0]
        ce, divergence = sums[0].clone(), sums[1].clone()
        ctx.mark_non_differentiable(ce, divergence)
        return loss, ce, divergence

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        saved = iter(ctx.saved_tensors)
        grads = [
            (next(saved) * outer[0]).to(dtype) if present else None
            for present, dtype in zip(ctx.present, ctx.dtypes, strict=True)
        ]
        return (*grads, None, None, None, None, None)


class _Gradients(NamedTuple):
    hidden: Tensor | None
    weight: Tensor | None
    bias: Tensor | None

    def __bool__(self) -> bool:
        return any(part is not None for part in self)


class _Side:
    """One model's logits for one token tile, made per vocabulary tile; the last one made is kept."""

    def __init__(self, hidden: Tensor, head: Head, exact: torch.dtype) -> None:
        self.hidden, self.head, self.exact = hidden, head, exact
        self._kept: tuple[slice, Tensor] | None = None

    def logits(self, columns: slice) -> Tensor:
        """Logits [tokens, columns] in fp32 after the softcap."""
        if self._kept is None or self._kept[0] != columns:
            self._kept = None
            self._kept = (columns, self._project(columns))
        return self._kept[1]

    def _project(self, columns: slice) -> Tensor:
        weight = self.head.weight[columns].to(self.hidden.dtype)
        if self.hidden.is_cuda and self.hidden.dtype in (torch.bfloat16, torch.float16):
            logits = torch.mm(self.hidden, weight.T, out_dtype=torch.float32)
        else:
            logits = (self.hidden @ weight.T).to(self.exact)
        if self.head.bias is not None:
            logits += self.head.bias[columns].to(self.exact)
        if self.head.softcap is not None:
            logits = (logits / self.head.softcap).tanh_().mul_(self.head.softcap)
        return logits

    def part(self, rows: slice) -> "_Side":
        """Some of the tokens, with the logits that are there."""
        side = _Side(self.hidden[rows], self.head, self.exact)
        if self._kept is not None:
            side._kept = (self._kept[0], self._kept[1][rows])
        return side

    def log_probs(self, columns: slice, temperature: float, norm: Tensor | None) -> Tensor:
        """log softmax(logits / T) [tokens, columns]; without a norm the tile is the whole vocabulary."""
        scaled = _over(self.logits(columns), temperature)
        return torch.log_softmax(scaled, 1) if norm is None else scaled - norm

    def through_softcap(self, gradient: Tensor, columns: slice) -> Tensor:
        """Gradient of the raw logits from that of the capped ones: d/dx c tanh(x/c) = 1 - (capped/c)^2."""
        if self.head.softcap is None:
            return gradient
        return gradient.mul_(1 - (self.logits(columns) / self.head.softcap).square_())


class _Norms(NamedTuple):
    """Log-sum-exp per token [n, 1]: student at T = 1 and at T, teacher at T. None where one tile is the vocabulary."""

    plain: Tensor | None = None
    student: Tensor | None = None
    teacher: Tensor | None = None

    def part(self, rows: slice) -> "_Norms":
        return _Norms(*(norm if norm is None else norm[rows] for norm in self))


def _token_rows(
    student: _Side,
    teacher: _Side | None,
    labels: Tensor,
    weights: Tensor,
    spec: LossSpec,
    grads: _Gradients,
    rows: slice,
) -> Tensor:
    """The three passes over one token tile. Adds to `grads`; returns the weighted sums of (CE, D), CE nan if unused."""
    tiles = list(_slices(spec.valid, spec.vocab_tile or VOCAB_TILE))
    norms = _normalisers(student, teacher, tiles, spec) if len(tiles) > 1 else _Norms()
    total = _totals(student, teacher, tiles, spec, norms) if grads and teacher is not None and len(tiles) > 1 else None
    weights = weights[:, None]
    sums = weights.new_zeros(2)
    for columns in tiles:
        buffer = student.logits(columns)
        if teacher is not None:
            teacher.logits(columns)
        for part in _slices(buffer.shape[0], _part(buffer)):
            side, other = student.part(part), None if teacher is None else teacher.part(part)
            known = total[part] if isinstance(total, Tensor) else total
            tile = _Tile(side, other, labels[part], weights[part], columns, norms.part(part), known)
            added, gradient = _tile_loss(tile, spec, bool(grads))
            sums += added
            if gradient is not None:  # the logits of these rows are not read again: their place takes the gradient
                buffer[part] = side.through_softcap(gradient, columns)
        if grads:
            _fold(student, buffer, weights, columns, grads, rows)
    return sums


class _Tile(NamedTuple):
    """Some rows of one token tile, over one vocabulary tile."""

    student: _Side
    teacher: _Side | None
    labels: Tensor
    weights: Tensor
    columns: slice
    norms: _Norms
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
    sums[0] = torch.nan if plain is None else (_ce_tile(plain, tile.labels, columns, spec) * tile.weights).sum()
    if not wanted:
        return sums, None
    if spec.alpha > 0:
        assert plain is not None
        gradient = _add_ce_gradient(gradient, plain, tile.labels, columns, spec)
    return sums, gradient


def _divergence_tile(
    student: _Side,
    teacher: _Side,
    columns: slice,
    spec: LossSpec,
    norms: _Norms,
    total: Tensor | float | None,
    plain: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """D summed over the tile [n, 1], and dD/ds [n, columns]. `plain`: the student's log p where it is known (T = 1)."""
    divergence = DIVERGENCES[spec.divergence]
    if divergence.on_logits:
        s, t = (_over(side.logits(columns), spec.temperature) for side in (student, teacher))
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


def _ce_tile(log_p: Tensor, labels: Tensor, columns: slice, spec: LossSpec) -> Tensor:
    """What a tile adds to the (smoothed) cross-entropy of each token, [n, 1]."""
    index, inside = _labels_inside(labels, columns)
    ce = log_p.gather(1, index).mul_(inside).mul_(spec.label_smoothing - 1)
    return ce if not spec.label_smoothing else ce - spec.label_smoothing / spec.valid * log_p.sum(1, keepdim=True)


def _add_ce_gradient(gradient: Tensor | None, log_p: Tensor, labels: Tensor, columns: slice, spec: LossSpec) -> Tensor:
    """Add alpha * (p - target) to the gradient of the tile's logits."""
    index, inside = _labels_inside(labels, columns)
    soft = log_p.exp()
    if spec.label_smoothing:
        soft -= spec.label_smoothing / spec.valid
    soft.scatter_add_(1, index, inside.to(soft.dtype) * (spec.label_smoothing - 1))
    return soft.mul_(spec.alpha) if gradient is None else gradient.add_(soft, alpha=spec.alpha)


def _labels_inside(labels: Tensor, columns: slice) -> tuple[Tensor, Tensor]:
    """Column of each label in the tile [n, 1], and whether it is in it at all."""
    inside = (labels >= columns.start) & (labels < columns.stop)
    return (labels - columns.start).clamp(0, columns.stop - columns.start - 1)[:, None], inside[:, None]


def _fold(student: _Side, gradient: Tensor, weights: Tensor, columns: slice, grads: _Gradients, rows: slice) -> None:
    """Gradient of a tile's logits, times the weights [n, 1], into those of hidden [N, H], weight [V, H], bias [V]."""
    if grads.bias is not None:
        grads.bias[columns] += (gradient * weights).sum(0)
    gradient = gradient.to(student.hidden.dtype)
    if grads.hidden is not None:
        head = student.head.weight[columns].to(gradient.dtype)
        grads.hidden[rows] += (gradient @ head).to(grads.hidden.dtype).mul_(weights)
    if grads.weight is not None:
        hidden = (student.hidden * weights).to(gradient.dtype)
        if gradient.dtype == grads.weight.dtype:
            grads.weight[columns].addmm_(gradient.T, hidden)
        else:
            grads.weight[columns] += (gradient.T @ hidden).to(grads.weight.dtype)


def _normalisers(student: _Side, teacher: _Side | None, tiles: "Sequence[slice]", spec: LossSpec) -> _Norms:
    plain = _log_sum_exp(student, tiles, 1.0)
    if teacher is None or DIVERGENCES[spec.divergence].on_logits:
        return _Norms(plain)
    scaled = plain if spec.temperature == 1 else _log_sum_exp(student, tiles, spec.temperature)
    return _Norms(plain, scaled, _log_sum_exp(teacher, tiles, spec.temperature))


def _log_sum_exp(side: _Side, tiles: "Sequence[slice]", temperature: float) -> Tensor:
    parts = [torch.logsumexp(_over(side.logits(columns), temperature), 1, keepdim=True) for columns in tiles]
    return torch.logsumexp(torch.cat(parts, 1), 1, keepdim=True)


def _over(logits: Tensor, temperature: float) -> Tensor:
    return logits if temperature == 1 else logits / temperature


def _totals(student: _Side, teacher: _Side, tiles: "Sequence[slice]", spec: LossSpec, norms: _Norms) -> Tensor | float:
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


def _token_tile(hidden: Tensor, spec: LossSpec) -> int:
    if spec.token_tile is not None:
        return spec.token_tile
    elements = TILE_ELEMENTS.get(hidden.device.type, TILE_ELEMENTS["cuda"])
    return max(128, elements // min(spec.valid, spec.vocab_tile or VOCAB_TILE))


def _part(logits: Tensor) -> int:
    return max(1, PART_ELEMENTS.get(logits.device.type, logits.numel()) // max(1, logits.shape[1]))


def _slices(length: int, step: int) -> Iterator[slice]:
    return (slice(start, min(start + step, length)) for start in range(0, length, step))
