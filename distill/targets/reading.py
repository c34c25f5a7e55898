"""Kept targets in training: a cache is refused where anything about it does not match, and read row by row."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from distill.align import aligned_vocabulary
from distill.data import Tokens, fingerprint
from distill.recipe import TrainRecipe
from distill.sources import refuse_impossible
from distill.students import load_tokenizer
from distill.targets.codec import VERSION, Form, decode_drawn, decode_top
from distill.targets.store import Store
from evalkit.errors import DataError
from evalkit.prompting import PROMPTING
from evalkit.runs import check_schema, read_json

if TYPE_CHECKING:
    from distill.losses import Sparse
    from distill.targets.states import KeptStates

KIND = "cache"


class Facts(BaseModel):
    """What the manifest of a cache says of it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    valid: int = Field(ge=1)
    draws: int = Field(ge=0, le=255)
    k: int = Field(ge=0)
    head_fingerprint: str = ""
    temperature: float
    source: Literal["sampled", "top_k", "states", "served", "words"]
    prompting: dict[str, Any]
    recipe: dict[str, Any]
    data_fingerprint: str
    teacher_fingerprint: str


class Kept:
    """Targets by row: called with rows, gives those of all their learned positions, in order."""

    def __init__(self, store: Store, form: Form) -> None:
        self.store, self.form = store, form

    def __call__(self, rows: Sequence[Tokens]) -> "Sparse":
        """Raises DataError for a row that the cache does not hold, and for bytes that are no record."""
        found = [self.store.row(row.digest) for row in rows]
        try:
            return self._drawn(found) if self.form.draws else self._top(found)
        except ValueError as error:
            raise DataError(f"a record is damaged: {error}", where=str(self.store.folder)) from error

    def _drawn(self, found: Sequence[tuple[Any, int]]) -> "Sparse":
        import torch

        from distill.losses import Sparse

        rows = [decode_drawn(data, positions, self.form) for data, positions in found]
        uniques = np.concatenate([row.uniques for row in rows])
        width, ends = int(uniques.max(initial=1)), np.cumsum(uniques)
        position = np.repeat(np.arange(len(uniques)), uniques)
        place = np.arange(len(position)) - np.repeat(ends - uniques, uniques)
        ids, probs = np.zeros((len(uniques), width), np.int64), np.zeros((len(uniques), width), np.float32)
        ids[position, place] = np.concatenate([row.ids for row in rows])
        probs[position, place] = np.concatenate([row.counts for row in rows]) / self.form.draws
        entropy = np.concatenate([row.entropy for row in rows])
        return Sparse(torch.from_numpy(ids), torch.from_numpy(probs), None, torch.from_numpy(entropy))

    def _top(self, found: Sequence[tuple[Any, int]]) -> "Sparse":
        import torch

        from distill.losses import Sparse

        rows = [decode_top(data, positions, self.form) for data, positions in found]
        ids, log_probs, rest = (torch.from_numpy(np.concatenate(parts)) for parts in zip(*rows, strict=True))
        whole = torch.cat([log_probs, rest[:, None]], 1).log_softmax(1).exp()  # rounding to 16 bits left the sum near 1
        return Sparse(ids, whole[:, :-1].contiguous(), whole[:, -1].contiguous())


def open_cache(
    recipe: TrainRecipe, folder: Path, rows: Sequence[Tokens], tokenizer: Any, head_rows: int
) -> "Kept | KeptStates":
    """The targets of a recipe's rows. Raises DataError naming all that does not match, ModelError for another
    tokenizer."""
    manifest = read_json(folder / "manifest.json")
    check_schema(manifest, str(folder / "manifest.json"))
    if manifest.get("kind") != KIND:
        raise DataError(f"holds a {manifest.get('kind')!r}, not a cache", where=str(folder))
    if not (folder / "summary.json").exists():
        raise DataError("the cache is not finished", where=str(folder), fix="run `distill cache` again; it resumes")
    if manifest.get("codec") != VERSION:
        fix = "write it again" if manifest.get("codec") is None else "use the potstill that wrote it"
        raise DataError("its targets are in the form of another version", where=str(folder), fix=fix)
    try:
        facts = Facts.model_validate(manifest)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise DataError(f"the manifest is damaged: {key}: {first['msg']}", where=str(folder)) from error
    valid = aligned_vocabulary(tokenizer, load_tokenizer(str(folder / "tokenizer")), head_rows, facts.valid)
    if valid != facts.valid:
        raise DataError(f"says {facts.valid} ids, but its tokenizer has {valid}", where=str(folder))
    form = Form(valid, facts.draws, facts.k)
    wrong = list(_mismatches(recipe, facts))
    store = Store(folder)
    missing = sum(row.digest not in store for row in rows)
    if missing:
        wrong.append(f"{missing} of {len(rows)} rows are not in it (max_length, prompt_weight or the filters differ)")
    if wrong:
        raise DataError(
            f"the cache does not match: {'; '.join(wrong)}",
            where=str(folder),
            fix=f"write another with `distill {'words' if facts.source == 'words' else 'cache'}`",
        )
    if facts.source == "states":
        from distill.targets.states import KeptStates, read_head

        return KeptStates(store, read_head(folder, facts.head_fingerprint, valid))
    return Kept(store, form)


def _mismatches(recipe: TrainRecipe, facts: Facts) -> Sequence[str]:
    wrong = []
    if facts.source != "states" and facts.temperature != recipe.loss.temperature:
        wrong.append(f"temperature {facts.temperature:g}, but loss.temperature is {recipe.loss.temperature:g}")
    if facts.prompting != PROMPTING.model_dump(mode="json"):
        wrong.append("it was made with another prompting template")
    if recipe.data.folder is not None and not recipe.data.corpus:
        current = fingerprint(Path(recipe.data.folder) / "train.jsonl")
        if facts.data_fingerprint != current:
            wrong.append(f"data fingerprint {facts.data_fingerprint}, but {recipe.data.folder} has {current}")
    teacher = facts.recipe.get("teacher")
    if isinstance(teacher, str) and Path(teacher).is_dir() and fingerprint(teacher) != facts.teacher_fingerprint:
        wrong.append(f"the teacher in {teacher} has changed since")
    if recipe.loss.alpha < 1:
        try:
            refuse_impossible(facts.source, recipe.loss.divergence, recipe.loss.temperature)
        except ValueError as error:
            wrong.append(str(error))
    return wrong
