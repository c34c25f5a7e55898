"""The recipe's `training` section as transformers' (or TRL's) own arguments, with defaults that are right on a CPU."""

import dataclasses
import difflib
import math
import os
from pathlib import Path
from typing import Any

from distill.recipe import ON_POLICY_BETA, TrainRecipe
from evalkit.errors import ConfigError

OURS = {
    "output_dir": "it is <output>/checkpoints",
    "train_sampling_strategy": "the order of rows is computed from the seed",
    "remove_unused_columns": "the collator needs all columns",
    "eval_strategy": "set eval.every",
    "eval_steps": "set eval.every",
    "resume_from_checkpoint": "a run resumes by itself",
    "load_best_model_at_end": "the best weights are kept in <output>/best",
    "packing": "set data.packing",
    "padding_free": "set data.packing",
    "max_length": "set data.max_length",
    "beta": "set loss.divergence and loss.beta",
    "temperature": "set loss.temperature",
}
"""Arguments that a recipe cannot set, and why."""

DEFAULTS: dict[str, Any] = {
    "per_device_train_batch_size": 32,
    "learning_rate": 3e-3,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0.05,
    "weight_decay": 0.01,
    "adam_beta2": 0.95,
    "max_grad_norm": 1.0,
    "logging_steps": 10,
    "logging_nan_inf_filter": False,
    "save_strategy": "steps",
    "save_steps": 100,
    "save_total_limit": 2,
    "seed": 0,
    "report_to": "none",
    "disable_tqdm": True,
    "num_train_epochs": 1,
}


def settings(recipe: TrainRecipe, known: type) -> dict[str, Any]:
    """Defaults under the recipe's own arguments. Raises ConfigError for an unknown one, naming the nearest."""
    names = {field.name for field in dataclasses.fields(known)}
    for name in recipe.training:
        if name in OURS:
            raise ConfigError(f"training.{name} cannot be set: {OURS[name]}", where="recipe")
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigError(f"unknown training argument {name!r}{hint}", where="recipe: training")
    return {**DEFAULTS, **recipe.training}


def step_count(chosen: dict[str, Any], rows: int, processes: int) -> tuple[int, int]:
    """(optimizer steps, rows per step over all processes) from max_steps or num_train_epochs."""
    accumulation = int(chosen.get("gradient_accumulation_steps", 1))
    per_step = int(chosen["per_device_train_batch_size"]) * accumulation * processes
    if int(chosen.get("max_steps", -1)) > 0:
        return int(chosen["max_steps"]), per_step
    return max(1, math.ceil(float(chosen["num_train_epochs"]) * rows / per_step)), per_step


def kind_of(recipe: TrainRecipe) -> type:
    """The class of arguments that the method takes."""
    if recipe.method == "sft":
        from trl import SFTConfig

        return SFTConfig
    if recipe.method == "on_policy":
        from trl import DistillationConfig

        return DistillationConfig
    from transformers import TrainingArguments

    return TrainingArguments


def arguments(recipe: TrainRecipe, output: Path, rows: int) -> Any:
    """The method's arguments for this machine. fp32 and no autocast unless the recipe says bf16."""
    import torch

    known = kind_of(recipe)
    chosen = settings(recipe, known)
    on_cpu = not torch.cuda.is_available() or bool(chosen.get("use_cpu"))
    fixed: dict[str, Any] = {
        "output_dir": str(output),
        "train_sampling_strategy": "sequential",
        "remove_unused_columns": False,
        "eval_strategy": "no",
    }
    chosen.setdefault("bf16", False)
    chosen.setdefault("run_name", Path(recipe.output).name)
    if on_cpu:
        chosen["use_cpu"] = True
        chosen.setdefault("dataloader_pin_memory", False)
    if recipe.method == "sft":
        fixed |= {"dataset_kwargs": {"skip_prepare_dataset": True}, "max_length": recipe.data.max_length}
    if recipe.method in ("sft", "on_policy"):  # TRL's own default is on
        chosen.setdefault("activation_checkpointing", bool(chosen.get("gradient_checkpointing")))
    if recipe.method == "on_policy":
        beta = ON_POLICY_BETA[recipe.loss.divergence]
        fixed |= {"beta": recipe.loss.beta if beta is None else beta, "temperature": recipe.loss.temperature}
        del fixed["train_sampling_strategy"]
        chosen.setdefault("max_completion_length", recipe.eval.max_new_tokens)
    processes = _processes()
    chosen["max_steps"], _ = step_count(chosen, rows, processes)
    chosen["num_train_epochs"] = 1
    try:
        made = known(**{**chosen, **fixed})
    except (TypeError, ValueError, ImportError, OSError, RuntimeError) as error:
        raise refused(error) from error
    if made.torch_compile and processes > 1 and recipe.method != "on_policy":
        raise ConfigError(
            "works in one process only: what several exchange their gradients through is the whole model",
            where="recipe: training.torch_compile",
        )
    return made


def refused(error: Exception) -> ConfigError:
    """What a library says of arguments that it does not take."""
    first = (str(error).splitlines() or [type(error).__name__])[0]
    return ConfigError(f"training arguments refused: {first}", where="recipe: training")


def _processes() -> int:
    """Processes of this training, as torchrun and accelerate announce them."""
    return int(os.environ.get("WORLD_SIZE", "1"))
