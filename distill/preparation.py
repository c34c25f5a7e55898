"""What one run trains with, made from its recipe: rows, tokenizer, student, teacher, validation problems, facts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.align import aligned_vocabulary, vocabulary_size
from distill.arguments import DEFAULTS
from distill.corpus import Documents, read_corpus
from distill.data import Encoded, Row, choose, encode_rows, encode_texts, fingerprint, read_rows
from distill.recipe import DataPart, TrainRecipe
from distill.students import load_model, load_quantized, load_tokenizer, new_student, shape_of
from distill.tokenizer import train_tokenizer
from evalkit.errors import DataError
from evalkit.prompting import PROMPTING
from evalkit.records import Problem
from evalkit.runs import read_json

SERVED = "targets"
"""Folder in a run where the answers of a served teacher are kept."""

if TYPE_CHECKING:
    from distill.data import Tokens
    from distill.losses import Head, Sparse
    from distill.targets.states import States


@dataclass
class Material:
    """The text side of a run: what is learned and what it is judged by. Needs no model."""

    rows: list[Row]
    documents: Documents | None
    tokenizer: Any
    encoded: Encoded
    validation: list[Problem]
    held_out: list[Any] = field(default_factory=list)
    """Encoded documents that are not learned."""


@dataclass
class Parts:
    """What one run trains with. `valid` ids are real in the student and in its teacher."""

    material: Material
    model: Any
    teacher: Any
    valid: int
    facts: dict[str, Any]
    targets: "Callable[[Sequence[Tokens]], Sparse | States] | None" = None
    """What was kept of a teacher, for rows; None where the teacher is here or there is none."""

    @property
    def head(self) -> "Head | None":
        """The teacher's head, where its hidden states were kept."""
        return getattr(self.targets, "head", None)

    @property
    def tokenizer(self) -> Any:
        return self.material.tokenizer


def prepare(recipe: TrainRecipe, kept: Path | None) -> Parts:
    """Everything, the models too. `kept`: folder where a tokenizer that is trained for this run stays."""
    material = gather(recipe, kept)
    model = student(recipe, material.tokenizer)
    valid, teacher = vocabulary_size(material.tokenizer), None
    facts: dict[str, Any] = {**data_facts(recipe, material), "parameters": sum(p.numel() for p in model.parameters())}
    if recipe.teacher is not None:
        teacher = load_model(recipe.teacher)
        valid = aligned_vocabulary(
            material.tokenizer, load_tokenizer(recipe.teacher), model.config.vocab_size, teacher.config.vocab_size
        )
        facts["teacher_fingerprint"] = fingerprint(recipe.teacher) if Path(recipe.teacher).is_dir() else recipe.teacher
    targets = None
    if (folder := cache_folder(recipe)) is not None:
        from distill.targets.reading import open_cache

        targets = open_cache(recipe, folder, material.encoded.rows, material.tokenizer, model.config.vocab_size)
        facts["teacher_fingerprint"] = read_json(folder / "manifest.json")["teacher_fingerprint"]
    return Parts(material, model, teacher, valid, facts, targets)


def cache_folder(recipe: TrainRecipe) -> Path | None:
    """Where the kept targets of a recipe are: its cache, or what a served teacher was asked for the run."""
    if recipe.cache is not None:
        return Path(recipe.cache)
    return Path(recipe.output) / SERVED if recipe.served is not None else None


def gather(recipe: TrainRecipe, kept: Path | None) -> Material:
    """Read, choose and encode what is learned. Raises DataError where nothing is left."""
    part = recipe.data
    documents = read_corpus(part) if part.corpus else None
    rows = [] if documents else choose(read_rows(_folder(recipe), "train"), part)
    texts = documents.learned if documents else [row.problem.solution or "" for row in rows]
    tokenizer = find_tokenizer(recipe, texts, kept)
    held_out: list[Any] = []
    if documents:
        encoded = encode_texts(documents.learned, tokenizer, part.max_length)
        held_out = encode_texts(documents.held_out, tokenizer, part.max_length).rows if documents.held_out else []
        if recipe.eval.metric == "loss" and not held_out:
            raise DataError(
                f"eval.metric is loss, but of {len(documents.learned)} documents none is held out to measure it on",
                where="data.held_out",
                fix="raise data.held_out, or choose another eval.metric",
            )
    else:
        encoded = encode_rows(rows, tokenizer, PROMPTING, part.max_length, part.prompt_weight)
    return Material(rows, documents, tokenizer, encoded, validation(recipe), held_out)


