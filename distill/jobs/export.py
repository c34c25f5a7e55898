"""`distill export RUN --out FOLDER`: the product of a run as a folder to give away: safetensors, tokenizer, card."""

import shutil
from pathlib import Path
from typing import Any

from distill.checkpoint import save_folder
from evalkit.errors import ModelError
from evalkit.runs import read_json, write_atomic


def export(run: Path, out: Path) -> Path:
    """Copy the (merged) model of a finished run and write its card. Raises ModelError where there is no such model."""
    model = run / "model" if (run / "model").is_dir() else run
    if not (model / "manifest.json").exists() or not list(model.glob("*.safetensors")):
        raise ModelError("holds no finished model", where=str(run), fix="run `distill train` to its end first")
    manifest = read_json(model / "manifest.json")

    def save(folder: Path) -> None:
        shutil.copytree(model, folder, dirs_exist_ok=True)
        write_atomic(folder / "README.md", card(manifest))

    out.parent.mkdir(parents=True, exist_ok=True)
    save_folder(save, out)
    return out


def card(manifest: dict[str, Any]) -> str:
    """A model card from the manifest: what it is, how it was made, what it scored, how to use it."""
    recipe = manifest.get("recipe", {})
    scores = "\n".join(
        f"- {s['suite']}: {s['passed']} of {s['attempted']} passed (greedy, step {s['step']})"
        for s in manifest.get("scores", [])
    )
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
