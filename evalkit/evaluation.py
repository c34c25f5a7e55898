"""Asks a model every problem, judges every answer, and says what came of it.

1. render       a problem becomes a prompt, by the prompting contract
2. complete     the model continues it, n times
3. program      the answer becomes a program, by the same contract
4. judge        the sandbox runs it; where the sandbox broke there is an error, not a verdict
5. summarise    rates with denominators and intervals; what cannot be computed is None
"""

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from evalkit.console import Tick
from evalkit.errors import SandboxError
from evalkit.extract import defines, extract_program
from evalkit.metrics import distinct_programs, mode_collapse_share, repetition_share, syntax_valid_share
from evalkit.models import Generated, Model
from evalkit.prompting import PROMPTING, Prompting
from evalkit.records import Completion, Method, Outcome, Problem, Record, Verdict
from evalkit.sandbox import Job
from evalkit.statistics import Interval, clustered_mean, minimum_detectable_effect, pass_at_k, wilson

PASS_AT = (1, 2, 5, 10, 20, 50, 100)
"""Every k up to the number of samples is reported, none beyond it."""


class Row(Record):
    """One completion and what became of it: a verdict, or the error that kept it from one."""

    problem_id: str
    completion: Completion
    verdict: Verdict | None = None
    error: str = ""

    @property
    def scored(self) -> bool:
        """Whether it counts: judged, and in a way that the program cannot forge."""
        return self.verdict is not None and self.verdict.method is not Method.INLINE

    @property
    def passed(self) -> bool:
        return self.scored and self.verdict is not None and self.verdict.passed


@dataclass(frozen=True)
class Evaluation:
    """All rows, in the order of the problems and samples, and their summary."""

    rows: list[Row]
    summary: dict[str, Any]


def evaluate(
    problems: Sequence[Problem],
    model: Model,
    sandbox: Any,
    *,
    prompting: Prompting = PROMPTING,
    n: int = 1,
    temperature: float = 0.0,
    max_new_tokens: int = 128,
    seed: int = 0,
    on_progress: Tick | None = None,
) -> Evaluation:
    """Score a model on problems. Raises ModelError, EndpointError or SandboxError where nothing at all can be scored.

    `sandbox` is an open `evalkit.sandbox.Sandbox`. A live model's mode and torch's random state are left alone.
    """
    rows = answer(
        problems,
        model,
        sandbox,
        prompting=prompting,
        n=n,
        temperature=temperature,
        max_new_tokens=max_new_tokens,
        seed=seed,
        on_progress=on_progress,
    )
    return Evaluation(rows, summarise(rows))


def answer(
    problems: Sequence[Problem],
    model: Model,
    sandbox: Any,
    *,
    prompting: Prompting,
    n: int,
    temperature: float,
    max_new_tokens: int,
    seed: int,
    on_progress: Tick | None = None,
) -> list[Row]:
    """The rows alone: what a job that appends and resumes needs."""
    start = time.perf_counter()
    answers = model.complete(
        [prompting.render(problem) for problem in problems],
        n=n,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
        stop=prompting.stops(problems[0]) if problems else (),
    )
    share = (time.perf_counter() - start) / max(1, len(problems) * n)
    chat = bool(getattr(model, "chat", False))
    pairs = [
        (problem, _completion(problem, sample, generated, share, prompting, chat), generated.error)
        for problem, group in zip(problems, answers, strict=True)
        for sample, generated in enumerate(group)
    ]
    jobs = (Job.of(p, c.program, f"{p.id}#{c.sample_index}") for p, c, error in pairs if not error)
    verdicts = iter(sandbox.run_many(jobs))
    rows: list[Row] = []
    passed = 0
    for problem, completion, error in pairs:
        rows.append(_row(problem, completion, error, verdicts))
        if on_progress is not None:
            passed += rows[-1].passed
            on_progress(1, passed=passed)
    return rows


def _row(
    problem: Problem, completion: Completion, error: str, verdicts: Iterator[tuple[Job, Verdict | SandboxError]]
) -> Row:
    verdict: Verdict | None = None
    if not error:
        _, result = next(verdicts)
        if isinstance(result, Verdict):
            verdict = result
        else:
            error = str(result) or type(result).__name__
    return Row(problem_id=problem.id, completion=completion, verdict=verdict, error=error)


def _completion(
    problem: Problem, sample: int, generated: Generated, seconds: float, prompting: Prompting, chat: bool
) -> Completion:
    text = generated.text.encode(errors="replace").decode()  # half a surrogate pair is not storable
    return Completion(
        problem_id=problem.id,
        sample_index=sample,
        text=text,
        program=chat_program(problem, text, prompting) if chat else prompting.program(problem, text),
        finish_reason=generated.finish_reason,
        tokens=generated.tokens,
        seconds=seconds,
    )


