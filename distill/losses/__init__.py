"""The distillation loss: divergences by name, and the tiled computation that never holds a B x T x V tensor."""

from distill.losses.divergences import DIVERGENCES, Divergence
from distill.losses.tiled import Head, LossSpec, LossSums, tiled_loss

__all__ = ["DIVERGENCES", "Divergence", "Head", "LossSpec", "LossSums", "tiled_loss"]
