"""The order in which a run is looked over: what needs no models first, what trains them last."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from distill.preflight import files
from distill.preflight.findings import Finding, Report, Span, Standing, raise_refusals, refused_by
from distill.preparation import Material, Parts, gather, prepare
from distill.recipe import TrainRecipe
from evalkit.errors import ModelError, PotstillError

Check = Callable[[Any], Iterator[Finding]]


def of_rows() -> dict[str, Check]:
    """Checks that need rows and tokenizer."""
    from distill.preflight import leakage, mask, rows, settings, vocabulary

    return {
        "data": rows.check,
        "labels": mask.check,
        "vocabulary": vocabulary.check,
        "settings": settings.check,
        "leakage": leakage.check,
    }


def of_models() -> dict[str, Check]:
    """Checks that need the models too."""
    from distill.preflight import disk, memory, terms

    return {"memory": memory.check, "disk": disk.check, "loss": terms.check}


def look_over(recipe: TrainRecipe, against: Sequence[str] = ()) -> Report:
    """All that can be known in under a minute. What is refused early leaves out what would need it."""
    start, load = time.perf_counter(), os.getloadavg()[0]
    findings = list(files.check(recipe))
    parts, material = _load(recipe, findings)
    with ExitStack() as stack:
        sample: tuple[Span, ...] = ()
        if material is not None:
            sample = _look(recipe, material, parts, against, load, findings, stack)
    seconds = round(time.perf_counter() - start, 2)
    return _report(recipe, findings, sample, seconds)


def _load(recipe: TrainRecipe, findings: list[Finding]) -> tuple[Parts | None, Material | None]:
    """Models and rows; the rows alone where the models are refused. A served teacher is not asked for anything."""
    if not any(finding.standing is Standing.REFUSAL for finding in findings):
        kept = recipe if files.asked(recipe) else recipe.model_copy(update={"served": None})
        try:
            parts = prepare(kept, None)
            return parts, parts.material
        except PotstillError as error:
            findings.append(refused_by("vocabulary" if isinstance(error, ModelError) else "data", "load", error))
    try:
        return None, gather(recipe, None)
    except PotstillError as error:
        found = refused_by("data", "load", error)
        if not any(finding.what == found.what for finding in findings) and not _known(error, findings):
            findings.append(found)
        return None, None


def _known(error: PotstillError, findings: list[Finding]) -> bool:
    """Whether this failure is only what a missing file leads to."""
    return any(f.standing is Standing.REFUSAL and f.what.startswith(error.where) for f in findings if error.where)


def _look(
    recipe: TrainRecipe,
    material: Material,
    parts: Parts | None,
    against: Sequence[str],
    load: float,
    findings: list[Finding],
    stack: ExitStack,
) -> tuple[Span, ...]:
    from distill.arguments import arguments
    from distill.preflight import mask, pace
    from distill.preflight.subject import Subject

    sample = mask.spans(material.encoded.rows[0], material.tokenizer)
    try:
        args = arguments(recipe, Path(recipe.output) / "checkpoints", len(material.encoded.rows))
    except PotstillError as error:
        findings.append(refused_by("settings", "training", error))
        return sample
    subject = Subject(recipe, material, args, parts, load=load, against=against, thorough=True)
    for check in of_rows().values():
        findings += check(subject)
    if parts is None:
        return sample
    subject.affordable = pace.rows_at_once(recipe, args, parts, subject.planned.widest)
    try:
        built = pace.throwaway(recipe, parts, stack, rows=max(1, subject.affordable))
    except PotstillError as error:
        findings.append(refused_by("settings", "training", error))
        return sample
    subject.trainer = built.trainer
    for check in of_models().values():
        findings += check(subject)
    if not any(f.standing is Standing.REFUSAL and f.topic == "memory" for f in findings):
        findings += pace.check(subject)
    return sample


def before_loading(recipe: TrainRecipe, run: Path) -> None:
    """In training, before anything is loaded: raises one error that names every missing file and tool. A run that is
    told not to look, or goes on from a checkpoint, is not looked over."""
    if _wanted(recipe, run):
        raise_refusals(files.check(recipe))


def before_training(recipe: TrainRecipe, run: Path, parts: Parts, built: Any) -> None:
    """In training, before the first step: prints the warnings and a line, raises one error that names all refusals.

    Nothing that the run depends on is touched: no weight, no gradient, no random state. Steps and evaluations are not
    timed here.
    """
    if not _wanted(recipe, run):
        return
    from distill.preflight import page
    from distill.preflight.subject import Subject

    start = time.perf_counter()
    trainer = built.trainer
    subject = Subject(recipe, parts.material, trainer.args, parts, trainer)
    findings = [finding for check in {**of_rows(), **of_models()}.values() for finding in check(subject)]
    report = _report(recipe, findings, (), round(time.perf_counter() - start, 2))
    if int(os.environ.get("RANK", "0")) == 0:
        page.print_warnings(report)
    raise_refusals(report.findings)


def _wanted(recipe: TrainRecipe, run: Path) -> bool:
    from distill.checkpoint import last_trainer_checkpoint

    return recipe.preflight and last_trainer_checkpoint(run / "checkpoints") is None


def _report(recipe: TrainRecipe, findings: list[Finding], sample: tuple[Span, ...], seconds: float) -> Report:
    return Report(output=recipe.output, method=recipe.method, findings=tuple(findings), sample=sample, seconds=seconds)
