"""Gathers training runs and evaluations into one page."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from evalkit.errors import DataError
from evalkit.evaluation import Row
from evalkit.jobs.run import KIND, ROWS
from evalkit.report import Example, Page, Series, render
from evalkit.runs import check_schema, iterate_jsonl, read_json, write_atomic
from evalkit.statistics import wilson

EXAMPLES = 6
"""Examples per evaluation, passed and failed ones in turn."""
COLUMNS = (
    "model",
    "suite",
    "pass@1",
    "95% interval",
    "passed / scored",
    "errored",
    "valid Python",
    "same answer",
    "loops",
    "tokens/s",
    "could detect",
)


class Logged(BaseModel):
    """A line of a training log, as far as it is drawn."""

    model_config = ConfigDict(extra="ignore")
    step: int
    loss: float | None = None


class Measured(BaseModel):
    """A score of a training run at a step, as far as it is drawn."""

    model_config = ConfigDict(extra="ignore")
    step: int
    suite: str
    scored: int
    passed: int | None


def report(folders: Sequence[Path], out: Path, title: str = "potstill") -> Path:
    """Write the page of every training run and evaluation at or below the folders; returns its path.

    Raises DataError where there is neither, or where a folder is of another schema version.
    """
    training: list[Path] = []
    evaluations: list[Path] = []
    for manifest_file in sorted({file for folder in folders for file in folder.glob("**/manifest.json")}):
        manifest = read_json(manifest_file)
        if manifest.get("kind") not in ("train", KIND):
            continue
        check_schema(manifest, str(manifest_file))
        (training if manifest["kind"] == "train" else evaluations).append(manifest_file.parent)
    if not training and not evaluations:
        raise DataError("no training run and no evaluation", where=", ".join(map(str, folders)))
    write_atomic(out, render(page(training, evaluations, title)))
    return out


def page(training: Sequence[Path], evaluations: Sequence[Path], title: str) -> Page:
    """What is shown of these runs. Unfinished evaluations are named in a note, not in the table."""
    finished = [run for run in evaluations if (run / "summary.json").exists()]
    notes = [f"not finished, so not in the table: {run}" for run in evaluations if run not in finished]
    notes.append("Intervals are 95%; “could detect” is the smallest difference seen with 80% power on as many tasks.")
    notes.append("A dash was not measured. “same answer” is the share of problems given the most common program.")
    return Page(
        title=title,
        loss=[series for run in training if (series := _loss(run)).points],
        scores=[series for run in training for series in _scores(run)],
        columns=COLUMNS,
        rows=[_row(read_json(run / "summary.json")) for run in finished],
        examples=[example for run in finished for example in _examples(run)],
        notes=notes,
    )


def _loss(run: Path) -> Series:
    file = run / "log.jsonl"
    lines = iterate_jsonl(file, Logged, torn_tail=True) if file.exists() else iter(())
    return Series(run.name, [(x.step, x.loss, x.loss, x.loss) for x in lines if x.loss is not None])


def _scores(run: Path) -> list[Series]:
    points: dict[str, list[tuple[float, float, float, float]]] = defaultdict(list)
    file = run / "evaluations.jsonl"
    for score in iterate_jsonl(file, Measured, torn_tail=True) if file.exists() else ():
        if score.passed is not None and (interval := wilson(score.passed, score.scored)) is not None:
            points[score.suite].append((score.step, interval.estimate, interval.low, interval.high))
    return [Series(f"{run.name}, {suite}", line) for suite, line in points.items()]


def _row(summary: dict[str, Any]) -> list[str | None]:
    interval, speed = summary.get("pass_at_1_interval"), summary.get("tokens_per_second")
    return [
        str(summary.get("model")),
        str(summary.get("suite")),
        _percent(summary.get("pass_at_1")),
        f"{interval['low']:.1%} to {interval['high']:.1%}" if interval else None,
        f"{summary['passed']} / {summary['scored']}",
        f"{summary['errored']} of {summary['attempted']}",
        _percent(summary.get("syntax_valid")),
        _percent(summary.get("mode_collapse")),
        _percent(summary.get("repetition")),
        f"{speed:.0f}" if speed is not None else None,
        _percent(summary.get("minimum_detectable_effect")),
    ]


def _percent(value: float | None) -> str | None:
    return None if value is None else f"{value:.1%}"


def _examples(run: Path) -> list[Example]:
    """The first passed and the first failed rows of a run, in turn."""
    name = str(read_json(run / "summary.json").get("model"))
    kinds: dict[bool, list[Row]] = {True: [], False: []}
    for row in iterate_jsonl(run / ROWS, Row, torn_tail=True):
        if row.verdict is not None and len(kinds[row.passed]) < EXAMPLES:
            kinds[row.passed].append(row)
    failed = kinds[False][: max(EXAMPLES // 2, EXAMPLES - len(kinds[True]))]
    passed = kinds[True][: EXAMPLES - len(failed)]
    return [_example(name, row) for row in [*passed, *failed]]


def _example(name: str, row: Row) -> Example:
    assert row.verdict is not None
    note = " ".join(filter(None, (row.verdict.failed_assertion, row.verdict.exception, row.verdict.detail)))
    return Example(f"{name}, {row.problem_id}", str(row.verdict.outcome), row.completion.program, note[:500])
