"""A toy dataset folder: small functions with docstrings, enough to train a few steps on."""

import json
from pathlib import Path

import pytest
from toy import toy_problem

from evalkit.records import SCHEMA_VERSION


@pytest.fixture(scope="session")
def toy_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    for split, indices in (("train", range(40)), ("validation", range(40, 46))):
        lines = [json.dumps({"problem": toy_problem(i).model_dump(mode="json"), "evidence": {}}) for i in indices]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "manifest.json").write_text(json.dumps({"schema": SCHEMA_VERSION}))
    return folder
