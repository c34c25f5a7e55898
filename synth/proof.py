"""Proof by running: a solution must pass its own tests, and an empty stub must fail them."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from evalkit.console import progress
from evalkit.errors import SandboxError
from evalkit.records import Method, Problem, Record, Verdict
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
    known = known_proofs(journal)
    proofs: dict[str, Proof] = {}
    with progress(len(problems), label) as tick:
        for start in range(0, len(problems), BATCH):
            batch = problems[start : start + BATCH]
            proofs |= {proof.id: proof for proof in prove_batch(batch, journal, sandbox, known)}
            tick(len(batch))
    return proofs


def known_proofs(journal: Path) -> dict[str, Proof]:
    """What a journal of proofs holds, by id."""
    if not journal.exists():
        return {}
    return {proof.id: proof for proof in read_jsonl(journal, Proof, torn_tail=True)}


def prove_batch(batch: Sequence[Problem], journal: Path, sandbox: Sandbox, known: Mapping[str, Proof]) -> list[Proof]:
    """Proofs of a few problems, written down before they are used; those known for the same text are not run again."""
    digests = {problem.id: problem.digest for problem in batch}
    proofs = {id: known[id] for id, digest in digests.items() if id in known and known[id].problem_digest == digest}
    by_id = {problem.id: problem for problem in batch if problem.id not in proofs}
    solutions = run_all(sandbox, (Job.of(problem, problem.solution or "") for problem in by_id.values()))
    passed = [by_id[id] for id, verdict in solutions.items() if verdict.passed]
    stubs = run_all(sandbox, (Job.of(problem, stub(problem)) for problem in passed))
    fresh = [
        Proof(id=id, problem_digest=digests[id], solution=verdict, stub=stubs.get(id))
        for id, verdict in solutions.items()
    ]
    if fresh:
        append_jsonl(journal, fresh)
    proofs |= {proof.id: proof for proof in fresh}
    return [proofs[problem.id] for problem in batch]


def proven(proof: Proof) -> bool:
    """Whether the solution passes its tests, in a process that could not forge it, and an empty stub does not."""
    forgeable = proof.solution.method is Method.INLINE
    return proof.solution.passed and not forgeable and proof.stub is not None and not proof.stub.passed


def run_all(sandbox: Sandbox, jobs: Iterable[Job]) -> dict[str, Verdict]:
    """Verdicts by job id; raises the SandboxError of the first job that could not be judged."""
    verdicts = {}
    for job, verdict in sandbox.run_many(jobs):
        if isinstance(verdict, SandboxError):
            raise verdict
        verdicts[job.id] = verdict
    return verdicts
