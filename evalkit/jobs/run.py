"""Scores a model on a suite, into a run folder that can be resumed."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from evalkit.console import Tick, progress
from evalkit.endpoint import HOW, Endpoint, paid
from evalkit.errors import ModelError, NotServed, SandboxError
from evalkit.evaluation import Row, answer, summarise
from evalkit.models import EndpointModel, LocalModel, Model, RetrievalModel
from evalkit.prompting import PROMPTING, Prompting
from evalkit.recipes import Recipe
from evalkit.records import Problem, digest
from evalkit.runs import RunFolder, append_jsonl, read_jsonl, write_jsonl
from evalkit.suites import load_suite
from evalkit.suites.problems import read_problems

KIND = "evaluation"
ROWS, JOURNAL = "rows.jsonl", "journal.sqlite"
BATCH = 64
"""Completions between two appends: what a killed run loses at most."""


class RunRecipe(Recipe):
    """What is asked of whom: exactly one of `model`, `endpoint` and `retrieval`."""

    suite: str
    file: str | None = None
    model: str | None = None
    """A model folder."""
    endpoint: Endpoint | None = None
    retrieval: str | None = None
    """Training rows (train.jsonl): the nearest one's solution is the answer, which is the floor to clear."""
    n: int = Field(default=1, ge=1)
    temperature: float = Field(default=0.0, ge=0.0)
    max_new_tokens: int = Field(default=256, ge=1)
    seed: int = 0
    limit: int | None = Field(default=None, ge=1)
    """Only the first so many problems."""
    max_usd: float | None = Field(default=None, gt=0)
    instruction: str = ""
    """A system message before the prompt; endpoints with the chat route only."""

    @model_validator(mode="after")
    def _consistent(self) -> "RunRecipe":
        if sum(source is not None for source in (self.model, self.endpoint, self.retrieval)) != 1:
            raise ValueError("give either a model folder, an endpoint or training rows to retrieve from")
        if self.n > 1 and self.temperature == 0:
            raise ValueError("several samples at temperature 0 are the same sample; set a temperature")
        return self


def run(recipe: RunRecipe, out: Path) -> dict[str, Any]:
    """Score, append by batch, summarise; returns the summary. A finished run returns at once, a killed one goes on, and
    one that an endpoint left without some answers asks for those.

    Problems with an error are asked again when the run is resumed. Raises ConfigError where `out` was made by another
    recipe, another version of the problems or of the weights; SandboxError where not one completion could be scored.
    """
    problems = load_suite(recipe.suite, recipe.file)[: recipe.limit]
    prompting = PROMPTING
    facts = {**recipe.model_dump(mode="json"), "problems": digest([problem.digest for problem in problems])}
    if recipe.model is not None:
        local = LocalModel(recipe.model)
        prompting = local.prompting
        facts["weights"] = fingerprint(Path(recipe.model))
    if recipe.retrieval is not None:
        facts["weights"] = digest([problem.digest for problem in read_problems(Path(recipe.retrieval))])
    facts["prompting"] = prompting.model_dump(mode="json")
    folder = RunFolder(out, KIND, facts, may_change=("max_usd", *HOW))
    if recipe.model is not None and not (out / "manifest.json").exists():
        _ = local.loaded  # a folder that is no model must not leave an output folder behind
    folder.open(name=model_name(recipe))
    if folder.finished and not (recipe.endpoint and folder.summary["errored"]):
        return folder.summary
    rows = _known(out / ROWS, problems, recipe.n)
    with folder.or_nothing(NotServed, holds=lambda: paid(out / JOURNAL)), ExitStack() as stack:
        model: Model = local if recipe.model is not None else _other(recipe, out)
        rows |= _ask(recipe, problems, rows, model, prompting, out / ROWS, stack)
    ordered = [row for problem in problems for row in rows[problem.id]]
    summary = {"suite": recipe.suite, "model": model_name(recipe), **summarise(ordered)}
    if isinstance(model, EndpointModel):
        summary["cost_usd"] = model.cost_usd
        summary["notes"] = model.notes
    if summary["attempted"] and summary["scored"] + summary["weak"] == 0:
        first = next(iter(summary["errors"]), "")
        raise SandboxError(f"not one of {len(ordered)} completions could be scored: {first}", where=str(out))
    folder.finish(summary)
    return summary


