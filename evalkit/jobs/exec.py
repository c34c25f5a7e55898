"""Runs programs from a file, each against its own tests or a suite's, in the sandbox."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from evalkit.console import progress
from evalkit.errors import DataError
from evalkit.prompting import PROMPTING
from evalkit.records import Record, Verdict
from evalkit.runs import append_jsonl, read_jsonl, write_atomic
from evalkit.sandbox import Job, Sandbox
from evalkit.suites import load_suite
from evalkit.suites.lines import read_lines

BATCH = 64


class Executed(Record):
    """One program and its verdict, or the error that kept it from one."""

    id: str
    verdict: Verdict | None = None
    error: str = ""


def exec(file: Path, out: Path, suite: str | None = None, suite_file: Path | None = None) -> dict[str, int]:
    """Judge every row of `file` and write `out`, one line each, in order; a killed run goes on where it was.

    A row is a job (`id`, `program`, `entry_point`, and `tests` or `test_program`), or, with a suite, HumanEval's form:
    `task_id` and `completion` (continues the prompt) or `solution` (a whole program). Raises DataError with the line.
    """
    jobs = read_lines(file, _of_suite(suite, suite_file) if suite else _job)
    done = _done(out, jobs)
    counts = {"attempted": len(jobs), "passed": 0, "errored": 0}
    with Sandbox() as sandbox, progress(len(jobs) - len(done), "running") as tick:
        waiting: list[Executed] = []
        for job, result in sandbox.run_many(iter(jobs[len(done) :])):
            verdict = result if isinstance(result, Verdict) else None
            waiting.append(Executed(id=job.id, verdict=verdict, error="" if verdict else str(result)))
            done.append(waiting[-1])
            tick(1)
            if len(waiting) == BATCH:
                append_jsonl(out, waiting)
                waiting = []
        append_jsonl(out, waiting)
    counts["passed"] = sum(row.verdict is not None and row.verdict.passed for row in done)
    counts["errored"] = sum(row.verdict is None for row in done)
    return counts


def _done(out: Path, jobs: list[Job]) -> list[Executed]:
    if not out.exists():
        write_atomic(out, "")
        return []
    done = read_jsonl(out, Executed, torn_tail=True)
    if [row.id for row in done] != [job.id for job in jobs[: len(done)]]:
        raise DataError("holds verdicts of other programs", where=str(out), fix="choose another --out")
    return done


def _job(row: dict[str, Any]) -> Job:
    try:
        return Job.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from error


def _of_suite(suite: str, file: Path | None) -> Callable[[dict[str, Any]], Job]:
    problems = {problem.id: problem for problem in load_suite(suite, file)}
    seen: dict[str, int] = {}

    def convert(row: dict[str, Any]) -> Job:
        id = str(row.get("task_id", row.get("problem_id", row.get("id"))))
        if id not in problems:
            raise ValueError(f"{suite} has no problem {id!r}")
        problem = problems[id]
        program = row["solution"] if "solution" in row else PROMPTING.program(problem, str(row["completion"]))
        seen[id] = seen.get(id, -1) + 1
        return Job.of(problem, str(program), f"{id}#{seen[id]}")

    return convert
