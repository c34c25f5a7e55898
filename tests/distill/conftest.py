"""A toy dataset folder: small functions with docstrings, enough to train a few steps on."""

import json
from pathlib import Path

import pytest

from evalkit.records import SCHEMA_VERSION, Problem


def toy_problem(i: int) -> Problem:
    op, word = [("+", "sum"), ("-", "difference"), ("*", "product")][i % 3]
    prompt = f'def {word}_{i}(a, b):\n    """Return the {word} of a and b, plus {i}."""'
    return Problem(
        id=f"toy/{i}",
        suite="toy",
        prompt=prompt,
        entry_point=f"{word}_{i}",
        tests=(f"assert {word}_{i}(3, 2) == {eval(f'3 {op} 2')} + {i}",),
        solution=f"{prompt}\n    return a {op} b + {i}\n",
        category=["arithmetic", "lists"][i % 2],
    )


@pytest.fixture(scope="session")
def toy_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    for split, indices in (("train", range(40)), ("validation", range(40, 46))):
        lines = [json.dumps({"problem": toy_problem(i).model_dump(mode="json"), "evidence": {}}) for i in indices]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "manifest.json").write_text(json.dumps({"schema": SCHEMA_VERSION}))
    return folder