def model_name(recipe: RunRecipe) -> str:
    """What people call it: the folder's name (its run's, for a folder called `model`), or the endpoint's model."""
    if recipe.endpoint is not None:
        return recipe.endpoint.name or recipe.endpoint.model
    if recipe.retrieval is not None:
        return "retrieval"
    path = Path(recipe.model or "").resolve()
    return path.parent.name if path.name in ("model", "best", "final") else path.name


def fingerprint(folder: Path) -> str:
    """Digest over the contents of a model folder's own files. Raises ModelError where there is none."""
    if not folder.is_dir():
        raise ModelError("no such model folder", where=str(folder), fix="give the folder that a training run wrote")
    hashes = {}
    for file in sorted(folder.iterdir()):
        if file.is_file() and file.suffix in (".json", ".safetensors", ".bin", ".model", ".txt", ".jinja"):
            if file.name == "manifest.json":
                continue  # says when it was made; the contract in it is compared on its own
            with file.open("rb") as content:
                hashes[file.name] = hashlib.file_digest(content, "sha256").hexdigest()
    return digest(hashes)


def read_rows(out: Path) -> list[Row]:
    return read_jsonl(out / ROWS, Row, torn_tail=True)


def _known(file: Path, problems: Sequence[Problem], n: int) -> dict[str, list[Row]]:
    """Rows of problems that are done: all samples, no errors. What else the file holds is taken out of it."""
    if not file.exists():
        return {}
    found: dict[str, list[Row]] = defaultdict(list)
    for row in read_jsonl(file, Row, torn_tail=True):
        found[row.problem_id].append(row)
    done = {p.id: found[p.id] for p in problems if len(found[p.id]) == n and not any(r.error for r in found[p.id])}
    write_jsonl(file, (row for rows in done.values() for row in rows))
    return done


def _other(recipe: RunRecipe, out: Path) -> Model:
    if recipe.endpoint is None:
        return RetrievalModel(read_problems(Path(recipe.retrieval or "")), name=model_name(recipe))
    return EndpointModel(recipe.endpoint, out / JOURNAL, max_usd=recipe.max_usd, instruction=recipe.instruction)


def _adding(tick: Tick, before: int) -> Tick:
    """A tick whose passes come on top of those before."""

    def total(done: int = 1, **facts: Any) -> None:
        tick(done, passed=before + facts["passed"])

    return total


def _ask(
    recipe: RunRecipe,
    problems: Sequence[Problem],
    known: dict[str, list[Row]],
    model: Model,
    prompting: Prompting,
    file: Path,
    stack: ExitStack,
) -> dict[str, list[Row]]:
    """Rows of the problems that are not known yet, appended as they come."""
    from evalkit.sandbox import Sandbox

    waiting = [problem for problem in problems if problem.id not in known]
    fresh: dict[str, list[Row]] = defaultdict(list)
    if not waiting:
        return fresh
    sandbox = stack.enter_context(Sandbox())
    tick = stack.enter_context(progress(len(waiting) * recipe.n, f"{recipe.suite}, {model_name(recipe)}"))
    step, passed = max(1, BATCH // recipe.n), 0
    for start in range(0, len(waiting), step):
        rows = answer(
            waiting[start : start + step],
            model,
            sandbox,
            prompting=prompting,
            n=recipe.n,
            temperature=recipe.temperature,
            max_new_tokens=recipe.max_new_tokens,
            seed=recipe.seed,
            on_progress=_adding(tick, passed),
        )
        passed += sum(row.passed for row in rows)
        append_jsonl(file, rows)
        for row in rows:
            fresh[row.problem_id].append(row)
    return fresh
