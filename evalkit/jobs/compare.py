"""Compares finished evaluations on the problems they share, pairwise against the first."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evalkit.errors import DataError
from evalkit.jobs.run import KIND, read_rows
from evalkit.runs import check_schema, read_json
from evalkit.statistics import holm, mcnemar, minimum_detectable_effect, paired_difference


def compare(base: Path, others: Sequence[Path]) -> list[dict[str, Any]]:
    """One comparison per other run: rates on the shared problems, the paired difference with its interval, exact
    McNemar (one sample each), problems gained and lost, and the smallest difference that could be seen at all.

    p-values are Holm's over the runs that are compared. Raises DataError where a folder is no evaluation, where the
    suites differ, or where no problem is shared.
    """
    first = passes(base)
    results = [_pair(base, first, other) for other in others]
    tested = [result for result in results if result["p_value"] is not None]
    for result, adjusted in zip(tested, holm([r["p_value"] for r in tested]), strict=True):
        result["p_value_holm"] = adjusted
    return results


def passes(run: Path) -> dict[str, list[bool]]:
    """Whether each scored sample of each problem passed. Problems with no scored sample are left out."""
    manifest = read_json(run / "manifest.json")
    check_schema(manifest, str(run / "manifest.json"))
    if manifest.get("kind") != KIND:
        raise DataError(f"holds a {manifest.get('kind')!r} run, not an evaluation", where=str(run))
    tasks: dict[str, list[bool]] = defaultdict(list)
    for row in read_rows(run):
        if row.scored:
            tasks[row.problem_id].append(row.passed)
    return dict(tasks)


def _pair(base: Path, first: dict[str, list[bool]], other: Path) -> dict[str, Any]:
    second = passes(other)
    suites = [read_json(run / "manifest.json")["recipe"].get("suite") for run in (base, other)]
    if suites[0] != suites[1]:
        raise DataError(f"was asked {suites[1]!r}, the base {suites[0]!r}", where=str(other))
    shared = [id for id in first if id in second]
    if not shared:
        raise DataError(f"shares no scored problem with {base}", where=str(other))
    before, after = ([sum(run[id]) / len(run[id]) for id in shared] for run in (first, second))
    differences = [b - a for a, b in zip(before, after, strict=True)]
    greedy = all(len(run[id]) == 1 for run in (first, second) for id in shared)
    test = mcnemar([a == 1 for a in before], [b == 1 for b in after]) if greedy else None
    interval = paired_difference(before, after)
    rate = sum(before) / len(before)
    return {
        "base": str(base),
        "run": str(other),
        "suite": suites[0],
        "shared": len(shared),
        "left_out": len(set(first) ^ set(second)),
        "base_pass_at_1": rate,
        "run_pass_at_1": sum(after) / len(after),
        "difference": interval.model_dump(mode="json") if interval else None,
        "p_value": test.p_value if test else None,
        "p_value_holm": None,
        "gained": [id for id, d in zip(shared, differences, strict=True) if d > 0],
        "lost": [id for id, d in zip(shared, differences, strict=True) if d < 0],
        "minimum_detectable_effect": minimum_detectable_effect(differences, rate=rate),
    }
