"""`distill train RECIPE`: one training run, from a dataset folder to a checkpoint folder.

    1. open the run folder (a finished run returns at once, another recipe is refused)
    2. read and tokenize the data, build or load student and teacher
    3. train, evaluating at intervals; a killed run goes on from its last whole checkpoint
    4. write the best weights as a model folder, and the summary

Layout: manifest.json, tokenizer/, checkpoints/ (the trainer's own), best/ (weights), evaluations.jsonl, log.jsonl,
model/ (the product; with LoRA merged, and the adapter in adapter/), summary.json.
"""

import errno
import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill.recipe import TrainRecipe
from evalkit.console import console, progress
from evalkit.errors import DataError, PotstillError
from evalkit.prompting import PROMPTING
from evalkit.runs import RunFolder, write_atomic


@dataclass
class Parts:
    """What one run trains with."""

    tokenizer: Any
    model: Any
    teacher: Any
    valid: int
    train: list[Any]
    validation: list[Any]
    facts: dict[str, Any]


def train(recipe: TrainRecipe) -> dict[str, Any]:
    """Run the recipe and return the summary. Raises the errors of evalkit.errors, nothing else on bad input.

    A run that is refused before its first step leaves no folder behind.
    """
    run = RunFolder(recipe.output, "train", recipe.model_dump(mode="json")).open()
    if run.finished:
        return run.summary
    _quiet(recipe)
    with ExitStack() as stack:
        with run.or_nothing(PotstillError):
            parts = _prepare(recipe, run)
            trainer, history, resumed = _trainer(recipe, run, parts, stack)
        run.update_manifest(**parts.facts)
        started = time.monotonic()
        with _disk(run.path):
            trainer.train(resume_from_checkpoint=resumed)
    seconds = time.monotonic() - started
    step = _keep_best(run, trainer, history)
    summary = _summary(recipe, parts, trainer, history, step, seconds)
    with _disk(run.path):
        _write_product(recipe, run, trainer.model, parts, summary)
    run.finish(summary)
    return summary


def _quiet(recipe: TrainRecipe) -> None:
    """No network where every path is local, no bars but ours. Before the libraries are imported."""
    paths = [path for path in (recipe.student.path, recipe.tokenizer.path, recipe.teacher) if path is not None]
    if all(Path(path).is_dir() for path in paths):
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import datasets
    from transformers.utils import logging

    datasets.disable_progress_bars()
    logging.disable_progress_bar()


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    """What the libraries raise when a checkpoint cannot be written, as one clear error."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if _unwritten(error):
            raise DataError(
                f"cannot write: {error}", where=str(path), fix="free some space and run again; it resumes"
            ) from error
        raise


def _unwritten(error: Exception) -> bool:
    """Whether this is what comes of a file that could not be written (torch.save says it in a RuntimeError)."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)
    return not isinstance(error, RuntimeError) or "inline_container" in str(error) or "StreamWriter" in str(error)


def _prepare(recipe: TrainRecipe, run: RunFolder) -> Parts:
    from distill.align import aligned_vocabulary
    from distill.arguments import DEFAULTS
    from distill.data import choose, encode_rows, fingerprint, read_rows
    from distill.students import load_model, load_tokenizer, new_student, shape_of

    rows = choose(read_rows(recipe.data.folder, "train"), recipe.data)
    tokenizer = _tokenizer(recipe, run, rows)
    encoded = encode_rows(rows, tokenizer, PROMPTING, recipe.data.max_length, recipe.data.prompt_weight)
    seed = int(recipe.training.get("seed", DEFAULTS["seed"]))
    if recipe.student.path is not None:
        model = load_model(recipe.student.path)
    else:
        model = new_student(shape_of(recipe.student), tokenizer, max_length=recipe.data.max_length, seed=seed)
    valid, teacher = len(tokenizer), None
    facts: dict[str, Any] = {"data_fingerprint": fingerprint(Path(recipe.data.folder) / "train.jsonl")}
    if recipe.teacher is not None:
        teacher = load_model(recipe.teacher)
        valid = aligned_vocabulary(
            tokenizer, load_tokenizer(recipe.teacher), model.config.vocab_size, teacher.config.vocab_size
        )
        facts["teacher_fingerprint"] = fingerprint(recipe.teacher) if Path(recipe.teacher).is_dir() else recipe.teacher
    facts |= {
        "prompting": PROMPTING.model_dump(mode="json"),
        "rows": len(encoded.rows),
        "rows_too_long": encoded.too_long,
        "rows_not_a_continuation": encoded.not_a_continuation,
        "parameters": sum(p.numel() for p in model.parameters()),
    }
    return Parts(tokenizer, model, teacher, valid, encoded.rows, _validation(recipe), facts)


