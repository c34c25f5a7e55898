"""Subjects for single checks, and bad datasets."""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from toy import toy_problem, toy_recipe

from distill.preflight.findings import Finding
from distill.preflight.subject import Subject
from distill.preparation import gather, prepare
from distill.recipe import TrainRecipe
from evalkit.records import SCHEMA_VERSION, Problem

PLENTY = {"max_steps": 4, "per_device_train_batch_size": 4, "save_steps": 2, "learning_rate": 1e-4}


def dataset(folder: Path, problems: Sequence[Problem], validation: Sequence[Problem] = ()) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in (("train", problems), ("validation", validation or [toy_problem(1000)])):
        lines = [json.dumps({"problem": problem.model_dump(mode="json")}) for problem in rows]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "manifest.json").write_text(json.dumps({"schema": SCHEMA_VERSION}))
    return folder


def toys(n: int) -> list[Problem]:
    return [toy_problem(i) for i in range(n)]


def looked_at(recipe: TrainRecipe, tmp_path: Path, *, against: Sequence[str] = ()) -> Subject:
    """Rows alone."""
    from distill.arguments import arguments

    material = gather(recipe, None)
    args = arguments(recipe, tmp_path / "checkpoints", len(material.encoded.rows))
    return Subject(recipe, material, args, against=against)


def with_models(recipe: TrainRecipe, stack: ExitStack) -> Subject:
    """The trainer too, as the command has it."""
    from distill.arguments import arguments
    from distill.preflight import pace

    parts = prepare(recipe, None)
    args = arguments(recipe, Path(recipe.output), len(parts.material.encoded.rows))
    trainer = pace.throwaway(recipe, parts, stack, rows=args.per_device_train_batch_size).trainer
    return Subject(recipe, parts.material, args, parts, trainer)


def by_name(findings: Any) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


__all__ = ["PLENTY", "by_name", "dataset", "looked_at", "toy_problem", "toy_recipe", "toys", "with_models"]
