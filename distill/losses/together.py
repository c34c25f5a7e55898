"""Forward KL at temperature 1 and the cross-entropy where one tile is the vocabulary: one softmax of each model serves
the values and the gradient of both.

    CE  = lse(s) - s_label                          gradient    p - onehot
    KL  = sum q (t - s) - lse(t) + lse(s)           gradient    p - q

with p = softmax(s), q = softmax(t), lse = max - log p_max. Half the passes over the logits of the general way.
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

    Logits are [n, vocabulary], all of it. The teacher's are overwritten; the student's take the gradient if `in_place`.
    """
    p, norm = _softmax(student)
    ce = norm - student.gather(1, labels[:, None])
    if spec.label_smoothing:
        mean = student.mean(1, keepdim=True)
        ce = (1 - spec.label_smoothing) * ce + spec.label_smoothing * (norm - mean)
    divergence, q = torch.zeros_like(ce), None
    if teacher is not None:
        q, other = _softmax(teacher)
        divergence = teacher.sub_(student).mul_(q).sum(1, keepdim=True) - other + norm
    if not wanted:
        return ce, divergence, None
    if q is None:
        gradient = student.copy_(p) if in_place else p
    else:
        gradient = torch.sub(p, q, alpha=1 - spec.alpha, out=student if in_place else p)
    if spec.alpha > 0:
        if spec.label_smoothing:
            gradient -= spec.alpha * spec.label_smoothing / spec.valid
        at = torch.full_like(labels[:, None], spec.alpha * (spec.label_smoothing - 1), dtype=gradient.dtype)
        gradient.scatter_add_(1, labels[:, None], at)
    return ce, divergence, gradient


def _softmax(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities, and the log-sum-exp [n, 1]: the largest probability is at least one over their number."""
    p = torch.softmax(logits, 1)
    return p, logits.amax(1, keepdim=True) - p.amax(1, keepdim=True).log_()
