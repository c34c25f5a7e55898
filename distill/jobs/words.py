"""`distill words RECIPE`: an API's own solutions as rows, with what it thought of each word as their targets.

    1. ask      every task of a dataset, through the journal: a killed run pays for nothing twice
    2. prove    what is learned of an answer must pass the task's own tests in the sandbox
    3. align    each token of a row carries the API's distribution there, where it cut the text alike
    4. write    one folder that is a dataset and a cache: train.jsonl, validation.jsonl, targets (distill.targets.store)

Steps 2 to 4 are made again by a resumed run; the summary is written last.
"""

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from distill.recipe import DataPart
from evalkit.console import console, progress
from evalkit.endpoint import HOW, Answer, Endpoint, paid
from evalkit.errors import DataError, EndpointError, ModelError, PotstillError, SandboxError
from evalkit.prompting import PROMPTING
from evalkit.recipes import Recipe
from evalkit.records import Problem, Record, Verdict
from evalkit.runs import RunFolder, cannot_write, write_atomic, write_jsonl

if TYPE_CHECKING:
    from distill.targets.words import Place, Reader

JOURNAL = "journal.sqlite"
AT_ONCE = 64
"""Answers between two looks of the progress line."""
LEAST_ALIGNED = 0.95
"""Share of the tokens inside of answers that the API must cut as the tokenizer here does: below it, it is another."""
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


@dataclass
class _Asked:
    """What came back for one task: its rows as they would be learned, each with the answer it was made of."""

    candidates: list[tuple[Problem, Answer]] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    cost: float | None = 0.0


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

    problems = _tasks(recipe.data)
    reader = Reader(load_tokenizer(recipe.tokenizer))
    run = RunFolder(recipe.output, "cache", recipe.model_dump(mode="json"), may_change=("max_usd", *HOW)).open()
    with alone(run.path), run.or_nothing(PotstillError, OSError, holds=lambda: paid(run.path / JOURNAL)):
        return run.summary if run.finished else _make(recipe, problems, reader, run)


def _tasks(part: DataPart) -> list[Problem]:
    """The tasks of the recipe's rows. Raises DataError where one has no test: its answers could not be proven."""
    from distill.data import choose, read_rows

    assert part.folder is not None  # the recipe's validator saw to it
    problems = [row.problem for row in choose(read_rows(part.folder, "train"), part)]
    untested = [problem.id for problem in problems if not problem.tests and problem.test_program is None]
    if untested:
        raise DataError(
            f"{len(untested)} of {len(problems)} tasks have no test to prove an answer by, {untested[0]} the first",
            where=part.folder,
        )
    return problems


def _make(recipe: WordsRecipe, problems: Sequence[Problem], reader: "Reader", run: RunFolder) -> dict[str, Any]:
    from distill.data import Row, encode, fingerprint

    asked = _ask(recipe, problems, run.path)
    proven = _prove(asked)
    rejected, rows, tokens, places, seen = asked.rejected, list[WordsRow](), [], [], set[bytes]()
    for problem, answer, verdict in proven:
        encoded = encode(Row(problem=problem), reader.tokenizer, PROMPTING, recipe.data.prompt_weight)
        if not verdict.passed:
            rejected[str(verdict.outcome)] += 1
        elif len(encoded.input_ids) > recipe.data.max_length:
            rejected["too_long"] += 1
        elif encoded.digest in seen:
            rejected["duplicate"] += 1
        else:
            assert answer.logprobs is not None  # an answer without them ended the run
            seen.add(encoded.digest)
            completion = PROMPTING.split_solution(problem)[1]
            rows.append(WordsRow(problem=problem, verdict=verdict))
            tokens.append(encoded)
            places.append(reader.places(answer.logprobs, completion, encoded))
    counts = {"tasks": len(problems), "answers": len(problems) * recipe.n, "rejected": dict(rejected.most_common())}
    if not rows:
        raise DataError(f"no answer is left: {dict(rejected.most_common())}", where=str(run.path))
    aligned = _aligned(recipe, reader, [place for row in places for place in row])
    write_jsonl(run.path / "train.jsonl", rows)
    _copy_validation(recipe.data, run.path)
    facts = _write_targets(recipe, reader, run.path, tokens, places)
    run.update_manifest(**facts, data_fingerprint=fingerprint(run.path / "train.jsonl"))
    summary = {**counts, "rows": len(rows), "k": facts["k"], "aligned": round(aligned, 4), "cost_usd": asked.cost}
    run.finish(summary)
    return summary


