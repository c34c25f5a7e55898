"""From rows to batches: what is packed together, in which order it comes, and the tensors of one batch.

The order is computed before training, from the seed and the lengths alone, so that a resumed run sees what an
uninterrupted one would have seen. Batches hold rows of similar length (padding costs as much as text).
"""

import bisect
import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from distill.data import IGNORE, Tokens

if TYPE_CHECKING:
    from distill.losses import Sparse
    from distill.targets.states import States

Members = list[int]
"""Indices of the rows that make one row of a batch: one, or several where they are packed."""


def order(lengths: Sequence[int], *, batch: int, batches: int, seed: int, window: int = 50) -> list[int]:
    """Indices of `batches` x `batch` rows, epoch after epoch, every row once per epoch.

    Within an epoch rows are shuffled, cut into windows of `window` batches, sorted by length inside each, cut into
    batches, and the batches shuffled. The last, short batch of an epoch is filled from the next one.
    """
    rng = random.Random(seed)
    indices: list[int] = []
    carry: list[int] = []
    while len(indices) < batch * batches:
        epoch = list(range(len(lengths)))
        rng.shuffle(epoch)
        pool, carry = carry + epoch, []
        whole = len(pool) - len(pool) % batch
        pool, carry = pool[:whole], pool[whole:]
        groups = []
        for start in range(0, len(pool), batch * window):
            near = sorted(pool[start : start + batch * window], key=lambda i: lengths[i])
            groups += [near[i : i + batch] for i in range(0, len(near), batch)]
        rng.shuffle(groups)
        indices += [i for group in groups for i in group]
    return indices[: batch * batches]


def plan(lengths: Sequence[int], capacity: int | None, *, batch: int, batches: int, seed: int) -> list[Members]:
    """The rows of `batches` batches. With a capacity they are packed, anew in each epoch; without, each is alone."""
    if capacity is None:
        return [[i] for i in order(lengths, batch=batch, batches=batches, seed=seed)]
    rng, rows = random.Random(seed), list[Members]()
    while len(rows) < batch * batches:
        rows += pack(lengths, capacity, rng)
    return rows[: batch * batches]


def pack(lengths: Sequence[int], capacity: int, rng: random.Random, window: int = 1000) -> list[Members]:
    """All rows once, packed into as few as best fit finds: rows are shuffled, and of each window the longest comes
    first, into the fullest pack that still has room. The packs are shuffled."""
    rows = list(range(len(lengths)))
    rng.shuffle(rows)
    packs: list[Members] = []
    for start in range(0, len(rows), window):
        open_packs: list[tuple[int, int]] = []  # (room, index), sorted
        for row in sorted(rows[start : start + window], key=lambda i: -lengths[i]):
            place = bisect.bisect_left(open_packs, (lengths[row], -1))
            if place == len(open_packs):
                packs.append([row])
                room, index = capacity - lengths[row], len(packs) - 1
            else:
                room, index = open_packs.pop(place)
                packs[index].append(row)
                room -= lengths[row]
            if room > 1:
                bisect.insort(open_packs, (room, index))
    rng.shuffle(packs)
    return packs


class Batches:
    """Collator: items name their members, and the rows they name become tensors, padded on the right.

    No attention mask is made: with causal attention a real position never sees the padding to its right, and padded
    positions carry no label, so a mask would cost time and change nothing. Of packed rows the positions start again at
    each member; from that the model sees where one ends (and no member sees another). `targets` are what was kept of a
    teacher, per row. `named`: a batch says in `rows` which rows it holds, in their order.
    """

    def __init__(
        self,
        rows: Sequence[Tokens],
        pad_id: int,
        *,
        packed: bool = False,
        targets: "Callable[[Sequence[Tokens]], Sparse | States] | None" = None,
        named: bool = False,
    ) -> None:
        self.rows, self.pad_id, self.packed, self.targets, self.named = rows, pad_id, packed, targets, named

    def __call__(self, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        import torch

        groups = [[self.rows[i] for i in item["members"]] for item in items]
        width = max(sum(len(row.input_ids) for row in group) for group in groups)
        longest = max(len(row.input_ids) for group in groups for row in group)
        ids = torch.full((len(groups), width), self.pad_id)
        labels = torch.full((len(groups), width), IGNORE)
        weights = torch.ones((len(groups), width))
        positions = torch.arange(width).repeat(len(groups), 1)
        for i, group in enumerate(groups):
            start = 0
            for row in group:
                there = slice(start, start + len(row.input_ids))
                ids[i, there], weights[i, there] = torch.tensor(row.input_ids), torch.tensor(row.weights)
                labels[i, there] = torch.tensor(row.labels)
                labels[i, start] = IGNORE  # nothing stands before it, or another row does
                positions[i, start:] = torch.arange(width - start) % longest  # padding needs no more than rows have
                start = there.stop
        batch: dict[str, Any] = {"input_ids": ids, "labels": labels, "weights": weights}
        if self.packed:
            batch["position_ids"] = positions
        if self.named:
            batch["rows"] = [i for item in items for i in item["members"]]
        if self.targets is not None:
            found = self.targets([row for group in groups for row in group])
            batch |= {f"target_{name}": part for name, part in found._asdict().items() if part is not None}
        return batch
