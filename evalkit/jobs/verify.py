"""Checks a suite against itself: canonical solutions pass, empty bodies fail."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from evalkit.console import progress
from evalkit.errors import SandboxError
from evalkit.records import Language, Problem, Verdict
from evalkit.sandbox import Job, Sandbox
from evalkit.sandbox.languages import LANGUAGES
from evalkit.suites import load_suite


def verify(suite: str, file: str | Path | None = None, limit: int | None = None) -> dict[str, Any]:
    """Counts, and a line for every problem that is not sound. Raises SandboxError where the sandbox broke.

    A problem is sound where its solution passes and an empty body does not; without a solution it is not verifiable.
    """
    return verify_problems(load_suite(suite, file)[:limit], suite)


def verify_problems(problems: Sequence[Problem], label: str) -> dict[str, Any]:
    known = [problem for problem in problems if problem.solution is not None]
    complaints: list[dict[str, str]] = []
    passed, errored, methods = 0, 0, dict[str, int]()
    with Sandbox() as sandbox, progress(len(known), f"verifying {label}") as tick:
        for job, result in sandbox.run_many(_jobs(known)):
            id, stub = job.id.rpartition("#")[::2]
            if not isinstance(result, Verdict):
                errored += 1
                complaints.append({"id": id, "what": f"sandbox: {result}"})
            elif stub == "stub":
                tick(1, passed=passed)
                if result.passed:
                    complaints.append({"id": id, "what": "an empty body passes"})
            elif result.passed:
                passed += 1
                methods[result.method] = methods.get(result.method, 0) + 1
            else:
                complaints.append({"id": id, "what": _why(result)})
    if errored and errored == 2 * len(known):
        raise SandboxError(f"broke on every program: {complaints[0]['what']}", where=label)
    return {
        "attempted": len(problems),
        "without_solution": len(problems) - len(known),
        "passed": passed,
        "errored": errored,
        "unsound": len({complaint["id"] for complaint in complaints}),
        "methods": methods,
        "complaints": complaints,
    }


def _jobs(problems: Sequence[Problem]) -> Iterator[Job]:
    for problem in problems:
        yield Job.of(problem, problem.solution or "", f"{problem.id}#solution")
        body = "    pass\n" if problem.language is Language.PYTHON else LANGUAGES[problem.language].stub
        yield Job.of(problem, f"{problem.prompt.rstrip()}\n{body}", f"{problem.id}#stub")


def _why(verdict: Verdict) -> str:
    reason = verdict.failed_assertion or ": ".join(said for said in (verdict.exception, verdict.detail) if said)
    return f"the solution is judged {verdict.outcome}" + (f": {reason[:200]}" if reason else "")