def _tokenizer(recipe: TrainRecipe, run: RunFolder, rows: list[Any]) -> Any:
    """The recipe's tokenizer; one trained for this run is kept in it, so that a resumed run has the same."""
    from distill.students import load_tokenizer
    from distill.tokenizer import train_tokenizer

    kept = run.path / "tokenizer"
    if recipe.tokenizer.vocab_size is None:
        source = recipe.tokenizer.path or recipe.student.path or recipe.teacher
        assert source is not None  # the recipe's validator saw to it
        return load_tokenizer(source)
    if not kept.exists():
        from distill.checkpoint import save_folder

        trained = train_tokenizer([row.problem.solution for row in rows], recipe.tokenizer.vocab_size)
        save_folder(lambda folder: trained.save_pretrained(folder), kept)
    return load_tokenizer(str(kept))


def _validation(recipe: TrainRecipe) -> list[Any]:
    from distill.data import choose, read_rows

    if recipe.eval.samples == 0:
        return []
    rows = choose(
        read_rows(recipe.data.folder, "validation"), recipe.data.model_copy(update={"limit": None, "rehearsal": 0.0})
    )
    return [row.problem for row in rows[: recipe.eval.samples]]


def _trainer(recipe: TrainRecipe, run: RunFolder, parts: Parts, stack: ExitStack) -> tuple[Any, Any, str | None]:
    """The trainer with its callbacks, the history of evaluations, and the checkpoint to resume from."""
    import datasets

    from distill.arguments import arguments
    from distill.callbacks import Evaluate, History, Show
    from distill.checkpoint import keep_weights, last_trainer_checkpoint
    from distill.data import Padded, order
    from distill.guard import Guard

    args = arguments(recipe, run.path / "checkpoints", len(parts.train))
    batches = args.max_steps * args.gradient_accumulation_steps * args.world_size
    columns = {name: [getattr(t, name) for t in parts.train] for name in ("input_ids", "labels", "weights")}
    indices = order(
        [len(ids) for ids in columns["input_ids"]],
        batch=args.per_device_train_batch_size,
        batches=batches,
        seed=args.seed,
    )
    dataset = datasets.Dataset.from_dict(columns).select(indices)
    trainer = _build(recipe, parts, args, dataset, Padded(parts.tokenizer.pad_token_id))
    checkpoint = last_trainer_checkpoint(run.path / "checkpoints")
    done = int(checkpoint.name.rsplit("-", 1)[1]) if checkpoint else 0
    history = History(run.path / "evaluations.jsonl", done)
    suites = _suites(recipe, parts)
    if suites:
        score = _scorer(recipe, parts, suites, stack)
        evaluate = Evaluate(
            score,
            history,
            Guard(recipe.guard),
            every=recipe.eval.every,
            patience=recipe.eval.patience,
            keep=keep_weights,
            best=run.path / "best",
        )
        trainer.add_callback(evaluate)
    tick = stack.enter_context(progress(args.max_steps, Path(recipe.output).name))
    if done:
        console.print(f"resuming at step {done} of {args.max_steps}", markup=False)
        tick(done)
    trainer.add_callback(Show(tick))
    return trainer, history, str(checkpoint) if checkpoint else None


