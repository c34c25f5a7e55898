"""`distill train RECIPE`: one training run, from a dataset folder to a checkpoint folder.

    1. open the run folder (a finished run returns at once, another recipe is refused)
    2. read and tokenize the data, build or load student and teacher
    3. train, evaluating at intervals; a killed run goes on from its last whole checkpoint
    4. write the best weights as a model folder, and the summary

Layout: manifest.json, tokenizer/, checkpoints/ (the trainer's own), best/ (weights), evaluations.jsonl, log.jsonl,
model/ (the product; with LoRA merged, and the adapter in adapter/), summary.json; while it runs teacher-*.bin, what the
teacher made of the rows.
"""

import errno
import json
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from distill.recipe import TrainRecipe
from evalkit.endpoint import paid
from evalkit.errors import DataError
from evalkit.prompting import PROMPTING
from evalkit.runs import RunFolder, write_atomic


def train(recipe: TrainRecipe) -> dict[str, Any]:
    """Run the recipe and return the summary. Raises the errors of evalkit.errors, nothing else on bad input.

    A run that is refused before its first step leaves no folder behind.
    """
    may_change = ("preflight", "teacher_memory")
    run = RunFolder(recipe.output, "train", recipe.model_dump(mode="json"), may_change=may_change).open()
    if run.finished:
        return run.summary
    quiet(recipe)
    with ExitStack() as stack:
        from distill.building import build
        from distill.jobs.cache import JOURNAL
        from distill.preflight import before_loading, before_training
        from distill.preparation import SERVED, prepare
        from distill.targets.remembered import FILES

        with run.or_nothing(Exception, holds=lambda: paid(run.path / SERVED / JOURNAL)):
            before_loading(recipe, run.path)
            with _first_alone(recipe):  # the others find what it has made
                _ask_server(recipe)
                parts = prepare(recipe, run.path / "tokenizer")
            built = build(recipe, run, parts, stack)
            before_training(recipe, run.path, parts, built)
        trainer = built.trainer
        run.update_manifest(**parts.facts)
        started = time.monotonic()
        with _disk(run.path):
            trainer.train(resume_from_checkpoint=built.checkpoint)
        for file in run.path.glob(FILES):
            if file.is_file():
                file.unlink(missing_ok=True)
    seconds = time.monotonic() - started
    if not trainer.is_world_process_zero():
        return _summary(recipe, parts, trainer, built.history, trainer.state.global_step, seconds)
    step = _keep_best(run, trainer, built.history)
    summary = _summary(recipe, parts, trainer, built.history, step, seconds)
    with _disk(run.path):
        _write_product(recipe, run, trainer.model, parts, summary)
    run.finish(summary)
    return summary


def _first_alone(recipe: TrainRecipe) -> AbstractContextManager[None]:
    """The first of several processes goes ahead; nothing where there is one."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return nullcontext()
    import torch
    from accelerate import PartialState

    on_cpu = not torch.cuda.is_available() or bool(recipe.training.get("use_cpu"))
    return PartialState(cpu=on_cpu).main_process_first()


def _ask_server(recipe: TrainRecipe) -> None:
    """What a served teacher thinks of all rows, asked once and kept in the run."""
    if recipe.served is None:
        return
    from distill.jobs.cache import CacheRecipe, cache
    from distill.preparation import cache_folder

    cache(
        CacheRecipe(
            data=recipe.data,
            output=str(cache_folder(recipe)),
            served=recipe.served,
            tokenizer=recipe.tokenizer.path or recipe.student.path,
            mode="top_k",
            k=recipe.served.k,
        )
    )


def quiet(recipe: TrainRecipe) -> None:
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


def _keep_best(run: RunFolder, trainer: Any, history: Any) -> int:
    """Put the best weights back into the model; returns their step (the last one where nothing chose)."""
    from distill.checkpoint import load_weights

    if history.best is None:
        return int(trainer.state.global_step)
    load_weights(trainer.model, run.path / "best")
    return int(history.best.step)


def _summary(recipe: TrainRecipe, parts: Any, trainer: Any, history: Any, step: int, seconds: float) -> dict[str, Any]:
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    evaluating = sum(score.seconds for score in history.scores)
    return {
        "name": Path(recipe.output).name,
        "method": recipe.method if recipe.lora is None else f"{recipe.method}+lora",
        "steps": trainer.state.global_step,
        "chosen_step": step,
        "loss": logs[-1]["loss"] if logs else None,
        "seconds": round(seconds, 1),
        "seconds_evaluating": round(evaluating, 1),
        "parameters": parts.facts["parameters"],
        "rows": parts.facts["rows"],
        "scores": [s.model_dump(mode="json", exclude={"samples"}) for s in history.of_best() or history.at(step)],
        "log": logs,
    }


def _merged(recipe: TrainRecipe, run: RunFolder, model: Any) -> Any:
    """The model with its adapters in it. Those of a 4-bit base go into the base as it was before: the product needs
    no other library than transformers."""
    if recipe.lora is None or recipe.lora.quantize is None or recipe.student.path is None:
        return model.merge_and_unload()
    from peft import PeftModel

    from distill.students import load_model

    return PeftModel.from_pretrained(load_model(recipe.student.path), run.path / "adapter").merge_and_unload()


def _write_product(recipe: TrainRecipe, run: RunFolder, model: Any, parts: Any, summary: dict[str, Any]) -> None:
    from distill.checkpoint import is_adapter, provenance, save_folder, write_model

    facts = provenance(recipe, **parts.facts)
    facts |= {key: summary[key] for key in ("chosen_step", "steps", "scores")}
    if is_adapter(model):
        save_folder(lambda folder: write_model(model, parts.tokenizer, PROMPTING, facts, folder), run.path / "adapter")
        model = _merged(recipe, run, model)
    save_folder(lambda folder: write_model(model, parts.tokenizer, PROMPTING, facts, folder), run.path / "model")
    log = "".join(json.dumps(entry) + "\n" for entry in summary["log"])
    write_atomic(run.path / "log.jsonl", log)