def chat_program(problem: Problem, text: str, prompting: Prompting) -> str:
    """The program of a chat answer: the fenced or bare program that defines the entry point, what the prompt brings
    standing before it; otherwise the answer continues the prompt."""
    program = extract_program(text, problem.entry_point, problem.language)
    if defines(program, problem.entry_point, problem.language):
        return f"{problem.imports}\n\n{program}" if problem.imports else program
    return prompting.program(problem, program.rstrip() if "```" in text else text)


def summarise(rows: Sequence[Row]) -> dict[str, Any]:
    """Counts with their denominators, rates with their intervals. None: not computable."""
    scored = [row for row in rows if row.scored]
    tasks: dict[str, list[bool]] = defaultdict(list)
    for row in scored:
        tasks[row.problem_id].append(row.passed)
    interval = pass_interval(tasks)
    completions = [row.completion for row in rows if row.verdict is not None]
    counted = [(c.tokens, c.seconds) for c in completions if c.tokens is not None]
    tokens, seconds = sum(count for count, _ in counted), sum(taken for _, taken in counted)
    effect = minimum_detectable_effect(tasks=len(tasks), rate=interval.estimate) if interval else None
    return {
        "problems": len({row.problem_id for row in rows}),
        "attempted": len(rows),
        "scored": len(scored),
        "errored": sum(bool(row.error) for row in rows),
        "weak": sum(row.verdict is not None and not row.scored for row in rows),
        "weak_passed": sum(row.verdict is not None and not row.scored and row.verdict.passed for row in rows),
        "passed": sum(row.passed for row in rows),
        "pass_at_1": interval.estimate if interval else None,
        "pass_at_1_interval": interval.model_dump(mode="json") if interval else None,
        "pass_at_k": pass_at(tasks),
        "minimum_detectable_effect": effect,
        "outcomes": dict(Counter(str(row.verdict.outcome) for row in rows if row.verdict).most_common()),
        "methods": dict(Counter(str(row.verdict.method) for row in rows if row.verdict)),
        "tiers": dict(Counter(str(row.verdict.tier) for row in rows if row.verdict)),
        "errors": dict(Counter(row.error for row in rows if row.error).most_common(5)),
        "syntax_valid": _valid_share([row for row in rows if row.verdict is not None]),
        "mode_collapse": mode_collapse_share(completions),
        "repetition": repetition_share([c.text for c in completions]),
        "distinct": distinct_programs(completions),
        "cut_off": sum(c.finish_reason == "length" for c in completions) / len(completions) if completions else None,
        "mean_tokens": tokens / len(counted) if counted else None,
        "tokens_per_second": tokens / seconds if seconds > 0 else None,
        "seconds": sum(row.completion.seconds for row in rows),
    }


def _valid_share(rows: Sequence[Row]) -> float | None:
    """Share of programs that compile: Python's by themselves, others by their verdicts. None for no programs."""
    other = [row.verdict for row in rows if row.verdict and row.verdict.method in (Method.INLINE, Method.COMPILE)]
    if other and len(other) == len(rows):
        return sum(verdict.outcome is not Outcome.SYNTAX_ERROR for verdict in other) / len(other)
    return syntax_valid_share([row.completion.program for row in rows])


def pass_interval(tasks: dict[str, list[bool]]) -> Interval | None:
    """pass@1 over tasks: Wilson's interval for one sample each, clustered by task for more; None for no task."""
    if not tasks:
        return None
    if all(len(samples) == 1 for samples in tasks.values()):
        return wilson(sum(samples[0] for samples in tasks.values()), len(tasks))
    return clustered_mean([sum(samples) / len(samples) for samples in tasks.values()]) or _one_task(tasks)


def _one_task(tasks: dict[str, list[bool]]) -> Interval | None:
    """A single task: its samples are all there is, and say nothing about other tasks."""
    (samples,) = tasks.values()
    return wilson(sum(samples), len(samples))


def pass_at(tasks: dict[str, list[bool]]) -> dict[str, float]:
    """Mean pass@k over tasks for every k of PASS_AT that each task has the samples for."""
    values: dict[str, float] = {}
    for k in PASS_AT:
        each = [pass_at_k(len(samples), sum(samples), k) for samples in tasks.values()]
        known = [value for value in each if value is not None]
        if known and len(known) == len(each):
            values[str(k)] = sum(known) / len(known)
    return values
