"""`distill export RUN --out FOLDER`: the product of a run as a folder to give away: safetensors, tokenizer, card."""

import shutil
from pathlib import Path
from typing import Any

from distill.checkpoint import check_replaceable, save_folder
from evalkit.errors import ConfigError, DataError, ModelError
from evalkit.runs import cannot_write, check_schema, read_json, write_atomic


def export(run: Path, out: Path) -> Path:
    """Copy the (merged) model of a finished run and write its card. Raises ModelError where there is no such model,
    ConfigError where `out` holds anything but an earlier export."""
    model = run / "model" if (run / "model").is_dir() else run
    parts = [(model / name).exists() for name in ("manifest.json", "config.json")]
    if not all(parts) or not list(model.glob("*.safetensors")):
        raise ModelError("holds no finished model", where=str(run), fix="run `distill train` to its end first")
    manifest = read_json(model / "manifest.json")
    check_schema(manifest, str(model / "manifest.json"))
    out = check_replaceable(out, "model", "README.md")
    if model.resolve() == out or model.resolve().is_relative_to(out):
        raise ConfigError("is the model itself", where=str(out), fix="choose another folder")

    text = card(manifest, str(model / "manifest.json"))

    def save(folder: Path) -> None:
        shutil.copytree(model, folder, dirs_exist_ok=True)
        write_atomic(folder / "README.md", text)

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        save_folder(save, out)
    except OSError as error:
        raise cannot_write(out, error) from error
    return out


def _score(score: dict[str, Any], part: dict[str, Any]) -> str:
    if score["note"]:
        return f"- {score['suite']}: not measured: {score['note']}"
    if score["loss"] is not None:
        return f"- {score['suite']}: loss {score['loss']:.4f} nats a token (step {score['step']})"
    how = "greedy" if part["temperature"] == 0 else f"temperature {part['temperature']:g}"
    return f"- {score['suite']}: {score['passed']} of {score['attempted']} passed ({how}, step {score['step']})"


def card(manifest: dict[str, Any], where: str) -> str:
    """A model card from the manifest: what it is, how it was made, what it scored, how to use it. Raises DataError
    where the manifest does not say."""
    try:
        recipe = manifest["recipe"]
        scores = "\n".join(_score(score, recipe["eval"]) for score in manifest["scores"])
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"the manifest is damaged: {type(error).__name__} {error}", where=where) from error
    return f"""---
library_name: transformers
tags: [potstill, code]
---
# A small code model

{manifest.get("parameters", 0):,} parameters, trained by `distill train` (method {recipe.get("method")}).

- data fingerprint: {manifest.get("data_fingerprint")}
- teacher fingerprint: {manifest.get("teacher_fingerprint", "none")}
- recipe digest: {manifest.get("recipe_digest")}, git {manifest.get("git")}

## Scores
{scores or "none were measured"}

## Use
It continues source text: give a signature with a docstring, without a newline at the end, and cut its answer at the
first of the stop strings in `manifest.json` (`prompting.stop`).
"""
