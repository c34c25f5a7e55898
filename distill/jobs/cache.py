"""`distill cache RECIPE`: what a teacher thinks of every learned token, written once.

    1. read and encode the rows, as training will
    2. score a sample; say how large the cache will be and how long it will take; choose the draws that fit the limit
    3. score the rest, shard by shard; a killed run goes on after its last whole shard
    4. write the summary: it means that the cache may be used

The folder is described in distill.targets.store.
"""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from distill.recipe import DataPart, ServedPart
from evalkit.console import console, progress
from evalkit.endpoint import paid
from evalkit.errors import DataError, PotstillError
from evalkit.recipes import Recipe
from evalkit.runs import RunFolder, cannot_write

JOURNAL = "journal.sqlite"
"""What a served teacher said."""

PREVIEW_ROWS = 64
"""Rows that are scored to predict size and time."""


class CacheRecipe(Recipe):
    data: DataPart
    output: str
    teacher: str | None = None
    """Folder or Hub name."""
    served: ServedPart | None = None
    """A server that scores text, instead: top-k at temperature 1."""
    tokenizer: str | None = None
    """The teacher's tokenizer where it is not in its folder: always for a served one."""
    mode: Literal["sampled", "top_k", "states"] = "sampled"
    """Draws and likeliest ids are small. Hidden states are the whole teacher, for every loss and temperature, at the
    teacher's width in numbers a token."""
    draws: int = Field(50, ge=1, le=255)
    """Draws per position (sampled): the more, the less noise. Lowered where the cache would be larger than allowed."""
    k: int = Field(50, ge=1)
    """Likeliest ids per position (top_k)."""
    temperature: float = Field(1.0, gt=0)
    max_bytes: float = Field(40.0, gt=4)
    """Bytes per learned token that a sampled cache may take."""
    shard_positions: int = Field(500_000, ge=1)
    """Learned tokens per shard: what a killed run has to do again at most."""
    batch_tokens: int = Field(8192, ge=1)
    """Tokens that the teacher reads at once."""
    bf16: bool = False
    """Run the teacher in bfloat16; its probabilities are made in fp32 all the same."""
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _one_teacher(self) -> "CacheRecipe":
        if (self.teacher is None) == (self.served is None):
            raise ValueError("give exactly one of: teacher (a folder or Hub name), served")
        if self.served is not None and (self.mode != "top_k" or self.temperature != 1):
            raise ValueError(
                "a served teacher gives the likeliest ids at temperature 1: set mode: top_k, temperature: 1"
            )
        if self.served is not None and self.tokenizer is None:
            raise ValueError("a served teacher needs tokenizer: the folder of its tokenizer")
        return self


@dataclass
class _Work:
    """What is left to do, and what is known of it."""

    rows: list[Any]
    """All of them, each content once."""
    teacher: Any
    facts: dict[str, Any]
    bytes: float
    seconds: float
    """Per position, as the sample had it."""


def cache(recipe: CacheRecipe) -> dict[str, Any]:
    """Write the cache and return its summary. Raises the errors of evalkit.errors, nothing else on bad input."""
    try:
        return _cache(recipe)
    except OSError as error:
        raise cannot_write(Path(recipe.output), error) from error


def _cache(recipe: CacheRecipe) -> dict[str, Any]:
    from distill.targets.store import alone

    run = RunFolder(
        recipe.output,
        "cache",
        recipe.model_dump(mode="json"),
        may_change=("batch_tokens", "concurrency", "api_key_env"),
    ).open()
    with alone(run.path):
        return run.summary if run.finished else _fill(recipe, run)


