"""synth stats: the funnel of a finished dataset."""

from pathlib import Path
from typing import Any

from evalkit.errors import DataError
from evalkit.runs import check_schema, read_json


def stats(dataset: Path) -> dict[str, Any]:
    """The summary that `synth generate` wrote. DataError where the run has not finished."""
    check_schema(read_json(dataset / "manifest.json"), str(dataset / "manifest.json"))
    if not (dataset / "summary.json").exists():
        raise DataError("not finished", where=str(dataset), fix="run synth generate with its recipe again")
    return read_json(dataset / "summary.json")
