"""A dataset folder: what was kept, what was rejected and why, the manifest, the card."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from evalkit.errors import DataError
from evalkit.runs import check_schema, read_json, read_jsonl, write_atomic, write_jsonl
from synth.records import Reject, Sample, Split

KIND = "dataset"


def write_dataset(folder: Path, samples: Sequence[Sample], rejects: Iterable[Reject], recipe: dict[str, Any]) -> None:
    """Write the rows and the card; the manifest belongs to the run folder around them."""
    for split in Split:
        write_jsonl(folder / f"{split}.jsonl", (sample for sample in samples if sample.evidence.split is split))
    rejects = list(rejects)
    write_jsonl(folder / "rejected.jsonl", rejects)
    write_atomic(folder / "README.md", card(samples, rejects, recipe))


def read_split(folder: str | Path, split: Split) -> list[Sample]:
    """Samples of one split. Raises DataError where the folder is none of ours or of another schema version."""
    folder = Path(folder)
    manifest = read_json(folder / "manifest.json")
    check_schema(manifest, str(folder / "manifest.json"))
    if manifest.get("kind") != KIND:
        raise DataError(f"holds a {manifest.get('kind')!r}, not a dataset", where=str(folder))
    return read_jsonl(folder / f"{split}.jsonl", Sample)


def read_rejects(folder: str | Path) -> list[Reject]:
    return read_jsonl(Path(folder) / "rejected.jsonl", Reject)


def fingerprint(folder: Path) -> str:
    """Digest over the ids and contents of the training rows, in order."""
    from evalkit.records import digest

    return digest([sample.problem.digest for sample in read_split(folder, Split.TRAIN)])


def card(samples: Sequence[Sample], rejects: Sequence[Reject], recipe: dict[str, Any]) -> str:
    """The dataset card. `load_dataset(folder)` reads the splits from its header."""
    splits = Counter(sample.evidence.split for sample in samples)
    categories = Counter(sample.problem.category for sample in samples)
    stages = Counter(reject.stage for reject in rejects)
    teachers = sorted({f"{sample.evidence.teacher} ({sample.evidence.model})" for sample in samples})
    files = "".join(f"  - split: {split}\n    path: {split}.jsonl\n" for split in Split)
    lines = [
        f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}---\n",
        "# Coding tasks, proven by running\n",
        "Every row: its solution passed its own tests in an isolated sandbox, an empty stub failed them, and it solves",
        "no task of the suites it was checked against. Each row carries this evidence.\n",
        f"Teacher: {', '.join(teachers) or 'none'}. The rows come under the terms of that teacher.\n",
        "| split | rows |\n|---|---|",
        *(f"| {split} | {splits[split]} |" for split in Split),
        "\n| category | rows |\n|---|---|",
        *(f"| {category} | {count} |" for category, count in sorted(categories.items(), key=str)),
        "\n| rejected at | rows |\n|---|---|",
        *(f"| {stage} | {count} |" for stage, count in stages.most_common()),
        "\nSplits are by normalised solution, not by wording. Rejects stand in `rejected.jsonl` with stage and reason.",
        f"\n## Recipe\n\n```json\n{json.dumps(recipe, indent=2)}\n```\n",
    ]
    return "\n".join(lines)
