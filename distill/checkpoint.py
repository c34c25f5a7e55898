"""The checkpoint folder: weights that plain transformers load, tokenizer, prompting contract, and their origin."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from distill.recipe import TrainRecipe
from evalkit.errors import ConfigError
from evalkit.prompting import Prompting
from evalkit.records import SCHEMA_VERSION, digest
from evalkit.runs import environment, read_json, write_atomic

MANIFEST = "manifest.json"


def save_folder(save: Callable[[Path], None], target: Path) -> None:
    """Save into a new folder beside the target, then swap: a kill or a full disk leaves one whole folder."""
    fresh, old = target.with_name(f".{target.name}.new"), target.with_name(f".{target.name}.old")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    save(fresh)
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    fresh.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def check_replaceable(out: Path, kind: str, mark: str) -> Path:
    """The folder to write, resolved. Raises ConfigError where anything stands there but what the same command wrote: a
    folder whose manifest says `kind` and that has the file `mark`."""
    out = out.resolve()
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return out
    found = read_json(out / MANIFEST).get("kind") if (out / MANIFEST).is_file() else None
    if found != kind or not (out / mark).is_file():
        what = "is not empty" if out.is_dir() else "is a file"
        raise ConfigError(f"{what}, and would be replaced", where=str(out), fix="choose another folder")
    return out


def is_adapter(model: Any) -> bool:
    return hasattr(model, "peft_config")


def keep_weights(model: Any, folder: Path) -> None:
    """Weights as they are: the whole model, or its adapters only."""
    model.save_pretrained(folder)


def write_model(model: Any, tokenizer: Any, prompting: Prompting, facts: dict[str, Any], folder: Path) -> None:
    """A complete model folder. Its generation settings are greedy and stop at end-of-text, as it is measured."""
    from transformers import GenerationConfig

    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    manifest = {
        "schema": SCHEMA_VERSION,
        "kind": "model",
        "prompting": prompting.model_dump(mode="json"),
        "parameters": sum(p.numel() for p in model.parameters()),
        **facts,
    }
    write_atomic(folder / MANIFEST, json.dumps(manifest, indent=2) + "\n")


def provenance(recipe: TrainRecipe, **facts: Any) -> dict[str, Any]:
    """Recipe and digest, git, versions, machine, and the fingerprints that are passed in."""
    dump = recipe.model_dump(mode="json")
    return {**environment(), "recipe_digest": digest(dump), "recipe": dump, **facts}


def last_trainer_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint-N that is whole (the trainer writes trainer_state.json after weights and optimizer)."""
    whole = [
        path
        for path in folder.glob("checkpoint-*")
        if (path / "trainer_state.json").exists()
        and (path / "optimizer.pt").exists()
        and _is_json(path / "trainer_state.json")
    ]
    return max(whole, key=lambda path: int(path.name.rsplit("-", 1)[1]), default=None)


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return True


def load_weights(model: Any, folder: Path) -> None:
    """Put weights that `keep_weights` wrote back into a live model."""
    from safetensors.torch import load_file

    if is_adapter(model):
        from peft import set_peft_model_state_dict

        set_peft_model_state_dict(model, load_file(folder / "adapter_model.safetensors"))
        return
    state: dict[str, Any] = {}
    for file in sorted(folder.glob("*.safetensors")):
        state |= load_file(file)
    model.load_state_dict(state, strict=False)  # tied weights are stored once
    model.tie_weights()
