"""Proof by running: a solution must pass its own tests, and an empty stub must fail them."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from evalkit.console import progress
from evalkit.errors import SandboxError
from evalkit.records import Problem, Record, Verdict
from evalkit.runs import append_jsonl, read_jsonl
from evalkit.sandbox import Job, Sandbox
from synth.parse import stub

BATCH = 64
"""Proofs written at a time: what a killed run does again at most."""


class Proof(Record):
    """Both verdicts of one problem; `problem_digest` ties them to the very text that ran."""

    id: str
    problem_digest: str
    solution: Verdict
    stub: Verdict | None = None
    """Not run where the solution failed already."""


def prove(problems: Sequence[Problem], journal: Path, sandbox: Sandbox, label: str = "proving") -> dict[str, Proof]:
    """Proof of every problem, by id. Those that `journal` holds already are not run again.

    Raises SandboxError where the sandbox broke: a row is never dropped for a reason that is not its own.
    """
    known = {proof.id: proof for proof in read_jsonl(journal, Proof, torn_tail=True)} if journal.exists() else {}
    digests = {problem.id: problem.digest for problem in problems}
    proofs = {id: proof for id, proof in known.items() if digests.get(id) == proof.problem_digest}
    open_problems = [problem for problem in problems if problem.id not in proofs]
    with progress(len(problems), label) as tick:
        if proofs:
            tick(len(proofs))
        for batch in _batches(open_problems):
            fresh = list(_prove_batch(batch, digests, sandbox))
            append_jsonl(journal, fresh)
            proofs |= {proof.id: proof for proof in fresh}
            tick(len(fresh))
    return proofs


def _batches(problems: Sequence[Problem]) -> Iterator[Sequence[Problem]]:
    for start in range(0, len(problems), BATCH):
        yield problems[start : start + BATCH]


def _prove_batch(batch: Sequence[Problem], digests: dict[str, str], sandbox: Sandbox) -> Iterator[Proof]:
    by_id = {problem.id: problem for problem in batch}
    solutions = run_all(sandbox, (Job.of(problem, problem.solution or "") for problem in batch))
    passed = [by_id[id] for id, verdict in solutions.items() if verdict.passed]
    stubs = run_all(sandbox, (Job.of(problem, stub(problem)) for problem in passed))
    for id, verdict in solutions.items():
        yield Proof(id=id, problem_digest=digests[id], solution=verdict, stub=stubs.get(id))


def run_all(sandbox: Sandbox, jobs: Iterable[Job]) -> dict[str, Verdict]:
    """Verdicts by job id; raises the SandboxError of the first job that could not be judged."""
    verdicts = {}
    for job, verdict in sandbox.run_many(jobs):
        if isinstance(verdict, SandboxError):
            raise verdict
        verdicts[job.id] = verdict
    return verdicts
