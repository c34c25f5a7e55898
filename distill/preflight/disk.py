"""Room for what the run writes: checkpoints, the best weights, the product."""

import math
from collections.abc import Iterator
from pathlib import Path

from distill.building import remembered_bytes
from distill.preflight.findings import Boundary, Finding, ok, refuse, warn
from distill.preflight.machine import free_disk, readable
from distill.preflight.memory import Sizes, optimizer_bytes, sizes_of
from distill.preflight.subject import Subject
from distill.recipe import TrainRecipe
from distill.targets.remembered import FILES

TOPIC = "disk"

BESIDE = 400_000
"""Bytes of a tokenizer, the trainer's state and the rest of a small folder."""

NEARLY = 0.85


def written(recipe: TrainRecipe, sizes: Sizes, checkpoints: int, *, chosen: bool) -> dict[str, int]:
    """Bytes by what they are for. A checkpoint is weights (adapters alone with LoRA) and optimizer state; one more than
    is kept is there while the oldest goes, and so are two of what is swapped: the best weights and the product."""
    trained = 4 * sizes.trained
    each = trained + optimizer_bytes(recipe, sizes) + BESIDE
    merged = 4 * sizes.parameters + BESIDE
    found = {"checkpoints": each * checkpoints, "product": merged + (trained if recipe.lora is not None else 0)}
    if chosen:
        found["best"] = 2 * trained + BESIDE
    return found


def check(subject: Subject) -> Iterator[Finding]:
    assert subject.parts is not None
    recipe, args, material = subject.recipe, subject.args, subject.material
    saves = str(getattr(args.save_strategy, "value", args.save_strategy)) != "no"
    every = args.save_steps if args.save_steps >= 1 else max(1, args.save_steps * args.max_steps)
    times = math.ceil(args.max_steps / every) if saves else 0
    kept = min(times, args.save_total_limit + 1) if args.save_total_limit else times
    chosen = bool(material.validation or material.held_out)
    found = written(recipe, sizes_of(subject.trainer.model), kept, chosen=chosen)
    remembered, allowed = remembered_bytes(recipe, subject.parts, subject.planned.epochs)
    if allowed:
        found["teacher_memory"] = remembered
    begun = Path(recipe.output).glob(FILES)  # of a run that was killed; it is among what is needed
    held = sum(file.stat().st_blocks * 512 for file in begun)
    needed, free = sum(found.values()), free_disk(Path(recipe.output)) + held
    said = ", ".join(f"{name} {readable(size)}" for name, size in found.items() if size)
    what = f"about {readable(needed)} of {readable(free)} free: {said}"
    facts = {"needed": needed, "free": free, "parts": found, "checkpoints": kept}
    limit = "" if args.save_total_limit else "training.save_total_limit=2, "
    fix = f"free some space, {limit}{'teacher_memory=0, ' if allowed else ''}or another output"
    if needed > free:
        why = f"the run cannot write all of its {kept} checkpoints and its product."
        what = f"cannot write to {recipe.output}: {what}"
        yield refuse(TOPIC, "room", what, why=why, fix=fix, boundary=Boundary.DATA, **facts)
    elif needed > NEARLY * free:
        yield warn(TOPIC, "room", what, why="little is left for anything else.", fix=fix, **facts)
    else:
        yield ok(TOPIC, "room", what, **facts)
