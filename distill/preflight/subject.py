"""What is looked over: the recipe with its rows and planned batches, and the trainer where the models are here."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from distill.batches import Members, plan
from distill.preparation import Material, Parts
from distill.recipe import TrainRecipe

MOST_BATCHES = 5000
"""Planned batches that are looked at; a longer run is judged by these."""


@dataclass(frozen=True)
class Planned:
    """The batches of a run. Tokens: `real` ones, and `padded` positions, of those that were looked at."""

    batches: list[list[Members]]
    real: int
    padded: int
    widest: tuple[int, int]
    """Rows and width of the batch with the most positions."""
    total: int
    """Batches of the whole run, on this process."""
    epochs: float

    @property
    def per_batch(self) -> float:
        """Mean positions of a batch, padding included."""
        return self.padded / len(self.batches)


@dataclass
class Subject:
    """`args` are the real arguments of the run. `trainer` has the models as training has them, adapters included; None
    where they could not be loaded."""

    recipe: TrainRecipe
    material: Material
    args: Any
    parts: Parts | None = None
    trainer: Any = None
    affordable: int = 0
    """Rows of a batch that a measured step may take; 0: none is measured."""
    load: float = 0.0
    """Processes that were busy on this machine before this one began."""
    against: Sequence[str] = ()
    """Further benchmark files that no row may leak from."""
    thorough: bool = False
    """Whether more than a moment may be taken: by the command, not by training."""

    @cached_property
    def lengths(self) -> list[int]:
        return [len(row.input_ids) for row in self.material.encoded.rows]

    @cached_property
    def planned(self) -> Planned:
        """The run's own batches (a shorter plan is the beginning of a longer one)."""
        size, args = self.args.per_device_train_batch_size, self.args
        total = args.max_steps * args.gradient_accumulation_steps * args.world_size
        packed = self.recipe.data.packed
        capacity = self.recipe.data.max_length if packed else None
        shown = min(total, MOST_BATCHES)
        members = plan(self.lengths, capacity, batch=size, batches=shown, seed=args.seed)
        batches = [members[i : i + size] for i in range(0, len(members), size)]
        shapes, real = [], 0
        for batch in batches:
            widths = [sum(self.lengths[i] for i in group) for group in batch]
            shapes.append((len(batch), max(widths)))
            real += sum(widths)
        widest = max(shapes, key=lambda shape: shape[0] * shape[1])
        padded = sum(rows * width for rows, width in shapes)
        epochs = real / sum(self.lengths) * total / shown
        return Planned(batches, real, padded, widest, args.max_steps * args.gradient_accumulation_steps, epochs)
