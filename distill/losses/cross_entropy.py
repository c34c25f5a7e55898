"""Cross-entropy of one tile, smoothed or not, and its gradient."""

from torch import Tensor

from distill.losses.tiles import LossSpec


def ce_tile(log_p: Tensor, labels: Tensor, columns: slice, spec: LossSpec) -> Tensor:
    """What a tile adds to the (smoothed) cross-entropy of each token, [n, 1]."""
    index, inside = _labels_inside(labels, columns)
    ce = log_p.gather(1, index).mul_(inside).mul_(spec.label_smoothing - 1)
    return ce if not spec.label_smoothing else ce - spec.label_smoothing / spec.valid * log_p.sum(1, keepdim=True)


def add_ce_gradient(gradient: Tensor | None, log_p: Tensor, labels: Tensor, columns: slice, spec: LossSpec) -> Tensor:
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
