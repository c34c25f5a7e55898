"""Forward KL at temperature 1 and the cross-entropy where one tile is the vocabulary: one softmax of each model serves
the values and the gradient of both.

    CE  = (max s - s_label) - log p_max                                 gradient    p - onehot
    KL  = sum q (t - s - max t + max s) + log q_max - log p_max         gradient    p - q

with p = softmax(s), q = softmax(t). Half the passes over the logits of the general way; what the logits have in common
is taken away before anything is summed, so that it costs no digits.
"""

import torch
from torch import Tensor

from distill.losses.tiles import LossSpec


def serves(spec: LossSpec, tiles: int) -> bool:
    return tiles == 1 and spec.temperature == 1 and (spec.divergence == "forward_kl" or spec.alpha == 1)


def ce_and_forward_kl(
    student: Tensor, teacher: Tensor | None, labels: Tensor, spec: LossSpec, *, wanted: bool, in_place: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """CE and KL per token [n, 1], and the unweighted gradient of the student's logits where it is `wanted`.

    Logits are [n, vocabulary], all of it. The teacher's are overwritten; with `in_place` the student's may be, by the
    gradient.
    """
    p, most, log_most = _softmax(student)
    ce = most - student.gather(1, labels[:, None]) - log_most
    if spec.label_smoothing:
        mean = student.mean(1, keepdim=True)
        ce = (1 - spec.label_smoothing) * ce + spec.label_smoothing * (most - mean - log_most)
    divergence, q = torch.zeros_like(ce), None
    if teacher is not None:
        q, other, log_other = _softmax(teacher)
        gap = teacher.sub_(student).sub_(other - most)
        divergence = gap.mul_(q).sum(1, keepdim=True) + log_other - log_most
    if not wanted:
        return ce, divergence, None
    gradient = p if q is None else torch.sub(p, q, alpha=1 - spec.alpha, out=student if in_place else p)
    if spec.alpha > 0:
        if spec.label_smoothing:
            gradient -= spec.alpha * spec.label_smoothing / spec.valid
        at = torch.full_like(labels[:, None], spec.alpha * (spec.label_smoothing - 1), dtype=gradient.dtype)
        gradient.scatter_add_(1, labels[:, None], at)
    return ce, divergence, gradient


def _softmax(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Probabilities; the largest logit [n, 1], and the log of the largest probability: at least minus log of their
    number, so that it cannot underflow."""
    p = torch.softmax(logits, 1)
    return p, logits.amax(1, keepdim=True), p.amax(1, keepdim=True).log_()
