"""alpha * CE + (1 - alpha) * T^2 * D(teacher || student) from hidden states, tile by tile, gradients in closed form.

The positions that carry a label arrive as rows of hidden states; logits exist for one tile (some tokens x some
vocabulary) at a time, in fp32, and are gone before the next; the gradient of the logits is folded at once into the
gradients of hidden and head. Only the first `valid` rows of either head are read: what a vocabulary is padded with has
probability zero by construction, not by a mask.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from distill.losses.dense import dense_rows
from distill.losses.divergences import DIVERGENCES
from distill.losses.gradients import Gradients
from distill.losses.heads import Head, Side, Space
from distill.losses.sparse import Sparse, sparse_rows
from distill.losses.tiles import LossSpec, LossSums, slices, token_tile

Teacher = tuple[Tensor, Head] | Sparse
"""What the student is compared with: hidden states [N, H'] and their head, or targets that were kept."""


def tiled_loss(
    hidden: Tensor,
    head: Head,
    labels: Tensor,
    weights: Tensor,
    spec: LossSpec,
    teacher: Teacher | None = None,
) -> LossSums:
    """Sums over N positions: hidden [N, H] (already shifted and selected), labels [N] < valid, weights [N].

    `teacher` is (hidden states [N, H'], head), or targets of the same N positions, and is not read where alpha is 1.
    Gradients reach hidden, the head's weight and bias where they require them; the dtype of hidden is that of the
    projections, the rest is fp32 or better. Raises ValueError where the targets cannot give the divergence.
    """
    if spec.alpha < 1 and teacher is None:
        raise ValueError("alpha < 1 needs a teacher")
    if isinstance(teacher, Sparse):
        on_logits = DIVERGENCES[spec.divergence].on_logits
        if on_logits or (teacher.rest is None and spec.divergence != "forward_kl"):
            raise ValueError(f"{spec.divergence} cannot be had from these targets: see distill.sources")
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
        teacher: Teacher | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        needs = ctx.needs_input_grad
        exact = torch.float64 if hidden.dtype == torch.float64 else torch.float32
        grads = Gradients(
            torch.zeros_like(hidden, dtype=exact) if needs[0] else None,
            torch.zeros_like(weight, dtype=exact) if needs[1] else None,
            torch.zeros_like(bias, dtype=exact) if bias is not None and needs[2] else None,
        )
        sums = hidden.new_zeros(2, dtype=exact)
        own, others = Space(), Space()
        with torch.autocast(hidden.device.type, enabled=False), torch.no_grad():
            for rows in slices(hidden.shape[0], token_tile(hidden.device.type, spec)):
                student = Side(hidden[rows], Head(weight, bias, softcap), exact, own)
                share = weights[rows].to(exact)
                if isinstance(teacher, Sparse) and spec.alpha < 1:
                    sums += sparse_rows(student, teacher.part(rows), labels[rows], share, spec, grads, rows)
                    continue
                other = None
                if spec.alpha < 1 and teacher is not None and not isinstance(teacher, Sparse):
                    other = Side(teacher[0][rows], teacher[1], exact, others)
                sums += dense_rows(student, other, labels[rows], share, spec, grads, rows)
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
    @once_differentiable
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        saved = iter(ctx.saved_tensors)
        grads = [
            (next(saved) * outer[0]).to(dtype) if present else None
            for present, dtype in zip(ctx.present, ctx.dtypes, strict=True)
        ]
        return (*grads, None, None, None, None, None)
