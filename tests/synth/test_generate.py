"""synth generate: nothing kept that was not proven, planted flaws found, killed runs resume to the same dataset."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evalkit.errors import ConfigError, DataError
from evalkit.runs import read_json
from synth.dataset import read_rejects, read_split
from synth.jobs.generate import generate
from synth.jobs.verify import verify
from synth.jobs.why import why
from synth.recipe import BuiltinTeacher, GenerateRecipe, SplitSizes
from synth.records import Split, Stage


def recipe(folder: Path, tasks: int = 240) -> GenerateRecipe:
    return GenerateRecipe(
        output=folder / "data",
        tasks=tasks,
        teacher=BuiltinTeacher(flaws=0.3),
        splits=SplitSizes(heldout=40, validation=20),
        slots=1,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> GenerateRecipe:
    asked = recipe(tmp_path_factory.mktemp("made"))
    generate(asked)
    return asked


def test_every_row_is_kept_once_or_rejected_with_a_reason(made: GenerateRecipe) -> None:
    rows = [row for split in Split for row in read_split(made.output, split)]
    rejects = read_rejects(made.output)
    assert len({row.id for row in rows} | {reject.id for reject in rejects}) == len(rows) + len(rejects) == made.tasks
    assert all(reject.reason for reject in rejects)
    for row in rows:
        assert row.evidence.verdict.passed
        assert not row.evidence.stub_verdict.passed
        assert row.evidence.verdict.assertions_held == row.evidence.verdict.assertions_total > 0
    assert verify(made.output, 1) == []


def test_planted_flaws_are_found(made: GenerateRecipe) -> None:
    planted = read_json(made.output / "summary.json")["planted"]
    for kind, stage in (
        ("wrong_solution", Stage.SOLUTION),
        ("syntax_error", Stage.SYNTAX),
        ("vacuous_test", Stage.STUB),
    ):
        assert planted[kind]["planted"] > 3
        assert planted[kind]["at"] == {stage: planted[kind]["planted"]}
    assert planted["prose"]["rejected"] <= 1  # repaired by the parser; one may be a duplicate or contaminated


def test_an_answer_without_a_task_is_sent_back_with_the_reason(made: GenerateRecipe, tmp_path: Path) -> None:
    summary = read_json(made.output / "summary.json")
    cut = summary["planted"]["truncated_json"]["planted"]
    assert summary["corrected"] == cut > 3
    assert summary["planted"]["truncated_json"]["rejected"] == 0
    corrected = [row for split in Split for row in read_split(made.output, split) if row.evidence.corrections]
    assert len(corrected) == cut
    assert all(row.evidence.usage["prompt_tokens"] > 500 for row in corrected)  # both questions were paid for
    once = made.model_copy(
        update={
            "output": tmp_path / "once",
            "tasks": 120,
            "corrections": 0,
            "splits": SplitSizes(heldout=0, validation=0),
        }
    )
    planted = generate(once)["planted"]["truncated_json"]
    assert planted["at"] == {Stage.PARSE: planted["planted"]}
    assert planted["planted"] > 0


def test_splits_share_no_solution(made: GenerateRecipe) -> None:
    forms = {split: {row.evidence.normal_form for row in read_split(made.output, split)} for split in Split}
    assert not forms[Split.TRAIN] & forms[Split.HELDOUT]
    assert not forms[Split.TRAIN] & forms[Split.VALIDATION]
    assert len(read_split(made.output, Split.HELDOUT)) == 40


def test_datasets_loads_the_folder(made: GenerateRecipe) -> None:
    from datasets import load_dataset

    loaded = load_dataset(str(made.output))
    assert set(loaded) == {"train", "validation", "heldout"}
    assert len(loaded["heldout"]) == 40


def test_why(made: GenerateRecipe) -> None:
    kept = read_split(made.output, Split.TRAIN)[0].id
    assert why(made.output, kept).startswith("kept in train")
    reject = read_rejects(made.output)[0]
    assert reject.reason in why(made.output, reject.id)
    with pytest.raises(DataError, match="no row"):
        why(made.output, "synth/99999")


def test_a_finished_run_is_not_redone_and_another_recipe_is_refused(made: GenerateRecipe) -> None:
    before = {file.name: file.stat().st_mtime_ns for file in made.output.iterdir()}
    generate(made)
    assert {file.name: file.stat().st_mtime_ns for file in made.output.iterdir()} == before
    with pytest.raises(ConfigError, match=r"keys differ: tasks"):
        generate(made.model_copy(update={"tasks": made.tasks + 1}))


def test_another_schema_version_is_refused(made: GenerateRecipe, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"schema": 0, "kind": "dataset"}))
    with pytest.raises(DataError, match="schema version 0"):
        read_split(tmp_path, Split.TRAIN)


def test_killed_and_resumed_is_the_same_dataset(made: GenerateRecipe, tmp_path: Path) -> None:
    asked = recipe(tmp_path)
    file = tmp_path / "recipe.yaml"
    file.write_text(json.dumps(asked.model_dump(mode="json")))
    command = [sys.executable, "-c", "from synth.cli import main; main()", "generate", str(file)]
    moments = random.Random(0)
    for _ in range(6):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(moments.uniform(0.3, 4))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    for split in Split:
        undisturbed, resumed = read_split(made.output, split), read_split(asked.output, split)
        assert [row.problem for row in resumed] == [row.problem for row in undisturbed]
        assert [row.evidence.request for row in resumed] == [row.evidence.request for row in undisturbed]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["generate", "none.yaml"], "none.yaml: cannot read"),
        (["stats", "."], "manifest.json: cannot read"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], said: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from synth.cli import main; main()", *arguments]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
