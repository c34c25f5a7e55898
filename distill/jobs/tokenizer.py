"""`distill tokenizer DATASET`: train a byte-level BPE on a dataset's training rows."""

import json
from pathlib import Path
from typing import Any

from distill.checkpoint import check_replaceable, save_folder
from distill.data import fingerprint, read_rows
from distill.tokenizer import train_tokenizer
from evalkit.errors import DataError
from evalkit.records import SCHEMA_VERSION
from evalkit.runs import cannot_write, environment, write_atomic


def tokenizer(dataset: Path, vocab_size: int, out: Path) -> dict[str, Any]:
    """Train and save with a manifest; returns the manifest. Raises DataError where no row has a solution,
    ConfigError where `out` holds anything but an earlier tokenizer."""
    out = check_replaceable(out, "tokenizer", "tokenizer.json")
    texts = [row.problem.solution for row in read_rows(dataset, "train") if row.problem.solution]
    if not texts:
        raise DataError("no row has a solution to learn from", where=str(dataset))
    trained = train_tokenizer(texts, vocab_size)
    ids = sum(len(encoded) for encoded in trained(texts)["input_ids"])
    manifest = {
        "schema": SCHEMA_VERSION,
        "kind": "tokenizer",
        "vocab_size": len(trained),
        "bytes_per_token": round(sum(len(text.encode()) for text in texts) / ids, 3),
        "data_fingerprint": fingerprint(dataset / "train.jsonl"),
        **environment(),
    }

    def save(folder: Path) -> None:
        trained.save_pretrained(folder)
        write_atomic(folder / "manifest.json", json.dumps(manifest, indent=2) + "\n")

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        save_folder(save, out)
    except OSError as error:
        raise cannot_write(out, error) from error
    return manifest
