"""Lets an evaluation through, or not, or says that it cannot tell."""

from enum import StrEnum
from pathlib import Path
from typing import Any

from evalkit.errors import ConfigError, DataError
from evalkit.jobs.compare import compare
from evalkit.jobs.run import KIND
from evalkit.runs import check_schema, read_json


class Decision(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    UNDECIDED = "undecided"


EXIT_CODES = {Decision.PASSED: 0, Decision.FAILED: 1, Decision.UNDECIDED: 4}


def gate(
    run: Path,
    *,
    min_pass: float | None = None,
    baseline: Path | None = None,
    margin: float = 0.05,
    max_collapse: float | None = None,
    max_errored: int = 0,
) -> tuple[Decision, list[str]]:
    """The decision and its reasons. One failed condition fails; otherwise one undecided condition leaves it open.

    `min_pass`: the interval of pass@1 lies at or above it (passed), below it (failed), or around it (undecided).
    `baseline`: non-inferior, the interval of the paired difference lies above -margin. More errors than `max_errored`:
    undecided, for what was not measured is no evidence. Raises ConfigError where no condition is given.
    """
    if min_pass is None and baseline is None and max_collapse is None:
        raise ConfigError("no condition to check", where="gate", fix="give --min-pass, --baseline or --max-collapse")
    summary = _summary(run)
    checks: list[tuple[Decision, str]] = []
    if summary["errored"] > max_errored:
        checks.append(
            (Decision.UNDECIDED, f"{summary['errored']} of {summary['attempted']} errored, {max_errored} allowed")
        )
    if min_pass is not None:
        checks.append(_at_least(summary.get("pass_at_1_interval"), min_pass))
    if max_collapse is not None:
        checks.append(_at_most(summary.get("mode_collapse"), max_collapse))
    if baseline is not None:
        _summary(baseline)
        checks.append(_not_worse(compare(baseline, [run])[0], margin))
    decisions = {decision for decision, _ in checks}
    reasons = [f"{decision}: {reason}" for decision, reason in checks]
    for decision in (Decision.FAILED, Decision.UNDECIDED):
        if decision in decisions:
            return decision, reasons
    return Decision.PASSED, reasons


def _summary(run: Path) -> dict[str, Any]:
    manifest = read_json(run / "manifest.json")
    check_schema(manifest, str(run / "manifest.json"))
    if manifest.get("kind") != KIND:
        raise DataError(f"holds a {manifest.get('kind')!r} run, not an evaluation", where=str(run))
    if not (run / "summary.json").exists():
        raise DataError("is not finished", where=str(run), fix="run the same evalkit run again to finish it")
    return read_json(run / "summary.json")


def _at_least(interval: dict[str, Any] | None, bound: float) -> tuple[Decision, str]:
    if interval is None:
        return Decision.UNDECIDED, "pass@1 was not measured"
    shown = f"pass@1 {interval['estimate']:.1%} [{interval['low']:.1%}, {interval['high']:.1%}], asked {bound:.1%}"
    if interval["low"] >= bound:
        return Decision.PASSED, shown
    return (Decision.FAILED if interval["high"] < bound else Decision.UNDECIDED), shown


def _at_most(share: float | None, bound: float) -> tuple[Decision, str]:
    if share is None:
        return Decision.UNDECIDED, "collapse was not measured"
    return (Decision.FAILED if share > bound else Decision.PASSED), f"collapse {share:.1%}, allowed {bound:.1%}"


def _not_worse(comparison: dict[str, Any], margin: float) -> tuple[Decision, str]:
    interval = comparison["difference"]
    if interval is None:
        return Decision.UNDECIDED, "fewer than two problems are shared with the baseline"
    shown = (
        f"difference {interval['estimate']:+.1%} [{interval['low']:+.1%}, {interval['high']:+.1%}] on"
        f" {comparison['shared']} problems, allowed {-margin:+.1%}"
    )
    if interval["low"] > -margin:
        return Decision.PASSED, shown
    return (Decision.FAILED if interval["high"] < -margin else Decision.UNDECIDED), shown
