"""D(teacher || student) per position, with its gradient in closed form.

With s, t the logits divided by the temperature, p = softmax(s), q = softmax(t), every divergence over probabilities has

    dD/ds = c - p * sum(c)          c = p * dD/dp   (elementwise; constants added to dD/dp cancel)

so a divergence is two tiles: its terms v (D = sum of v over the vocabulary) and c. Both sum over the vocabulary and
can be had tile by tile. MSE is on the logits: D = mean of (s - t)^2, so that T^2 * D does not depend on T.

    forward_kl   KL(q || p)                                 c = -q
    reverse_kl   KL(p || q)                                 c = p (log p - log q)
    jsd          b KL(q || m) + (1 - b) KL(p || m)          c = (1 - b) p (log p - log m)      m = b q + (1 - b) p
    skew_kl      KL(q || m)      (DistiLLM, arXiv 2402.03898)   c = -(1 - b) p q / m

Shapes: all tensors are [tokens, vocabulary tile], fp32 (fp64 in tests).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Terms = Callable[["Tensor", "Tensor", float], "tuple[Tensor, Tensor]"]


@dataclass(frozen=True)
class Divergence:
    """`terms(log p, log q, beta)` gives v and c. With `on_logits` it is given s and t; c is the gradient times V."""

    name: str
    terms: Terms
    on_logits: bool = False
    total: float | None = None
    """The sum of c over the whole vocabulary where it is a constant: saves a pass over the tiles."""


def _forward_kl_terms(log_p: "Tensor", log_q: "Tensor", beta: float) -> "tuple[Tensor, Tensor]":
    q = log_q.exp()
    return (log_q - log_p).mul_(q), q.neg_()


def _reverse_kl_terms(log_p: "Tensor", log_q: "Tensor", beta: float) -> "tuple[Tensor, Tensor]":
    v = (log_p - log_q).mul_(log_p.exp())
    return v, v


def _mixture(log_p: "Tensor", log_q: "Tensor", beta: float) -> "Tensor":
    import torch

    return torch.logaddexp(log_q + math.log(beta), log_p + math.log1p(-beta))


def _jsd_terms(log_p: "Tensor", log_q: "Tensor", beta: float) -> "tuple[Tensor, Tensor]":
    log_m = _mixture(log_p, log_q, beta)
    c = (log_p - log_m).mul_(log_p.exp()).mul_(1 - beta)
    return (log_q - log_m).mul_(log_q.exp()).mul_(beta).add_(c), c


def _skew_kl_terms(log_p: "Tensor", log_q: "Tensor", beta: float) -> "tuple[Tensor, Tensor]":
    log_ratio = log_q - _mixture(log_p, log_q, beta)
    return log_q.exp() * log_ratio, log_p.add(log_ratio).exp_().mul_(beta - 1)


def _mse_terms(s: "Tensor", t: "Tensor", beta: float) -> "tuple[Tensor, Tensor]":
    gap = s - t
    return gap.square(), gap.mul_(2)


DIVERGENCES: dict[str, Divergence] = {
    "forward_kl": Divergence("forward_kl", _forward_kl_terms, total=-1.0),
    "reverse_kl": Divergence("reverse_kl", _reverse_kl_terms),
    "jsd": Divergence("jsd", _jsd_terms),
    "skew_kl": Divergence("skew_kl", _skew_kl_terms),
    "mse": Divergence("mse", _mse_terms, on_logits=True, total=0.0),
}
"""All there are. `total` of mse is 0 because nothing is subtracted from its gradient."""