def encode_data(part: DataPart, tokenizer: Any) -> tuple[Encoded, str]:
    """The rows of a data section under a tokenizer that is there already, and the fingerprint of the data."""
    if part.corpus:
        documents = read_corpus(part)
        return encode_texts(documents.learned, tokenizer, part.max_length), documents.fingerprint
    assert part.folder is not None  # the section's validator saw to it
    rows = choose(read_rows(part.folder, "train"), part)
    encoded = encode_rows(rows, tokenizer, PROMPTING, part.max_length, part.prompt_weight)
    return encoded, fingerprint(Path(part.folder) / "train.jsonl")


def student(recipe: TrainRecipe, tokenizer: Any) -> Any:
    """The student before its first step."""
    if recipe.student.path is not None:
        quantize = recipe.lora is not None and recipe.lora.quantize is not None
        return load_quantized(recipe.student.path) if quantize else load_model(recipe.student.path)
    seed = int(recipe.training.get("seed", DEFAULTS["seed"]))
    part = recipe.student
    return new_student(shape_of(part), tokenizer, max_length=recipe.data.max_length, seed=seed, dropout=part.dropout)


def data_facts(recipe: TrainRecipe, material: Material) -> dict[str, Any]:
    """What the manifest says of the data."""
    if material.documents:
        found = {"data_fingerprint": material.documents.fingerprint, "documents": len(material.documents.learned)}
    else:
        found = {"data_fingerprint": fingerprint(Path(_folder(recipe)) / "train.jsonl")}
    return {
        **found,
        "prompting": PROMPTING.model_dump(mode="json"),
        "rows": len(material.encoded.rows),
        "rows_too_long": material.encoded.too_long,
        "rows_not_a_continuation": material.encoded.not_a_continuation,
    }


def find_tokenizer(recipe: TrainRecipe, texts: list[str], kept: Path | None) -> Any:
    """The recipe's tokenizer; one trained for this run is kept, so that a resumed run has the same."""
    if recipe.tokenizer.vocab_size is None:
        source = recipe.tokenizer.path or recipe.student.path or recipe.teacher
        source = source or (str(Path(recipe.cache) / "tokenizer") if recipe.cache else None)
        assert source is not None  # the recipe's validator saw to it
        if recipe.cache is not None and not Path(recipe.cache, "manifest.json").exists():
            raise DataError("no cache stands there", where=recipe.cache, fix="write one with `distill cache`")
        return load_tokenizer(source)
    if kept is None:
        return train_tokenizer(texts, recipe.tokenizer.vocab_size)
    if not kept.exists():
        from distill.checkpoint import save_folder

        trained = train_tokenizer(texts, recipe.tokenizer.vocab_size)
        save_folder(lambda folder: trained.save_pretrained(folder), kept)
    return load_tokenizer(str(kept))


def validation(recipe: TrainRecipe) -> list[Problem]:
    """The problems that checkpoints are chosen by: the first of the validation split."""
    if recipe.eval.samples == 0 or recipe.data.folder is None:
        return []
    wanted = recipe.data.model_copy(update={"limit": None, "rehearsal": 0.0})
    rows = choose(read_rows(recipe.data.folder, "validation"), wanted)
    return [row.problem for row in rows[: recipe.eval.samples]]


def _folder(recipe: TrainRecipe) -> str:
    assert recipe.data.folder is not None  # the recipe's validator saw to it
    return recipe.data.folder