def _build(recipe: TrainRecipe, parts: Parts, args: Any, dataset: Any, collator: Any) -> Any:
    from transformers.trainer_callback import PrinterCallback, ProgressCallback

    lora = _lora(recipe)
    trainer: Any
    if recipe.method == "sft":
        from distill.sft import PlainSFT

        trainer = PlainSFT(
            model=parts.model,
            args=args,
            train_dataset=dataset,
            data_collator=collator,
            processing_class=parts.tokenizer,
            peft_config=lora,
        )
    else:
        from distill.losses import LossSpec
        from distill.trainer import DistillTrainer

        model = parts.model
        if lora is not None:
            from peft import get_peft_model

            model = get_peft_model(model, lora)
        loss = recipe.loss.model_dump()
        spec = LossSpec(valid=parts.valid, label_smoothing=args.label_smoothing_factor, **loss)
        trainer = DistillTrainer(
            model=model,
            args=args,
            train_dataset=dataset,
            data_collator=collator,
            processing_class=parts.tokenizer,
            teacher=parts.teacher,
            spec=spec,
        )
    if recipe.optimizer.name == "muon":
        trainer.matrix_rate = recipe.optimizer.matrix_learning_rate
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    return trainer


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


def _suites(recipe: TrainRecipe, parts: Parts) -> dict[str, list[Any]]:
    from distill.scoring import VALIDATION

    suites = {VALIDATION: parts.validation} if parts.validation else {}
    for name in recipe.eval.suites:
        from evalkit.suites import load_suite

        suites[name] = list(load_suite(name))
    return suites


def _scorer(recipe: TrainRecipe, parts: Parts, suites: dict[str, list[Any]], stack: ExitStack) -> Any:
    from distill.scoring import scorer
    from evalkit.sandbox import Sandbox

    sandbox = stack.enter_context(Sandbox())
    return scorer(suites, parts.tokenizer, sandbox, PROMPTING, recipe.eval.max_new_tokens)


def _keep_best(run: RunFolder, trainer: Any, history: Any) -> int:
    """Put the best weights back into the model; returns their step (the last one where nothing chose)."""
    from distill.checkpoint import load_weights

    if history.best is None or history.best.step == trainer.state.global_step:
        return int(trainer.state.global_step)
    load_weights(trainer.model, run.path / "best")
    return int(history.best.step)


def _summary(
    recipe: TrainRecipe, parts: Parts, trainer: Any, history: Any, step: int, seconds: float
) -> dict[str, Any]:
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    return {
        "name": Path(recipe.output).name,
        "method": recipe.method if recipe.lora is None else f"{recipe.method}+lora",
        "steps": trainer.state.global_step,
        "chosen_step": step,
        "loss": logs[-1]["loss"] if logs else None,
        "seconds": round(seconds, 1),
        "parameters": parts.facts["parameters"],
        "rows": parts.facts["rows"],
        "scores": [s.model_dump(mode="json", exclude={"samples"}) for s in history.scores if s.step == step],
        "log": logs,
    }


def _write_product(recipe: TrainRecipe, run: RunFolder, model: Any, parts: Parts, summary: dict[str, Any]) -> None:
    from distill.checkpoint import is_adapter, provenance, save_folder, write_model

    facts = provenance(recipe, **parts.facts)
    facts |= {key: summary[key] for key in ("chosen_step", "steps", "scores")}
    if is_adapter(model):
        save_folder(lambda folder: write_model(model, parts.tokenizer, PROMPTING, facts, folder), run.path / "adapter")
        model = model.merge_and_unload()
    save_folder(lambda folder: write_model(model, parts.tokenizer, PROMPTING, facts, folder), run.path / "model")
    log = "".join(json.dumps(entry) + "\n" for entry in summary["log"])
    write_atomic(run.path / "log.jsonl", log)
