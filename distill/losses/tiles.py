"""What the loss is asked for, and how it is cut: some tokens x some vocabulary at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

TILE_ELEMENTS = {"cpu": 1 << 21, "cuda": 1 << 26}
"""Logits per tile, but never fewer than 256 tokens, and 512 where that is at most eight times as much: thinner products
run slower. On a GPU a tile fills the machine."""

PART_ELEMENTS = {"cpu": 1 << 18}
"""Logits that the elementwise passes take at once: on a CPU few enough to stay in the second cache between passes."""

VOCAB_TILE = 65536
"""Vocabularies up to this size are one tile."""


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


def token_tile(device: str, spec: LossSpec) -> int:
    """Tokens per tile on this kind of device."""
    if spec.token_tile is not None:
        return spec.token_tile
    elements = TILE_ELEMENTS.get(device, TILE_ELEMENTS["cuda"])
    columns = min(spec.valid, spec.vocab_tile or VOCAB_TILE)
    return max(256, elements // columns, min(512, 8 * elements // columns))


def part_rows(logits: Tensor) -> int:
    return max(1, PART_ELEMENTS.get(logits.device.type, logits.numel()) // max(1, logits.shape[1]))


def slices(length: int, step: int) -> Iterator[slice]:
    return (slice(start, min(start + step, length)) for start in range(0, length, step))
