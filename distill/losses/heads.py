"""A language model's head, and its logits for one tile at a time."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Head:
    """A language model head: logits = softcap(hidden @ weight.T + bias). Weight is [vocabulary, width]."""

    weight: Tensor
    bias: Tensor | None = None
    softcap: float | None = None

    def to(self, device: torch.device, dtype: torch.dtype) -> "Head":
        bias = self.bias.to(device, dtype) if self.bias is not None else None
        return Head(self.weight.to(device, dtype), bias, self.softcap)


class Space:
    """Memory for one tile of logits after another: a fresh one each time costs a page fault for every 4 KiB."""

    def __init__(self) -> None:
        self._flat: Tensor | None = None

    def take(self, rows: int, columns: int, like: Tensor) -> Tensor:
        """[rows, columns], not initialised; what was taken before is overwritten."""
        if self._flat is None or self._flat.numel() < rows * columns:
            self._flat = like.new_empty(rows * columns)
        return self._flat[: rows * columns].view(rows, columns)


class Side:
    """One model's logits for one token tile, made per vocabulary tile; the last one is kept. Where it is kept in a
    `space`, no other Side of that space may be in use."""

    def __init__(self, hidden: Tensor, head: Head, exact: torch.dtype, space: Space | None = None) -> None:
        self.hidden, self.head, self.exact, self.space = hidden, head, exact, space
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
        elif self.space is not None and self.hidden.dtype == self.exact:
            logits = self.space.take(self.hidden.shape[0], weight.shape[0], self.hidden)
            torch.mm(self.hidden, weight.T, out=logits)
        else:
            logits = (self.hidden @ weight.T).to(self.exact)
        if self.head.bias is not None:
            logits += self.head.bias[columns].to(self.exact)
        if self.head.softcap is not None:
            logits = (logits / self.head.softcap).tanh_().mul_(self.head.softcap)
        return logits

    def part(self, rows: slice) -> "Side":
        """Some of the tokens, with the logits that are there."""
        side = Side(self.hidden[rows], self.head, self.exact)
        if self._kept is not None:
            side._kept = (self._kept[0], self._kept[1][rows])
        return side

    def log_probs(self, columns: slice, temperature: float, norm: Tensor | None) -> Tensor:
        """log softmax(logits / T) [tokens, columns]; without a norm the tile is the whole vocabulary."""
        scaled = over(self.logits(columns), temperature)
        return torch.log_softmax(scaled, 1) if norm is None else scaled - norm

    def through_softcap(self, gradient: Tensor, columns: slice) -> Tensor:
        """Gradient of the raw logits from that of the capped ones: d/dx c tanh(x/c) = 1 - (capped/c)^2."""
        if self.head.softcap is None:
            return gradient
        return gradient.mul_(1 - (self.logits(columns) / self.head.softcap).square_())


def over(logits: Tensor, temperature: float) -> Tensor:
    return logits if temperature == 1 else logits / temperature


def log_sum_exp(side: Side, tiles: Sequence[slice], temperature: float) -> Tensor:
    parts = [torch.logsumexp(over(side.logits(columns), temperature), 1, keepdim=True) for columns in tiles]
    return torch.logsumexp(torch.cat(parts, 1), 1, keepdim=True)
