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
from teacher_server import teacher

from evalkit.errors import ConfigError, DataError, EndpointError, NotServed
from evalkit.runs import read_json
from synth.dataset import read_rejects, read_split
from synth.jobs.generate import generate
from synth.jobs.preview import preview
from synth.jobs.verify import verify
from synth.jobs.why import why
from synth.recipe import BuiltinTeacher, GenerateRecipe, ServedTeacher, SplitSizes
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


@pytest.mark.slow
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


def test_a_budget_that_was_too_small_is_raised_and_the_run_goes_on(tmp_path: Path) -> None:
    """A served teacher: what was paid stays, what was not asked is asked with more money; prices may be corrected."""
    with teacher(18841) as url:
        asked = GenerateRecipe(
            output=tmp_path / "data",
            tasks=60,
            teacher=ServedTeacher(
                kind="endpoint",
                base_url=url,
                model="potstill-builtin",
                max_tokens=2000,
                input_usd_per_million=1.0,
                output_usd_per_million=10.0,
            ),
            splits=SplitSizes(heldout=0, validation=0),
            max_usd=0.1,
            slots=1,
        )
        first = generate(asked)
        assert 0 < first["rejected"]["request"] < 60
        assert first["usd_at_worst"] <= 0.1
        more = generate(asked.model_copy(update={"max_usd": 1.0}))
    assert "request" not in more["rejected"]
    assert more["usd"] > first["usd"]
    assert more["requests"]["from_journal"] >= 60 - first["rejected"]["request"]
    assert more["teachers"]["potstill-builtin at " + url.split("/")[2]]["usd_per_kept"] > 0
    assert set(more["planted"]) == set()  # only the teacher in this process is known to plant flaws


def test_two_teachers_one_of_them_gone(tmp_path: Path) -> None:
    gone = ServedTeacher(kind="endpoint", base_url="http://127.0.0.1:9/v1", model="gone", share=5.0)
    made = generate(
        GenerateRecipe(
            output=tmp_path / "data",
            tasks=60,
            teachers=(gone, BuiltinTeacher(flaws=0.0)),
            splits=SplitSizes(heldout=0, validation=0),
            slots=1,
        )
    )
    assert made["asked"] == 60
    assert "request" not in made["rejected"]
    assert any("gone" in note and "asked no more" in note for note in made["notes"])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_with_a_served_teacher_that_misbehaves_is_the_same_dataset(tmp_path: Path) -> None:
    faults = [f"--fault={name}=0.05" for name in ("rate_limited", "server_error", "malformed", "empty", "disconnect")]
    with teacher(18842, "--latency", "0.02", *faults) as url:
        facts = {
            "kind": "endpoint",
            "base_url": url,
            "model": "potstill-builtin",
            "max_tokens": 2000,
            "max_concurrency": 8,
        }
        shared = {"tasks": 1500, "teacher": facts, "splits": {"heldout": 40, "validation": 20}, "slots": 1}
        for name, kills in (("undisturbed", 0), ("killed", 12)):
            file = tmp_path / f"{name}.yaml"
            file.write_text(json.dumps({"output": str(tmp_path / name), **shared}))
            command = [sys.executable, "-c", "from synth.cli import main; main()", "generate", str(file)]
            moments = random.Random(3)
            for _ in range(kills):
                process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                time.sleep(moments.uniform(0.5, 3.0))
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for split in Split:
        undisturbed, killed = (read_split(tmp_path / name, split) for name in ("undisturbed", "killed"))
        assert [row.problem for row in killed] == [row.problem for row in undisturbed]
        assert [row.evidence.request for row in killed] == [row.evidence.request for row in undisturbed]


def test_what_a_preview_paid_for_is_not_paid_again(tmp_path: Path) -> None:
    asked = recipe(tmp_path, tasks=60).model_copy(update={"splits": SplitSizes(heldout=0, validation=0)})
    shown = list(preview(asked, 4))
    assert sum("── answer" in text for text in shown) == 4
    made = generate(asked)
    assert made["requests"]["from_journal"] == 4
    assert made["requests"]["answered"] == 56 + made["corrected"]


def test_a_batch_makes_the_same_dataset(made: GenerateRecipe, tmp_path: Path) -> None:
    asked = made.model_copy(update={"output": tmp_path / "batch"})
    summary = generate(asked, batch=True)
    assert summary["requests"]["batches"] == 2  # the second with what was sent back
    for split in Split:
        assert [row.problem for row in read_split(asked.output, split)] == [
            row.problem for row in read_split(made.output, split)
        ]


def test_an_error_leaves_what_was_paid(tmp_path: Path) -> None:
    """A preview that was paid for, then a run that meets a server that knows no such model: the journal stays."""
    with teacher(18843) as url:
        asked = GenerateRecipe(
            output=tmp_path / "data",
            tasks=20,
            teacher=ServedTeacher(kind="endpoint", base_url=url, model="potstill-builtin", max_tokens=2000),
            slots=1,
        )
        assert len(list(preview(asked, 3))) >= 3
        other = asked.teacher.model_copy(update={"model": "gone"})
        with pytest.raises(EndpointError):
            generate(asked.model_copy(update={"teacher": other}))
    assert (tmp_path / "data" / "journal.sqlite").exists()
    with pytest.raises(NotServed):
        generate(asked.model_copy(update={"output": tmp_path / "fresh"}))
    assert not (tmp_path / "fresh").exists()  # nothing was paid for what stood there


def test_a_correction_that_failed_is_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evalkit.endpoint.client.TRIES", 1)
    with teacher(18844, "--flaws", "0.5", "--seed", "3") as url:
        served = ServedTeacher(kind="endpoint", base_url=url, model="potstill-builtin", max_tokens=2000)
        asked = GenerateRecipe(
            output=tmp_path / "data", tasks=60, teacher=served, splits=SplitSizes(heldout=0, validation=0), slots=1
        )
        generate(asked.model_copy(update={"corrections": 0, "output": tmp_path / "once"}))
        asked.output.mkdir()
        for file in (tmp_path / "once").glob("journal.sqlite*"):
            file.rename(asked.output / file.name)
    with teacher(18844, "--flaws", "0.5", "--seed", "3", "--fault", "server_error=1") as url:
        failed = generate(asked)
    assert failed["unanswered"] > 0
    with teacher(18844, "--flaws", "0.5", "--seed", "3"):
        mended = generate(asked)
    assert mended["unanswered"] == 0
    assert mended["kept"] > failed["kept"]
