"""The trainer of each method, with the rows in their order and the callbacks that watch it."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill.arguments import arguments, refused
from distill.batches import Batches, plan
from distill.callbacks import Alarm, Evaluate, History, Show
from distill.checkpoint import keep_weights, last_trainer_checkpoint
from distill.contract import check_contract
from distill.guard import Guard
from distill.losses import LossSpec
from distill.preparation import Parts
from distill.recipe import TrainRecipe
from distill.scoring import VALIDATION, held_out_loss, scorer
from distill.targets.remembered import Remembered, not_kept, size
from distill.trainer import DistillTrainer, head_of
from evalkit.console import console, progress
from evalkit.prompting import PROMPTING
from evalkit.records import digest
from evalkit.runs import RunFolder

WORTH = 1.5
"""Epochs from which it is worth the disk to remember what the teacher made of the rows."""


@dataclass
class Built:
    """A trainer that is ready, what its evaluations said so far, and the checkpoint that it goes on from."""

    trainer: Any
    history: History
    checkpoint: str | None


def build(recipe: TrainRecipe, run: RunFolder, parts: Parts, stack: ExitStack) -> Built:
    """Everything up to the first step. The stack closes the sandbox and the progress line."""
    args = arguments(recipe, run.path / "checkpoints", len(parts.material.encoded.rows))
    try:
        trainer = _trainer(recipe, run, parts, args)
    except (ImportError, ValueError) as error:  # a library that is missing, arguments that contradict each other
        raise refused(error) from error
    if getattr(trainer, "remembered", None) is not None:
        stack.callback(trainer.remembered.close)
    _check(recipe, parts, trainer)
    checkpoint = last_trainer_checkpoint(run.path / "checkpoints")
    done = int(checkpoint.name.rsplit("-", 1)[1]) if checkpoint else 0
    guard = Guard(recipe.guard)
    history = History(run.path / "evaluations.jsonl", done, recipe.eval.metric, run.path / "best", guard)
    score = _scorer(recipe, parts, args, stack)
    if score is not None:
        every = recipe.eval.interval(args.max_steps)
        evaluate = Evaluate(
            score,
            history,
            guard,
            every=every,
            patience=recipe.eval.patience,
            keep=keep_weights,
            best=run.path / "best",
            report=_reporter(trainer),
        )
        trainer.add_callback(evaluate)
        trainer.add_callback(Alarm(recipe.guard, evaluate))
        if done and evaluate.over and recipe.method != "on_policy":
            _end_here(trainer, done)
    tick = stack.enter_context(progress(args.max_steps, Path(recipe.output).name))
    if done:
        console.print(f"resuming at step {done} of {args.max_steps}", markup=False)
        tick(done)
    trainer.add_callback(Show(tick))
    return Built(trainer, history, str(checkpoint) if checkpoint else None)


def _reporter(trainer: Any) -> Callable[[dict[str, float]], None]:
    """Hands figures to what `report_to` names, and leaves the trainer's own log alone: it is part of the checkpoint."""

    def report(figures: dict[str, float]) -> None:
        handler = trainer.callback_handler
        handler.call_event("on_log", trainer.args, trainer.state, trainer.control, logs=dict(figures))

    return report


def _end_here(trainer: Any, done: int) -> None:
    """Of a run that was killed between its early stop and its product: nothing more is learned."""
    args = trainer.args
    rows = done * args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
    trainer.train_dataset, args.max_steps = trainer.train_dataset.select(range(rows)), done


def _check(recipe: TrainRecipe, parts: Parts, trainer: Any) -> None:
    """Student and teacher are what the loss takes them for. On-policy distillation has TRL's own loss."""
    if recipe.method == "on_policy":
        return
    models = {"student": trainer.model, "teacher": getattr(trainer, "teacher", None)}
    for who, model in models.items():
        if model is not None:
            rows, packed = parts.material.encoded.rows, recipe.data.packed
            check_contract(model, rows, who=who, valid=parts.valid, packed=packed)


def _trainer(recipe: TrainRecipe, run: RunFolder, parts: Parts, args: Any) -> Any:
    from transformers import set_seed
    from transformers.trainer_callback import PrinterCallback, ProgressCallback

    set_seed(args.seed)  # adapters are drawn before the trainer sets it
    lora = _lora(recipe)
    trainer: Any
    if recipe.method == "on_policy":
        from distill.on_policy import on_policy_trainer

        trainer = on_policy_trainer(recipe, parts, args, lora)
    elif recipe.method == "sft":
        from distill.sft import PlainSFT

        trainer = PlainSFT(
            model=parts.model, args=args, peft_config=lora, valid=parts.valid, **_feed(recipe, parts, args)
        )
    else:
        trainer = _ours(recipe, run, parts, args, lora)
    if recipe.optimizer.name == "muon":
        trainer.matrix_rate = recipe.optimizer.matrix_learning_rate
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    return trainer


