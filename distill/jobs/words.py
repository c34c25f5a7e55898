"""`distill words RECIPE`: an API's own solutions as rows, with what it thought of each word as their targets.

    1. ask      every task of a dataset, through the journal: a killed run pays for nothing twice, and the
                first answer shows whether the API can serve at all
    2. prove    what is learned of an answer must pass the task's own tests in the sandbox
    3. align    each token of a row carries the API's distribution there, where it cut the text alike
    4. write    one folder that is a dataset and a cache: train.jsonl, validation.jsonl, targets (distill.targets.store)

Steps 2 to 4 are made again by a resumed run; the summary is written last.
"""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from distill.recipe import DataPart
from evalkit.console import console, progress
from evalkit.endpoint import HOW, Endpoint, asking_logprobs, paid
from evalkit.errors import DataError, EndpointError, PotstillError, SandboxError
from evalkit.prompting import PROMPTING
from evalkit.recipes import Recipe
from evalkit.records import Problem, Record, Verdict
from evalkit.runs import RunFolder, cannot_write, write_atomic, write_jsonl

if TYPE_CHECKING:
    from distill.data import Row
    from distill.targets.answers import Answers, Candidate
    from distill.targets.words import Reader

JOURNAL = "journal.sqlite"
AT_ONCE = 64
"""Answers between two looks of the progress line."""
INSTRUCTION = "Continue the source text that the user gives: answer with the complete function in one code block."


class WordsRecipe(Recipe):
    data: DataPart
    """The dataset whose tasks are asked; their tests prove the answers."""
    output: str
    api: Endpoint
    """Route `completions` continues the prompt as a student does; `chat` is asked for a code block."""
    tokenizer: str
    """The tokenizer of the API's model, which must be the student's: a folder or Hub name."""
    k: int = Field(20, ge=1)
    """How many of the likeliest words the API is asked for, per token. Many allow 20 at most, some 5."""
    n: int = Field(1, ge=1)
    """Answers per task."""
    temperature: float = Field(0.0, ge=0)
    """Of the words that are said. Their log-probabilities are taken to be at temperature 1, as OpenAI and vLLM say
    them."""
    max_new_tokens: int = Field(256, ge=1)
    seed: int = Field(0, ge=0)
    instruction: str = INSTRUCTION
    """The system message; route `chat` only."""
    max_usd: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _possible(self) -> "WordsRecipe":
        if self.data.folder is None or self.data.corpus:
            raise ValueError("words are asked for the tasks of data.folder; a corpus has none")
        if self.data.folder and Path(self.data.folder).resolve() == Path(self.output).resolve():
            raise ValueError("output must be another folder than data.folder")
        if self.n > 1 and self.temperature == 0:
            raise ValueError("several answers at temperature 0 are the same answer; set a temperature")
        return self


class WordsRow(Record):
    """A line of train.jsonl: the task with the API's solution, and how it was proven."""

    problem: Problem
    verdict: Verdict
    weight: float = 1.0


def words(recipe: WordsRecipe) -> dict[str, Any]:
    """Write the folder and return its summary. Raises the errors of evalkit.errors, nothing else on bad input."""
    try:
        return _words(recipe)
    except OSError as error:
        raise cannot_write(Path(recipe.output), error) from error


def _words(recipe: WordsRecipe) -> dict[str, Any]:
    from distill.students import load_tokenizer
    from distill.targets.store import alone
    from distill.targets.words import Reader

    reader = Reader(load_tokenizer(recipe.tokenizer))
    rows = _tasks(recipe.data, reader)
    run = RunFolder(recipe.output, "cache", recipe.model_dump(mode="json"), may_change=("max_usd", *HOW)).open()
    with alone(run.path), run.or_nothing(PotstillError, OSError, holds=lambda: paid(run.path / JOURNAL)):
        return run.summary if run.finished else _make(recipe, rows, reader, run)


def _tasks(part: DataPart, reader: "Reader") -> "list[Row]":
    """The rows whose tasks are asked. Raises DataError where one has no test, for its answers could not be proven, and
    where no prompt leaves room for an answer."""
    from distill.data import choose, read_rows

    assert part.folder is not None  # the recipe's validator saw to it
    rows = choose(read_rows(part.folder, "train"), part)
    untested = [row.problem.id for row in rows if not row.problem.tests and row.problem.test_program is None]
    if untested:
        raise DataError(
            f"{len(untested)} of {len(rows)} tasks have no test to prove an answer by, {untested[0]} the first",
            where=part.folder,
        )
    lengths = [len(reader.tokenizer(PROMPTING.render(row.problem))["input_ids"]) for row in rows]
    short = [row for row, length in zip(rows, lengths, strict=True) if length + 2 < part.max_length]
    if not short:
        raise DataError(
            f"no prompt leaves room for an answer: the shortest has {min(lengths)} tokens, and data.max_length is "
            f"{part.max_length}",
            where=part.folder,
        )
    if len(short) < len(rows):
        console.print(f"{len(rows) - len(short)} tasks are not asked: their prompts fill data.max_length", markup=False)
    return short


