"""`distill runs FOLDER`: training runs side by side."""

from pathlib import Path
from typing import Any

from evalkit.errors import DataError
from evalkit.runs import check_schema, read_json

COLUMNS = ("name", "method", "parameters", "steps", "chosen_step", "loss", "seconds", "scores")


def runs(folder: Path) -> list[dict[str, Any]]:
    """One row per training run below the folder, finished or not. Raises DataError where there is none."""
    rows = []
    for file in sorted(folder.glob("**/manifest.json")):
        manifest = read_json(file)
        if manifest.get("kind") != "train":
            continue
        check_schema(manifest, str(file))
        summary = file.parent / "summary.json"
        rows.append(_row(file.parent, folder, manifest, read_json(summary) if summary.exists() else None))
    if not rows:
        raise DataError("no training run below this folder", where=str(folder))
    return rows


def _row(path: Path, root: Path, manifest: dict[str, Any], summary: dict[str, Any] | None) -> dict[str, Any]:
    name = str(path.relative_to(root)) if path != root else path.name
    try:
        if summary is None:
            return {"name": name, "method": manifest["recipe"]["method"], "scores": "unfinished"}
        shown = ", ".join(f"{s['suite']} {_rate(s['pass_at_1'])}" for s in summary["scores"])
    except (KeyError, TypeError, AttributeError):
        return {"name": name, "scores": "damaged (manifest.json or summary.json)"}
    return {**{key: summary.get(key) for key in COLUMNS}, "name": name, "scores": shown or "none"}


def _rate(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.1%}"
