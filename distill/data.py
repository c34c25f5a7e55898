"""From a dataset folder to batches: rows, token ids with labels, and the order they come in.

Prompt and completion are tokenized apart, as they are at generation; completion tokens and the end-of-text carry a
label, prompt tokens only where the recipe gives them a weight. The order is computed before training, from the seed
and the lengths alone, so that a resumed run sees what an uninterrupted one would have seen, and batches hold rows of
similar length (padding costs as much as text).
"""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from distill.recipe import DataPart
from evalkit.errors import DataError
from evalkit.prompting import Prompting
from evalkit.records import Problem
from evalkit.runs import check_schema, read_json, read_jsonl

IGNORE = -100
"""The label of a position that is not learned (torch's and transformers' convention)."""


class Row(BaseModel):
    """One line of a dataset: the problem with its solution. The evidence beside it is not ours to read."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    problem: Problem
    weight: float = Field(1.0, gt=0)


@dataclass(frozen=True)
class Tokens:
    """One row as ids. `labels` and `weights` have the length of `input_ids`; IGNORE and 0 where nothing is learned."""

    input_ids: list[int]
    labels: list[int]
    weights: list[float]


def read_rows(folder: str | Path, split: str) -> list[Row]:
    """Rows of `split`.jsonl. Raises DataError for a missing file, another schema version, a malformed line."""
    folder = Path(folder)
    if (manifest := folder / "manifest.json").exists():
        check_schema(read_json(manifest), str(manifest))
    return read_jsonl(folder / f"{split}.jsonl", Row)


def fingerprint(path: str | Path) -> str:
    """SHA-256 (first 16 hex digits) of a file's bytes; of a folder: of the names and bytes of the files in it."""
    path, digest = Path(path), hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        if path.is_dir():
            digest.update(str(file.relative_to(path)).encode())
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:16]


def choose(rows: Sequence[Row], part: DataPart) -> list[Row]:
    """Rows of the categories that the recipe names, that have a solution, at most `limit`; and after them, drawn evenly
    from all others, those of the rehearsal. Raises DataError if none is chosen."""
    solved = [row for row in rows if row.problem.solution is not None]
    wanted = [row for row in solved if _named(row, part)][: part.limit]
    if not wanted:
        found = sorted({row.problem.category or "none" for row in rows})
        raise DataError("no row is left to train on", where=part.folder, fix=f"categories in it: {', '.join(found)}")
    others = [row for row in solved if not _named(row, part)] if part.rehearsal else []
    count = min(len(others), round(len(wanted) * part.rehearsal / (1 - part.rehearsal)))
    return wanted + [others[i * len(others) // count] for i in range(count)]


def _named(row: Row, part: DataPart) -> bool:
    category = row.problem.category
    return (part.categories is None or category in part.categories) and category not in part.exclude_categories


def encode(row: Row, tokenizer: Any, prompting: Prompting, prompt_weight: float = 0.0) -> Tokens:
    """Ids of prompt + completion + end-of-text; labels on the last two, and on the prompt where it has a weight."""
    prompt, completion = prompting.split_solution(row.problem)
    before = list(tokenizer(prompt)["input_ids"])
    after = [*tokenizer(completion, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    unlearned = [IGNORE] * len(before)
    weights = [row.weight * prompt_weight] * len(before) + [row.weight] * len(after)
    return Tokens(before + after, (before if prompt_weight else unlearned) + after, weights)


@dataclass(frozen=True)
class Encoded:
    """The rows that can be learned, and how many were left out, by reason."""

    rows: list[Tokens]
    too_long: int
    not_a_continuation: int


def encode_rows(
    rows: Sequence[Row], tokenizer: Any, prompting: Prompting, max_length: int, prompt_weight: float = 0.0
) -> Encoded:
    """All rows that fit the length and the prompting contract. Raises DataError where none does."""
    encoded, lengths, misfits = [], [], 0
    for row in rows:
        try:
            tokens = encode(row, tokenizer, prompting, prompt_weight)
        except ValueError:
            misfits += 1
            continue
        lengths.append(len(tokens.input_ids))
        if lengths[-1] <= max_length:
            encoded.append(tokens)
    if not encoded:
        why = f"the shortest has {min(lengths)} tokens" if lengths else "no solution continues its prompt"
        raise DataError(f"none of {len(rows)} rows fits into max_length {max_length}: {why}", where="data")
    return Encoded(encoded, len(lengths) - len(encoded), misfits)


def order(lengths: Sequence[int], *, batch: int, batches: int, seed: int, window: int = 50) -> list[int]:
    """Indices of `batches` x `batch` rows, epoch after epoch, every row once per epoch.

    Within an epoch rows are shuffled, cut into windows of `window` batches, sorted by length inside each, cut into
    batches, and the batches shuffled. The last, short batch of an epoch is filled from the next one.
    """
    rng = random.Random(seed)
    indices: list[int] = []
    carry: list[int] = []
    while len(indices) < batch * batches:
        epoch = list(range(len(lengths)))
        rng.shuffle(epoch)
        pool, carry = carry + epoch, []
        whole = len(pool) - len(pool) % batch
        pool, carry = pool[:whole], pool[whole:]
        groups = []
        for start in range(0, len(pool), batch * window):
            near = sorted(pool[start : start + batch * window], key=lambda i: lengths[i])
            groups += [near[i : i + batch] for i in range(0, len(near), batch)]
        rng.shuffle(groups)
        indices += [i for group in groups for i in group]
    return indices[: batch * batches]


class Padded:
    """Collator: pads on the right to the longest row of the batch.

    No attention mask is made: with causal attention a real position never sees the padding to its right, and padded
    positions carry no label, so the mask would cost time and change nothing. Weights are 1 where a row gives none.
    """

    def __init__(self, pad_id: int) -> None:
        self.pad_id = pad_id

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        import torch

        width = max(len(row["input_ids"]) for row in rows)
        ids = torch.full((len(rows), width), self.pad_id)
        labels = torch.full((len(rows), width), IGNORE)
        weights = torch.ones((len(rows), width))
        for i, row in enumerate(rows):
            ids[i, : len(row["input_ids"])] = torch.tensor(row["input_ids"])
            labels[i, : len(row["labels"])] = torch.tensor(row["labels"])
            if "weights" in row:
                weights[i, : len(row["weights"])] = torch.tensor(row["weights"])
        return {"input_ids": ids, "labels": labels, "weights": weights}
