"""Where the published benchmark files are: they do not ship, and CI must have them."""

import os
from pathlib import Path

import pytest

from evalkit.suites import FOLDER

BESIDE = Path(__file__).parents[1].parent / "shared" / "benchmarks"


def benchmark(name: str) -> Path:
    """The file, or a visible skip; under CI=true its absence is a failure."""
    folder = Path(os.environ.get(FOLDER, BESIDE))
    if (folder / name).is_file():
        return folder / name
    reason = f"{name} is not in {folder}; set {FOLDER} to the folder that holds it"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
