"""Rows of tokens under way in one key-value cache: left-padded, so that all of them write their next token in one
column. Rows leave, are copied and join. The one file that reaches into the caches of transformers.

    columns ->      p a d 5 8 2 | 7         mask 0 0 0 1 1 1 | 1       what stands before the bar is in the cache,
                    4 9 1 6 3 2 | 7              1 1 1 1 1 1 | 1       what stands behind it is fed next
"""

from collections.abc import Iterator, Sequence
from typing import Any, Self


class CachedRows:
    """The rows of a batch. Made of prompts, which are fed by the first `forward` or by `slices`; then `append` and
    `forward` take turns."""

    def __init__(self, model: Any, prompts: Sequence[Sequence[int]], pad: int, cache: Any = None) -> None:
        import torch
        from transformers import DynamicCache

        self.model = model
        self.device = next(model.parameters()).device
        longest = max(len(ids) for ids in prompts)
        self.ids = torch.full((len(prompts), longest), pad, dtype=torch.long)
        self.mask = torch.zeros((len(prompts), longest), dtype=torch.long)
        for i, ids in enumerate(prompts):
            self.ids[i, longest - len(ids) :] = torch.tensor(ids)
            self.mask[i, longest - len(ids) :] = 1
        self.ids, self.mask = self.ids.to(self.device), self.mask.to(self.device)
        self.positions = (self.mask.cumsum(-1) - 1).clamp(min=0)
        self.cache: Any = DynamicCache(config=model.config) if cache is None else cache

    def __len__(self) -> int:
        return int(self.mask.shape[0])

    def forward(self) -> Any:
        """Feeds what is not in the cache yet. Logits of the last position, `(rows, vocabulary)`, in fp32."""
        return self._feed(self.ids, self.mask, self.positions, 1)[:, -1].float()

    def slices(self, width: int) -> Iterator[tuple[int, Any]]:
        """Feeds the prompts `width` columns at a time: `(first column, logits (rows, columns, vocabulary))`. What has
        been looked at may be dropped: the logits of a long prompt never exist at once."""
        for start in range(0, self.ids.shape[1], width):
            end = start + width
            yield start, self._feed(self.ids[:, start:end], self.mask[:, :end], self.positions[:, start:end], 0)

    def _feed(self, ids: Any, mask: Any, positions: Any, keep: int) -> Any:
        output = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=keep,
        )
        return output.logits

    def append(self, tokens: Sequence[int]) -> None:
        """One token more for every row."""
        import torch

        self.ids = torch.tensor(tokens, device=self.device).unsqueeze(1)
        self.mask = torch.cat([self.mask, self.mask.new_ones((len(tokens), 1))], dim=1)
        self.positions = self.positions[:, -1:] + 1

    def select(self, rows: Sequence[int]) -> None:
        """Only these rows, in this order; a row that is named twice is there twice."""
        import torch

        index = torch.tensor(rows, device=self.device)
        self.ids, self.mask, self.positions = self.ids[index], self.mask[index], self.positions[index]
        self.cache.batch_select_indices(index)

    def join(self, other: Self) -> None:
        """Takes in the rows of another cache, behind its own. Both have fed all but the token appended last, and can
        be joined (`joinable`)."""
        import torch

        width = max(self.mask.shape[1], other.mask.shape[1])
        for rows in (self, other):
            rows._widen(width)
        self.ids = torch.cat([self.ids, other.ids])
        self.mask = torch.cat([self.mask, other.mask])
        self.positions = torch.cat([self.positions, other.positions])
        for mine, theirs in zip(self.cache.layers, other.cache.layers, strict=True):
            mine.keys = torch.cat([mine.keys, theirs.keys])
            mine.values = torch.cat([mine.values, theirs.values])

    def trim(self, width: int) -> None:
        """Drops the columns before the last `width`, in which nothing but padding is left. After `append`; for caches
        that can be joined."""
        cut = self.mask.shape[1] - width
        if cut <= 0:
            return
        self.mask = self.mask[:, cut:]
        for layer in self.cache.layers:
            layer.keys, layer.values = layer.keys[..., cut:, :], layer.values[..., cut:, :]

    def _widen(self, width: int) -> None:
        from torch.nn.functional import pad

        extra = width - self.mask.shape[1]
        if extra == 0:
            return
        self.mask = pad(self.mask, (extra, 0))
        for layer in self.cache.layers:
            layer.keys, layer.values = pad(layer.keys, (0, 0, extra, 0)), pad(layer.values, (0, 0, extra, 0))


def joinable(model: Any) -> bool:
    """Whether rows of this model may join others half-way: all that its layers keep is keys and values by position.
    Convolutions and linear attention keep a running state."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    layers = DynamicCache(config=model.config).layers
    return all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)


def full_cache() -> Any:
    """A cache that keeps every position, also for layers that look at a window only (the mask sees to that)."""
    from transformers import DynamicCache

    return DynamicCache()


def padding_id(tokenizer: Any) -> int:
    """What fills the columns before a shorter prompt; it is never attended to."""
    return next((id for id in (tokenizer.pad_token_id, tokenizer.eos_token_id) if id is not None), 0)