def _fill(recipe: CacheRecipe, run: RunFolder) -> dict[str, Any]:
    from distill.targets.store import kept, written

    journal = run.path / JOURNAL
    with run.or_nothing(PotstillError, OSError, holds=lambda: paid(journal)):
        work = _prepare(recipe, run)
        run.update_manifest(**work.facts)
        done = kept(run.path, [row.digest for row in work.rows])
        rows = work.rows[sum(shard.rows for shard in done) :]
        _announce(recipe, run.path, work, rows)
    started = time.monotonic()
    _write(recipe, run.path, work, rows, len(done))
    shards = written(run.path)
    positions, size = sum(shard.positions for shard in shards), sum(shard.bytes for shard in shards)
    summary = {
        "rows": sum(shard.rows for shard in shards),
        "positions": positions,
        "bytes": size,
        "bytes_per_token": round(size / positions, 2),
        "seconds": round(time.monotonic() - started, 1),
        **{key: work.facts[key] for key in ("source", "draws", "k", "temperature")},
    }
    run.finish(summary)
    return summary


def _prepare(recipe: CacheRecipe, run: RunFolder) -> _Work:
    from distill.align import vocabulary_size
    from distill.checkpoint import save_folder
    from distill.preparation import encode_data
    from distill.students import load_tokenizer
    from distill.targets.codec import VERSION
    from evalkit.prompting import PROMPTING

    source = recipe.tokenizer or recipe.teacher
    assert source is not None  # the recipe's validator saw to it
    tokenizer = load_tokenizer(source)
    valid = vocabulary_size(tokenizer)
    encoded, print_of_data = encode_data(recipe.data, tokenizer)
    rows = list({row.digest: row for row in encoded.rows if row.learned}.values())
    known = run.manifest
    if recipe.served is not None:
        teacher, mark = _served(recipe, tokenizer, valid, run.path)
    else:
        teacher, mark = _local(recipe, tokenizer, valid, rows, run)
    form = teacher.form
    facts: dict[str, Any] = {
        "data_fingerprint": print_of_data,
        "prompting": PROMPTING.model_dump(mode="json"),
        "temperature": recipe.temperature,
        "codec": VERSION,
        "valid": valid,
        "source": "served" if recipe.served is not None else recipe.mode,
        "draws": form.draws,
        "k": form.k,
        "teacher_fingerprint": mark,
    }
    for key in ("data_fingerprint", "teacher_fingerprint"):
        if key in known and known[key] != facts[key]:
            raise DataError(
                f"the {key.split('_')[0]} has changed since this cache was begun", where=str(run.path), fix="delete it"
            )
    if recipe.mode == "states":
        from distill.targets.states import write_head
        from distill.trainer import head_of

        facts |= {"width": form.width, "head_fingerprint": write_head(run.path, head_of(teacher.model))}
    if not (run.path / "tokenizer").exists():
        save_folder(lambda folder: tokenizer.save_pretrained(folder), run.path / "tokenizer")
    return _preview(recipe, _Work(rows, teacher, facts, 0.0, 0.0), begun="draws" in known)


def _served(recipe: CacheRecipe, tokenizer: Any, valid: int, folder: Path) -> tuple[Any, str]:
    """A teacher behind a server, and what it is known by."""
    from distill.targets.codec import Form
    from distill.targets.served import ServedTeacher

    assert recipe.served is not None
    form = Form(valid, k=min(recipe.served.k, recipe.k, valid))
    teacher = ServedTeacher.connect(recipe.served, tokenizer, form, folder / JOURNAL)
    return teacher, f"{recipe.served.base_url} {recipe.served.model}"


def _local(recipe: CacheRecipe, tokenizer: Any, valid: int, rows: Sequence[Any], run: RunFolder) -> tuple[Any, str]:
    """A teacher on this machine, and what it is known by. A cache that was begun has the draws that it began with."""
    from distill.align import aligned_vocabulary
    from distill.contract import check_contract
    from distill.data import fingerprint
    from distill.students import load_model, load_tokenizer
    from distill.targets.codec import Form
    from distill.targets.local import LocalTeacher
    from distill.trainer import head_of

    assert recipe.teacher is not None
    model = _placed(load_model(recipe.teacher), recipe.bf16)
    aligned_vocabulary(tokenizer, load_tokenizer(recipe.teacher), model.config.vocab_size, model.config.vocab_size)
    check_contract(model, rows, who="teacher", valid=valid, packed=False)
    if recipe.mode == "sampled":
        draws = run.manifest.get("draws", recipe.draws)
        if not (isinstance(draws, int) and 1 <= draws <= recipe.draws):
            raise DataError(f"the manifest is damaged: draws is {draws!r}", where=str(run.path), fix="delete it")
        form = Form(valid, draws=draws)
    elif recipe.mode == "top_k":
        form = Form(valid, k=min(recipe.k, valid))
    else:
        form = Form(valid, width=head_of(model).weight.shape[1])
    teacher = LocalTeacher(model, tokenizer.pad_token_id, form, recipe.temperature, recipe.seed, recipe.batch_tokens)
    return teacher, fingerprint(recipe.teacher) if Path(recipe.teacher).is_dir() else recipe.teacher


