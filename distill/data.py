"""From a dataset folder to rows of token ids with labels.

Prompt and completion are tokenized apart, as they are at generation; completion tokens and the end-of-text carry a
label, prompt tokens only where the recipe gives them a weight.
"""

import hashlib
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

    @property
    def learned(self) -> int:
        """How many positions have a next token that is learned."""
        return sum(label != IGNORE for label in self.labels[1:])

    @property
    def digest(self) -> bytes:
        """16 bytes that stand for the ids and for which of them are learned: what kept targets belong to."""
        marks = [label != IGNORE for label in self.labels]
        return hashlib.blake2b(repr((self.input_ids, marks)).encode(), digest_size=16).digest()


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
        raise DataError(
            "no row is left to train on", where=str(part.folder), fix=f"categories in it: {', '.join(found)}"
        )
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


def encode_texts(texts: Sequence[str], tokenizer: Any, max_length: int) -> Encoded:
    """Documents as rows of at most `max_length` ids, end-of-text after each. A longer document is cut into pieces, each
    of which begins with the last token of the one before: every token but a document's first is learned, once."""
    rows = []
    for ids in tokenizer(list(texts))["input_ids"]:
        whole = [*ids, tokenizer.eos_token_id]
        for start in range(0, len(whole) - 1, max_length - 1):
            piece = whole[start : start + max_length]
            rows.append(Tokens(piece, piece, [1.0] * len(piece)))
    if not rows:
        raise DataError("no document has a token to learn", where="data.corpus")
    return Encoded(rows, 0, 0)