def _make(recipe: WordsRecipe, tasks: "Sequence[Row]", reader: "Reader", run: RunFolder) -> dict[str, Any]:
    from distill.data import fingerprint

    answers, notes = _ask(recipe, tasks, reader, run.path)
    kept: list[tuple[Candidate, Verdict]] = []
    rejected, seen = answers.rejected, set[bytes]()
    for candidate, verdict in _prove(answers.candidates):
        if not verdict.passed:
            rejected[str(verdict.outcome)] += 1
        elif candidate.tokens.digest in seen:
            rejected["duplicate"] += 1
        else:
            seen.add(candidate.tokens.digest)
            kept.append((candidate, verdict))
    if not kept:
        raise DataError(f"no answer is left: {dict(rejected.most_common())}", where=str(run.path))
    candidates = [candidate for candidate, _ in kept]
    answers.check_aligned(candidates, recipe.tokenizer)
    places = [place for candidate in candidates for place in candidate.places]
    aligned = sum(bool(place.likely) for place in places) / len(places)
    console.print(
        f"{aligned:.1%} of {len(places):,} learned tokens carry what the API thought, the rest their word alone",
        markup=False,
        soft_wrap=True,
    )
    rows = [WordsRow(problem=c.problem, verdict=verdict, weight=c.weight) for c, verdict in kept]
    write_jsonl(run.path / "train.jsonl", rows)
    _copy_validation(recipe.data, run.path)
    facts = _write_targets(recipe, reader, run.path, candidates)
    run.update_manifest(**facts, data_fingerprint=fingerprint(run.path / "train.jsonl"))
    summary = {
        "tasks": len(tasks),
        "answers": answers.count,
        "unanswered": len(answers.unanswered),
        "rejected": dict(rejected.most_common()),
        "rows": len(rows),
        "k": facts["k"],
        "aligned": round(aligned, 4),
        "cost_usd": answers.cost_usd,
        "notes": notes,
    }
    run.finish(summary)
    return summary


def _ask(recipe: WordsRecipe, tasks: "Sequence[Row]", reader: "Reader", folder: Path) -> "tuple[Answers, list[str]]":
    """What would be learned of every answer. Raises EndpointError where the API says no log-probabilities, or left too
    many questions without an answer; ModelError where it cuts its words otherwise."""
    from distill.targets.answers import Answers
    from evalkit.models import EndpointModel

    endpoint = recipe.api.model_copy(
        update={"params": {**asking_logprobs(recipe.api.route, recipe.k), **recipe.api.params}}
    )
    model = EndpointModel(endpoint, folder / JOURNAL, max_usd=recipe.max_usd, instruction=recipe.instruction)
    answers, step = Answers(endpoint, recipe.data, reader), max(1, AT_ONCE // recipe.n)
    with progress(len(tasks), f"asking {endpoint.label}") as tick:
        start = 0
        while start < len(tasks):
            # one language at a time, for each has its own stop strings
            some = tasks[start : start + (step if start else 1)]
            part = list(next(groupby(some, lambda row: row.problem.language))[1])
            groups = model.answers(
                [PROMPTING.render(row.problem) for row in part],
                n=recipe.n,
                max_new_tokens=recipe.max_new_tokens,
                temperature=recipe.temperature,
                seed=recipe.seed,
                stop=PROMPTING.stops(part[0].problem),
            )
            for row, group in zip(part, groups, strict=True):
                for sample, answer in enumerate(group):
                    answers.take(row, sample, answer)
            if start == 1:  # one answer says too little: a word that was drawn in an unusual cut weighs too much in it
                answers.check_aligned(answers.candidates, recipe.tokenizer)
            if refused := [note for note in model.notes if "logprobs" in note]:
                raise EndpointError(f"the API refuses {refused[0]}", where=endpoint.base_url, fix="lower k")
            start += len(part)
            cost = "unknown" if answers.cost_usd is None else f"${answers.cost_usd:.4f}"
            tick(len(part), candidates=len(answers.candidates), rejected=answers.rejected.total(), cost=cost)
    for note in model.notes:
        console.print(f"note: {note}", markup=False, soft_wrap=True)
    answers.check_answered()
    return answers, model.notes


def _prove(candidates: "Sequence[Candidate]") -> "list[tuple[Candidate, Verdict]]":
    """What the sandbox says of each. Raises SandboxError where the sandbox broke."""
    from evalkit.sandbox import Job, Sandbox

    proven = []
    jobs = (Job.of(c.problem, c.problem.solution or "", c.problem.id) for c in candidates)
    with Sandbox() as sandbox, progress(len(candidates), "proving") as tick:
        for candidate, (_, verdict) in zip(candidates, sandbox.run_many(jobs), strict=True):
            if isinstance(verdict, SandboxError):
                raise verdict
            proven.append((candidate, verdict))
            tick()
    return proven


def _copy_validation(part: DataPart, folder: Path) -> None:
    """The tasks that checkpoints are chosen by stay those of the dataset."""
    source = Path(part.folder or "") / "validation.jsonl"
    if source.exists():
        write_atomic(folder / source.name, source.read_bytes())


def _write_targets(
    recipe: WordsRecipe, reader: "Reader", folder: Path, candidates: "Sequence[Candidate]"
) -> dict[str, Any]:
    """The cache beside the rows; what its manifest says of it."""
    from distill.checkpoint import save_folder
    from distill.targets.codec import VERSION, Form, encode_top
    from distill.targets.store import SHARDS, write_shard
    from distill.targets.words import as_top

    k = min(recipe.k, reader.valid, max(len(place.likely) for c in candidates for place in c.places))
    form = Form(reader.valid, 0, k)
    (folder / SHARDS).unlink(missing_ok=True)
    records = [
        (c.tokens.digest, encode_top(as_top(c.places, k, reader.valid), form), c.tokens.learned) for c in candidates
    ]
    write_shard(folder, 0, records)
    save_folder(lambda target: reader.tokenizer.save_pretrained(target), folder / "tokenizer")
    return {
        "source": "words",
        "codec": VERSION,
        "valid": reader.valid,
        "draws": 0,
        "k": k,
        "temperature": 1.0,
        "prompting": PROMPTING.model_dump(mode="json"),
        "teacher_fingerprint": f"{recipe.api.base_url} {recipe.api.model}",
    }
