"""The distillation loss: divergences by name, and the tiled computation that never holds a B x T x V tensor."""

from distill.losses.divergences import DIVERGENCES, Divergence
from distill.losses.heads import Head
from distill.losses.sparse import Sparse
from distill.losses.tiled import Teacher, tiled_loss
from distill.losses.tiles import LossSpec, LossSums

__all__ = ["DIVERGENCES", "Divergence", "Head", "LossSpec", "LossSums", "Sparse", "Teacher", "tiled_loss"]
