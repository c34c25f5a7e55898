"""How long the run will take: a few real steps and one evaluation, on models that are thrown away afterwards."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from transformers import TrainerCallback

from distill.building import Built, build, remembered_bytes
from distill.preflight.findings import Finding, counted, ok, refused_by, warn
from distill.preflight.machine import duration, multiplications_per_second, on_gpu
from distill.preflight.subject import Subject
from distill.preflight.vocabulary import table_parameters
from distill.recipe import EvalPart, GuardPart, TrainRecipe
from distill.scoring import VALIDATION, scorer
from distill.trainer import head_of
from evalkit.console import console
from evalkit.errors import SandboxError, TrainingError
from evalkit.prompting import PROMPTING
from evalkit.records import Problem
from evalkit.runs import RunFolder

TOPIC = "time"

STEPS = 3
"""Steps that are taken; the first warms up and is not counted."""

PATIENCE = 8.0
"""Seconds that a measured step may take: a larger batch is measured in part."""

EVALUATING = 0.05
PROBLEMS = 24
"""Problems of the evaluation that is measured."""


def throwaway(recipe: TrainRecipe, parts: Any, stack: ExitStack, *, rows: int) -> Built:
    """The recipe's own trainer for a few steps, in a folder that goes, over `rows` at once: same loss, same optimizer,
    same adapters; nothing evaluated, nothing kept. It trains the models that it is given."""
    changed: dict[str, Any] = {"max_steps": STEPS, "save_strategy": "no", "report_to": "none"}
    changed |= {"per_device_train_batch_size": rows, "gradient_accumulation_steps": 1}
    loss = recipe.loss
    if recipe.method == "kd" and parts.teacher is None and parts.targets is None:  # a server that was not asked yet
        loss = loss.model_copy(update={"alpha": 1.0})
    quick = recipe.model_copy(
        update={
            "training": {**recipe.training, **changed},
            "eval": recipe.eval.model_copy(update={"samples": 0, "suites": []}),
            "guard": GuardPart(enabled=False),
            "output": "preflight",
            "loss": loss,
            "teacher_memory": 0.0,
        }
    )
    material = replace(parts.material, validation=[], held_out=[])
    folder = RunFolder(Path(stack.enter_context(TemporaryDirectory())), "train", {})
    quiet, console.quiet = console.quiet, True
    stack.callback(setattr, console, "quiet", quiet)
    return build(quick, folder, replace(parts, material=material), stack)


class _Watch(TrainerCallback):
    """The seconds at the start and after each step."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        if not self.times:
            self.times.append(_now())

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.times.append(_now())


def _now() -> float:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def rows_at_once(recipe: TrainRecipe, args: Any, parts: Any, widest: tuple[int, int]) -> int:
    """How many rows of a batch a measured step can take in the time there is; 0 where one row is too many."""
    expected = expected_step(args, parts, widest)
    rows = int(args.per_device_train_batch_size * min(1.0, PATIENCE / expected))
    return rows if rows or expected / args.per_device_train_batch_size > 2 * PATIENCE else 1


def check(subject: Subject) -> Iterator[Finding]:
    """Trains the subject's models for a few steps: the last that is done with them."""
    args, trainer = subject.args, subject.trainer
    if subject.affordable == 0:
        seconds = subject.planned.total * expected_step(args, subject.parts, subject.planned.widest)
        what = f"about {duration(seconds)}, by this machine's speed at matrix products: a step takes too long to try"
        yield ok(TOPIC, "training", what, seconds=round(seconds, 1), measured=False)
        return
    busy = subject.load
    try:
        each = seconds_per_batch(subject, trainer)
    except TrainingError as error:
        yield refused_by(TOPIC, "training", error)
        return
    seconds = each * subject.planned.total * (1 - _spared(subject))
    what = f"about {duration(seconds)} for {args.max_steps:,} steps of {duration(seconds / args.max_steps)}"
    what += f" (the machine is busy: {busy:.1f} processes beside this one)" if busy > 0.5 else ""
    yield ok(TOPIC, "training", what, seconds=round(seconds, 1), step=round(seconds / args.max_steps, 4), measured=True)
    yield from _evaluating(subject, seconds)


def expected_step(args: Any, parts: Any, widest: tuple[int, int]) -> float:
    """Seconds of a batch by arithmetic alone: 6 operations per weight and token for the student, 2 for a teacher
    (Kaplan et al. 2020, arXiv 2001.08361), at half the speed of a bare matrix product."""
    student = sum(p.numel() for p in parts.model.parameters())
    teacher = sum(p.numel() for p in parts.teacher.parameters()) if parts.teacher is not None else 0
    speed = 0.5 * multiplications_per_second(on_gpu(args))
    return float(widest[0] * widest[1] * (6 * student + 2 * teacher) / speed)