def _ours(recipe: TrainRecipe, run: RunFolder, parts: Parts, args: Any, lora: Any) -> Any:
    model = parts.model
    if lora is not None:
        from peft import get_peft_model

        model = get_peft_model(model, lora)
    loss = recipe.loss.model_dump()
    if recipe.method == "pretrain":
        loss["alpha"] = 1.0
    spec = LossSpec(valid=parts.valid, label_smoothing=args.label_smoothing_factor, **loss)
    feed = _feed(recipe, parts, args)
    epochs = sum(map(len, feed["train_dataset"]["members"])) / len(parts.material.encoded.rows)
    remembered = _remembered(recipe, run, parts, epochs)
    feed["data_collator"].named = remembered is not None
    source = {"teacher": parts.teacher, "head": parts.head, "remembered": remembered}
    return DistillTrainer(model=model, args=args, spec=spec, **source, **feed)


def remembered_bytes(recipe: TrainRecipe, parts: Parts, epochs: float) -> tuple[int, bool]:
    """Bytes that it takes to remember what the teacher makes of all rows (0 where hardly a row comes twice, or nothing
    of a teacher is wanted), and whether the recipe allows that many."""
    if parts.teacher is None or recipe.method != "kd" or recipe.loss.alpha == 1 or epochs < WORTH:
        return 0, False
    head = head_of(parts.teacher).weight
    needed = size([row.learned for row in parts.material.encoded.rows], head.shape[1], head.element_size())
    return needed, needed <= recipe.teacher_memory * 2**30


def _remembered(recipe: TrainRecipe, run: RunFolder, parts: Parts, epochs: float) -> Remembered | None:
    needed, allowed = remembered_bytes(recipe, parts, epochs)
    if not allowed:
        if needed and recipe.teacher_memory:
            what = f"the teacher reads the rows in every epoch: to remember them would take {needed / 2**30:.1f} GiB"
            console.print(f"{what} (teacher_memory: {recipe.teacher_memory:g})", markup=False, soft_wrap=True)
        return None
    rows = parts.material.encoded.rows
    belongs = digest([parts.facts["teacher_fingerprint"], *(row.digest.hex() for row in rows)])
    try:
        return Remembered(run.path, [row.learned for row in rows], belongs)
    except OSError as error:
        not_kept(error)
        return None


def _feed(recipe: TrainRecipe, parts: Parts, args: Any) -> dict[str, Any]:
    """The rows of all batches in their order, and what makes tensors of them."""
    import datasets

    rows, packed = parts.material.encoded.rows, recipe.data.packed
    members = plan(
        [len(row.input_ids) for row in rows],
        recipe.data.max_length if packed else None,
        batch=args.per_device_train_batch_size,
        batches=args.max_steps * args.gradient_accumulation_steps * args.world_size,
        seed=args.seed,
    )
    targets = parts.targets if recipe.loss.alpha < 1 else None
    return {
        "train_dataset": datasets.Dataset.from_dict({"members": members}),
        "data_collator": Batches(rows, parts.tokenizer.pad_token_id, packed=packed, targets=targets),
        "processing_class": parts.tokenizer,
    }


def _lora(recipe: TrainRecipe) -> Any:
    if recipe.lora is None:
        return None
    from peft import LoraConfig

    part = recipe.lora
    return LoraConfig(
        r=part.r,
        lora_alpha=part.alpha,
        lora_dropout=part.dropout,
        target_modules=part.target,
        task_type="CAUSAL_LM",
    )


def _scorer(recipe: TrainRecipe, parts: Parts, args: Any, stack: ExitStack) -> Any:
    """What scores the live weights; None where the recipe asks for nothing."""
    suites = {VALIDATION: parts.material.validation} if parts.material.validation else {}
    for name in recipe.eval.suites:
        from evalkit.suites import load_suite

        suites[name] = list(load_suite(name))
    held_out = None
    if parts.material.held_out:
        batches = Batches(parts.material.held_out, parts.tokenizer.pad_token_id)
        held_out = held_out_loss(batches, parts.valid, args.per_device_train_batch_size)
    if not suites and held_out is None:
        return None
    sandbox = None
    if suites:
        from evalkit.sandbox import Sandbox

        sandbox = stack.enter_context(Sandbox())
    return scorer(suites, parts.tokenizer, sandbox, PROMPTING, recipe.eval, held_out)