def _ask(recipe: WordsRecipe, problems: Sequence[Problem], folder: Path) -> _Asked:
    """What would be learned of every answer. Raises EndpointError where the API says no log-probabilities."""
    from evalkit.models import EndpointModel

    endpoint = recipe.api.model_copy(update={"params": {**recipe.api.asking_logprobs(recipe.k), **recipe.api.params}})
    model = EndpointModel(endpoint, folder / JOURNAL, max_usd=recipe.max_usd, instruction=recipe.instruction)
    asked = _Asked()
    step = max(1, AT_ONCE // recipe.n)
    with progress(len(problems), f"asking {endpoint.label}") as tick:
        for start in range(0, len(problems), step):
            part = problems[start : start + step]
            groups = model.answers(
                [PROMPTING.render(problem) for problem in part],
                n=recipe.n,
                max_new_tokens=recipe.max_new_tokens,
                temperature=recipe.temperature,
                seed=recipe.seed,
                stop=PROMPTING.stops(part[0]),
            )
            for problem, group in zip(part, groups, strict=True):
                for sample, answer in enumerate(group):
                    _take(problem, sample, answer, endpoint, asked)
            cost = "unknown" if asked.cost is None else f"${asked.cost:.4f}"
            tick(len(part), candidates=len(asked.candidates), rejected=asked.rejected.total(), cost=cost)
    return asked


def _take(problem: Problem, sample: int, answer: Answer | EndpointError, endpoint: Endpoint, asked: _Asked) -> None:
    """Add what would be learned of an answer, or the reason why there is nothing."""
    from evalkit.evaluation import chat_program

    if isinstance(answer, EndpointError):
        asked.rejected["no_answer"] += 1
        return
    asked.cost = None if asked.cost is None or answer.cost_usd is None else asked.cost + answer.cost_usd
    if answer.text and (answer.logprobs is None or not any(answer.logprobs.top)):
        raise EndpointError(
            "the API answered, but did not say what it thought of its words (it ignores or refuses logprobs)",
            where=endpoint.base_url,
            fix="use its answers as data alone (synth generate, then method sft), or another route of it",
        )
    if endpoint.route == "chat":
        program = chat_program(problem, answer.text, PROMPTING)
    else:
        program = PROMPTING.program(problem, answer.text)
    if answer.finish_reason == "length" and not PROMPTING.truncate(answer.text)[1]:
        asked.rejected["cut_off"] += 1
        return
    try:
        prompt, completion = PROMPTING.split_solution(problem.model_copy(update={"solution": program}))
    except ValueError:
        asked.rejected["not_a_continuation"] += 1
        return
    learned = {"id": f"{problem.id}~{sample}", "solution": f"{prompt}{completion}\n", "source": endpoint.label}
    asked.candidates.append((problem.model_copy(update=learned), answer))


def _prove(asked: _Asked) -> list[tuple[Problem, Answer, Verdict]]:
    """What the sandbox says of each candidate. Raises SandboxError where the sandbox broke."""
    from evalkit.sandbox import Job, Sandbox

    proven = []
    jobs = (Job.of(problem, problem.solution or "", problem.id) for problem, _ in asked.candidates)
    with Sandbox() as sandbox, progress(len(asked.candidates), "proving") as tick:
        for (problem, answer), (_, verdict) in zip(asked.candidates, sandbox.run_many(jobs), strict=True):
            if isinstance(verdict, SandboxError):
                raise verdict
            proven.append((problem, answer, verdict))
            tick()
    return proven


def _aligned(recipe: WordsRecipe, reader: "Reader", places: Sequence["Place"]) -> float:
    """Share of the learned tokens that carry a distribution. Raises ModelError where it is too small."""
    inner = [place for place in places if place.inner]
    other = [place for place in inner if not place.likely]
    if len(other) > len(inner) * (1 - LEAST_ALIGNED):
        first = other[0].id
        raise ModelError(
            f"the API cuts its words otherwise than this tokenizer: {len(other)} of {len(inner)} tokens inside of its "
            f"answers; the first is {reader.vocabulary.text(first)!r} (id {first})",
            where=recipe.tokenizer,
            fix="give the tokenizer of the API's model; with another one train on the words alone (method sft)",
        )
    share = sum(bool(place.likely) for place in places) / len(places)
    console.print(
        f"{share:.1%} of {len(places):,} learned tokens carry what the API thought, the rest their word alone",
        markup=False,
        soft_wrap=True,
    )
    return share


def _copy_validation(part: DataPart, folder: Path) -> None:
    """The tasks that checkpoints are chosen by stay those of the dataset."""
    source = Path(part.folder or "") / "validation.jsonl"
    if source.exists():
        write_atomic(folder / source.name, source.read_bytes())


def _write_targets(
    recipe: WordsRecipe, reader: "Reader", folder: Path, rows: Sequence[Any], places: Sequence[list["Place"]]
) -> dict[str, Any]:
    """The cache beside the rows; what its manifest says of it."""
    from distill.checkpoint import save_folder
    from distill.targets.codec import VERSION, Form, encode_top
    from distill.targets.store import SHARDS, write_shard
    from distill.targets.words import as_top

    k = min(recipe.k, reader.valid, max(len(place.likely) for row in places for place in row))
    form = Form(reader.valid, 0, k)
    (folder / SHARDS).unlink(missing_ok=True)
    records = [
        (row.digest, encode_top(as_top(found, k, reader.valid), form), row.learned)
        for row, found in zip(rows, places, strict=True)
    ]
    write_shard(folder, 0, records)
    shutil.rmtree(folder / "tokenizer", ignore_errors=True)
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