def _placed(model: Any, bf16: bool) -> Any:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    return model.to(device, torch.bfloat16 if bf16 else torch.float32).eval().requires_grad_(False)


def _preview(recipe: CacheRecipe, work: _Work, *, begun: bool) -> _Work:
    """Score a sample drawn evenly; lower the draws until the limit holds (not in a cache that was begun)."""
    from distill.targets.store import ENTRY

    step = max(1, len(work.rows) // PREVIEW_ROWS)
    sample = work.rows[::step][:PREVIEW_ROWS]
    positions = sum(row.learned for row in sample)
    while True:
        started = time.monotonic()
        size = sum(map(len, work.teacher.score(sample)))
        work.seconds = (time.monotonic() - started) / positions
        work.bytes = size / positions + ENTRY.itemsize * len(sample) / positions
        if not work.facts["draws"] or begun or work.bytes <= recipe.max_bytes * 0.97:
            return work
        if work.facts["draws"] == 1:
            raise DataError(
                f"one draw takes {work.bytes:.1f} bytes a token already, and max_bytes is {recipe.max_bytes:g}",
                where="max_bytes",
                fix=f"raise it (each row has {ENTRY.itemsize} bytes of its own: in short rows that is most of it)",
            )
        fewer = max(1, min(work.facts["draws"] - 1, int(work.facts["draws"] * recipe.max_bytes * 0.95 / work.bytes)))
        work.facts["draws"], work.teacher = fewer, work.teacher.with_draws(fewer)


def _announce(recipe: CacheRecipe, folder: Path, work: _Work, rows: Sequence[Any]) -> None:
    """Say what is to come. Raises DataError where the disk will not hold it."""
    positions = sum(row.learned for row in rows)
    size, seconds = positions * work.bytes, positions * work.seconds
    facts = work.facts
    kept = f"{facts['draws']} draws" if facts["draws"] else f"the {facts['k']} likeliest ids and the rest"
    kept = f"{facts['width']} hidden numbers" if "width" in facts else kept
    console.print(
        f"{len(rows):,} rows, {positions:,} learned tokens, {kept} each: about {_size(size)} "
        f"({work.bytes:.1f} bytes a token) and {seconds / 60:.1f} min",
        markup=False,
        soft_wrap=True,
    )
    if work.facts["draws"] and work.facts["draws"] < recipe.draws:
        console.print(
            f"{work.facts['draws']} draws instead of {recipe.draws}: more would not fit into max_bytes "
            f"{recipe.max_bytes:g} (the teacher is unsure: many ids are likely)",
            markup=False,
            soft_wrap=True,
        )
    free = shutil.disk_usage(folder).free
    if size > free:
        raise DataError(f"needs {_size(size)}, but {_size(free)} are free", where=str(folder), fix="free some space")


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _write(recipe: CacheRecipe, folder: Path, work: _Work, rows: Sequence[Any], number: int) -> None:
    from distill.targets.store import write_shard

    with progress(len(rows), Path(recipe.output).name) as tick:
        start = 0
        while start < len(rows):
            end, positions = start, 0
            while end < len(rows) and positions < recipe.shard_positions:
                positions += rows[end].learned
                end += 1
            records = []
            for first in range(start, end, 256):
                part = rows[first : min(first + 256, end)]
                scored = work.teacher.score(part)
                records += [(row.digest, data, row.learned) for row, data in zip(part, scored, strict=True)]
                tick(len(part))
            write_shard(folder, number, records)
            start, number = end, number + 1
