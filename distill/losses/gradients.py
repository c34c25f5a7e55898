"""Where the gradients of a step are gathered: of hidden states, of the head's weight and bias."""

from typing import NamedTuple

from torch import Tensor

from distill.losses.heads import Side


class Gradients(NamedTuple):
    hidden: Tensor | None
    weight: Tensor | None
    bias: Tensor | None

    def __bool__(self) -> bool:
        return any(part is not None for part in self)


def fold(student: Side, gradient: Tensor, weights: Tensor, columns: slice, grads: Gradients, rows: slice) -> None:
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
