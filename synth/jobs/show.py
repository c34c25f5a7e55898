"""synth show: rows as a reader wants them."""

from collections.abc import Iterator
from pathlib import Path

from synth.dataset import read_split
from synth.records import Sample, Split


def show(dataset: Path, number: int) -> Iterator[str]:
    """The first training row of as many categories as `number` allows, then further rows."""
    rows = read_split(dataset, Split.TRAIN)
    first = {row.problem.category: row for row in reversed(rows)}
    chosen = [*first.values(), *rows][:number]
    return (describe(row) for row in chosen)


def describe(row: Sample) -> str:
    problem, evidence = row.problem, row.evidence
    verdict = evidence.verdict
    return "\n".join(
        [
            f"── {row.id}  {problem.category}, {problem.level}, {evidence.split}",
            (problem.solution or "").rstrip(),
            "",
            *problem.tests,
            *(f"# fixture {name!r}: {text!r}" for name, text in problem.files.items()),
            "",
            f"solution {verdict.outcome} ({verdict.assertions_held} of {verdict.assertions_total} assertions,"
            f" {verdict.method}, {verdict.tier}); stub {evidence.stub_verdict.outcome};"
            f" teacher {evidence.teacher}; request {evidence.request[:12]}",
            "",
        ]
    )
