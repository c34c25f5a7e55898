"""synth verify: prove every kept row again, anywhere."""

from pathlib import Path

from evalkit.console import progress
from evalkit.sandbox import Job, Sandbox
from synth.dataset import read_split
from synth.parse import stub
from synth.proof import run_all
from synth.records import Split

BATCH = 200


def verify(dataset: Path, slots: int | None = None) -> list[str]:
    """One line per row that is not proven on this machine; empty where all are. Raises SandboxError, never guesses."""
    problems = [sample.problem for split in Split for sample in read_split(dataset, split)]
    failed = []
    with Sandbox(slots) as sandbox, progress(len(problems), "verifying") as tick:
        for start in range(0, len(problems), BATCH):
            batch = problems[start : start + BATCH]
            solutions = run_all(sandbox, (Job.of(problem, problem.solution or "") for problem in batch))
            stubs = run_all(sandbox, (Job.of(problem, stub(problem)) for problem in batch))
            for problem in batch:
                if not solutions[problem.id].passed:
                    failed.append(f"{problem.id}: its solution is {solutions[problem.id].outcome}")
                if stubs[problem.id].passed:
                    failed.append(f"{problem.id}: an empty stub passes its tests")
            tick(len(batch))
    return failed