def seconds_per_batch(subject: Subject, trainer: Any) -> float:
    """Of the run's mean batch: what a measured one took, by its positions."""
    watch, rows = _Watch(), trainer.args.per_device_train_batch_size
    trainer.add_callback(watch)
    trainer.train()
    counted = watch.times[1:]
    each = (counted[-1] - counted[0]) / (len(counted) - 1)
    if subject.recipe.method == "on_policy":
        return each * subject.args.per_device_train_batch_size / rows
    positions = [_positions(subject, trainer.train_dataset[i : i + rows]["members"]) for i in _starts(rows)]
    return float(each / (sum(positions) / len(positions)) * subject.planned.per_batch)


def _spared(subject: Subject) -> float:
    """The share of what was measured that falls away because the teacher reads each row once: 2 operations per token
    and weight of its body, in all epochs but the first. Its head's and the student's 6 go on (embeddings are looked up;
    see `expected_step`)."""
    assert subject.parts is not None
    parts, epochs = subject.parts, subject.planned.epochs
    _, allowed = remembered_bytes(subject.recipe, parts, epochs)
    if not allowed:
        return 0.0
    body, head = _work(parts.teacher)
    return 2 * body / (2 * (body + head) + 6 * sum(_work(parts.model))) * (1 - 1 / epochs)


def _work(model: Any) -> tuple[int, int]:
    """Weights of the body that are multiplied for each token, and of the head."""
    total = sum(p.numel() for p in model.parameters())
    return total - table_parameters(model), head_of(model).weight.numel()


def _starts(rows: int) -> range:
    """Where the counted batches begin among the rows of the few steps."""
    return range(rows, STEPS * rows, rows)


def _positions(subject: Subject, groups: list[list[int]]) -> int:
    return len(groups) * max(sum(subject.lengths[i] for i in group) for group in groups)


def _evaluating(subject: Subject, training: float) -> Iterator[Finding]:
    """One evaluation of some problems as the run would do it. An untrained student writes to the limit, so this is more
    than it will be."""
    problems = evaluated(subject)
    if not problems:
        return
    from evalkit.sandbox import Sandbox

    try:
        with Sandbox() as sandbox:
            each = _evaluation(subject, problems, sandbox)
    except SandboxError as error:
        yield refused_by("files", "sandbox", error)
        return
    every = subject.recipe.eval.interval(subject.args.max_steps)
    times = 1 if every == 0 else max(1, -(-subject.args.max_steps // every))
    share = times * each / (training + times * each)
    which = "the one evaluation" if times == 1 else f"each of {times:,} evaluations"
    what = f"at most {duration(each)} for {which} of {counted(len(problems), 'problem')}: "
    what += f"{share:.0%} of the run, {duration(training + times * each)} in all"
    facts = {"each": round(each, 2), "times": times, "problems": len(problems), "share": round(share, 4)}
    if share <= EVALUATING or times == 1:
        yield ok(TOPIC, "evaluating", what, **facts)
        return
    sparing = max(1, int(EVALUATING * training / ((1 - EVALUATING) * each)))
    fix = f"eval.every={-(-subject.args.max_steps // sparing)}, fewer eval.samples, or a smaller eval.max_new_tokens"
    why = f"more than {EVALUATING:.0%} of the time goes into looking."
    yield warn(TOPIC, "evaluating", what, why=why, fix=fix, **facts)


def evaluated(subject: Subject) -> list[Problem]:
    """What one evaluation asks."""
    from evalkit.suites import load_suite

    asked = list(subject.material.validation)
    for name in subject.recipe.eval.suites:
        asked += load_suite(name)
    return asked


def _evaluation(subject: Subject, problems: list[Problem], sandbox: Any) -> float:
    """Seconds of one evaluation, from that of its first problems; the sandbox is warm by then."""
    part: EvalPart = subject.recipe.eval.model_copy(update={"time_limit": None})

    def measure(count: int, asked: EvalPart) -> float:
        chosen = {VALIDATION: problems[:count]}
        scores = scorer(chosen, subject.material.tokenizer, sandbox, PROMPTING, asked)(subject.trainer.model, 0)
        return sum(score.seconds for score in scores)

    first = measure(1, part.model_copy(update={"max_new_tokens": min(8, part.max_new_tokens)}))
    if first > 2.0:  # a large student: one problem must do
        return first * part.max_new_tokens / min(8, part.max_new_tokens) * len(problems)
    count = min(PROBLEMS, len(problems))
    return measure(count, part) * len(problems) / count
