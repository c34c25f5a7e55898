"""Evaluation inside a run: scores at intervals, the best weights kept, the guard's stop, nothing disturbed."""

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from toy import FEW, toy_problem, toy_recipe

from evalkit.errors import TrainingError
from evalkit.runs import read_json, read_jsonl


def test_scores_at_intervals_and_keeps_what_validation_chose(toy_dataset: Path, tmp_path: Path):
    from distill.jobs.train import train
    from distill.scoring import Score

    made = toy_recipe(
        toy_dataset,
        tmp_path / "run",
        eval={"every": 2, "samples": 3, "suites": ["mini-humaneval"], "max_new_tokens": 8},
        guard={"enabled": False},
    )
    summary = train(made)
    scores = read_jsonl(tmp_path / "run" / "evaluations.jsonl", Score)
    assert [(s.step, s.suite) for s in scores] == [
        (2, "validation"),
        (2, "mini-humaneval"),
        (4, "validation"),
        (4, "mini-humaneval"),
    ]
    assert [s.attempted for s in scores] == [3, 20, 3, 20]
    assert all(s.scored == s.attempted and s.interval is not None for s in scores)
    assert (tmp_path / "run" / "best" / "model.safetensors").exists()
    assert summary["chosen_step"] == 4
    assert read_json(tmp_path / "run" / "model" / "manifest.json")["scores"][0]["suite"] == "validation"


def scripted(monkeypatch: pytest.MonkeyPatch, values: dict[int, tuple[float, float]]) -> None:
    """Replace the scorer: (pass@1, collapsed share) by step."""
    from distill import building as job
    from distill.scoring import VALIDATION, Score

    def score(model: Any, step: int) -> list[Score]:
        rate, collapsed = values[step]
        return [
            Score(
                step=step,
                suite=VALIDATION,
                attempted=10,
                scored=10,
                passed=int(rate * 10),
                pass_at_1=rate,
                interval=None,
                syntax_valid=1.0,
                mode_collapse=0.0,
                collapsed=collapsed,
                seconds=0.0,
            )
        ]

    monkeypatch.setattr(job, "_scorer", lambda *args: score)


def test_the_product_is_the_best_and_not_the_last(toy_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from safetensors.torch import load_file

    from distill.jobs.train import train

    scripted(monkeypatch, {2: (0.9, 0.0), 4: (0.1, 0.0)})
    made = toy_recipe(toy_dataset, tmp_path / "run", eval={"every": 2, "samples": 3})
    assert train(made)["chosen_step"] == 2
    product = load_file(tmp_path / "run" / "model" / "model.safetensors")
    at_two = load_file(tmp_path / "run" / "checkpoints" / "checkpoint-2" / "model.safetensors")
    at_four = load_file(tmp_path / "run" / "checkpoints" / "checkpoint-4" / "model.safetensors")
    assert all(product[name].equal(at_two[name]) for name in product)
    assert not all(product[name].equal(at_four[name]) for name in product)


def test_patience_stops_early(toy_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from distill.jobs.train import train

    scripted(monkeypatch, {1: (0.5, 0.0), 2: (0.4, 0.0), 3: (0.3, 0.0), 4: (0.2, 0.0)})
    made = toy_recipe(toy_dataset, tmp_path / "run", eval={"every": 1, "samples": 3, "patience": 2})
    assert train(made)["steps"] == 3


def test_the_guard_stops_a_collapsing_run(toy_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from distill.jobs.train import train

    scripted(monkeypatch, {1: (0.5, 0.0), 2: (0.0, 1.0), 3: (0.0, 1.0)})
    made = toy_recipe(toy_dataset, tmp_path / "run", eval={"every": 1, "samples": 3}, training=FEW)
    with pytest.raises(TrainingError, match="2 evaluations in a row"):
        train(made)
    assert (tmp_path / "run" / "best" / "model.safetensors").exists()
    assert not (tmp_path / "run" / "summary.json").exists()


def test_a_resumed_run_remembers_collapsed_evaluations(
    toy_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Stopped at step 3 for the third collapse in a row; the same command goes on from step 2 and stops there again."""
    from distill.jobs.train import train

    scripted(monkeypatch, {1: (0.5, 1.0), 2: (0.5, 1.0), 3: (0.5, 1.0), 4: (0.5, 1.0)})
    made = toy_recipe(toy_dataset, tmp_path / "run", eval={"every": 1, "samples": 3}, guard={"patience": 3})
    for _ in range(2):
        with pytest.raises(TrainingError, match=r"step 3 are collapsed .* 3 evaluations in a row"):
            train(made)


def test_a_run_that_was_killed_after_its_early_stop_learns_nothing_more(
    toy_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from distill.jobs.train import train

    scripted(monkeypatch, {1: (0.5, 0.0), 2: (0.4, 0.0), 3: (0.3, 0.0), 4: (0.9, 0.0)})
    made = toy_recipe(
        toy_dataset,
        tmp_path / "run",
        eval={"every": 1, "samples": 3, "patience": 2},
        training=FEW | {"save_steps": 1},
    )
    first = train(made)
    product = tmp_path / "run" / "model" / "model.safetensors"
    weights = product.read_bytes()
    (tmp_path / "run" / "summary.json").unlink()
    product.unlink()
    again = train(made)
    assert (first["steps"], first["chosen_step"]) == (again["steps"], again["chosen_step"]) == (3, 1)
    assert product.read_bytes() == weights


@pytest.mark.slow
def test_the_guard_stops_a_run_that_is_made_to_collapse(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    """Nothing scripted: every row teaches the loop, the loss goes down nicely, and the student ends in it."""
    from distill.jobs.train import train

    data = tmp_path / "data"
    data.mkdir()
    for split, indices in (("train", range(40)), ("validation", range(40, 46))):
        problems = [toy_problem(i) for i in indices]
        looped = [p.model_copy(update={"solution": p.prompt + "\n" + "    return" * 12 + "\n"}) for p in problems]
        lines = [json.dumps({"problem": p.model_dump(mode="json")}) for p in looped]
        (data / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    training = FEW | {"max_steps": 300, "learning_rate": 1e-2, "save_steps": 100}
    watched = {"every": 20, "samples": 6, "max_new_tokens": 40}
    made = toy_recipe(data, tmp_path / "run", eval=watched, guard={"warmup": 40}, training=training)
    with pytest.raises(TrainingError, match="are collapsed"):
        train(made)
    said = capfd.readouterr().err
    assert "training stops if this goes on" in said
    assert (tmp_path / "run" / "best" / "model.safetensors").exists()
    assert not (tmp_path / "run" / "summary.json").exists()


def test_evaluating_changes_no_training(toy_dataset: Path, tmp_path: Path):
    from distill.jobs.train import train

    for name, every in (("often", 1), ("once", 4)):
        part = {"every": every, "samples": 2, "max_new_tokens": 4}
        train(toy_recipe(toy_dataset, tmp_path / name, eval=part, guard={"enabled": False}))
    last = [tmp_path / name / "checkpoints" / "checkpoint-4" / "model.safetensors" for name in ("often", "once")]
    assert last[0].read_bytes() == last[1].read_bytes()


def test_best_weights_of_a_step_behind_the_checkpoint_keep_their_scores(
    toy_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Killed after the best step and before its checkpoint, on a machine where that step then comes out worse."""
    from distill.jobs.train import train

    made = toy_recipe(toy_dataset, tmp_path / "run", eval={"every": 1, "samples": 3}, guard={"enabled": False})
    scripted(monkeypatch, {1: (0.1, 0.0), 2: (0.2, 0.0), 3: (0.9, 0.0)})
    with pytest.raises(KeyError):  # at step 4, which the script does not know; the last checkpoint is of step 2
        train(made)
    kept = load_file(tmp_path / "run" / "best" / "model.safetensors")
    marked = {name: tensor + 1 for name, tensor in kept.items()}
    save_file(marked, tmp_path / "run" / "best" / "model.safetensors", {"format": "pt"})
    scripted(monkeypatch, {3: (0.3, 0.0), 4: (0.8, 0.0)})
    summary = train(made)
    assert summary["chosen_step"] == 3
    assert [score["pass_at_1"] for score in summary["scores"]] == [0.9]
    product = load_file(tmp_path / "run" / "model" / "model.safetensors")
    assert all(product[name].equal(tensor) for name, tensor in marked.items())


def test_best_weights_give_way_to_others_as_good(toy_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from distill.jobs.train import train

    made = toy_recipe(toy_dataset, tmp_path / "run", eval={"every": 1, "samples": 3}, guard={"enabled": False})
    scripted(monkeypatch, {1: (0.1, 0.0), 2: (0.2, 0.0), 3: (0.5, 0.0)})
    with pytest.raises(KeyError):
        train(made)
    scripted(monkeypatch, {3: (0.3, 0.0), 4: (0.5, 0.0)})
    summary = train(made)
    assert summary["chosen_step"] == 4
    assert [score["pass_at_1"] for score in summary["scores"]] == [0.5]


def test_reports_see_what_was_measured(toy_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As TensorBoard, trackio and wandb would, through transformers' own way; the loss is reported beside it."""
    from transformers import TrainerCallback

    from distill import building
    from distill.jobs.train import train

    seen: list[tuple[int, dict[str, float]]] = []

    class Reports(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            seen.append((state.global_step, logs))

    plain = building._trainer

    def watched(*args: Any) -> Any:
        trainer = plain(*args)
        trainer.add_callback(Reports())
        return trainer

    monkeypatch.setattr(building, "_trainer", watched)
    scripted(monkeypatch, {2: (0.9, 0.0), 4: (0.1, 0.25)})
    made = toy_recipe(toy_dataset, tmp_path / "run", eval={"every": 2, "samples": 3})
    log = train(made)["log"]
    measured = {step: logs for step, logs in seen if "eval_validation_pass_at_1" in logs}
    assert {step: logs["eval_validation_pass_at_1"] for step, logs in measured.items()} == {2: 0.9, 4: 0.1}
    assert measured[4]["eval_validation_collapsed"] == 0.25
    assert "eval_validation_loss" not in measured[4]
    assert [step for step, logs in seen if "loss" in logs] == [entry["step"] for entry in log] == [1, 2, 3, 4]


def test_collapsed_weights_are_never_the_best(toy_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """All at the same rate, as small students are: the latest would win if collapse were not looked at."""
    from distill.jobs.train import train
    from distill.scoring import Score

    scripted(monkeypatch, {1: (0.0, 0.0), 2: (0.0, 0.9), 3: (0.0, 0.9)})
    made = toy_recipe(toy_dataset, tmp_path / "healthy", eval={"every": 1, "samples": 3})
    with pytest.raises(TrainingError, match="best healthy weights are kept"):
        train(made)
    assert [score.step for score in read_jsonl(tmp_path / "healthy" / "best" / "scores.jsonl", Score)] == [1]
    scripted(monkeypatch, {1: (0.0, 0.9), 2: (0.0, 0.9)})
    made = toy_recipe(toy_dataset, tmp_path / "never", eval={"every": 1, "samples": 3})
    with pytest.raises(TrainingError, match="it never was healthy"):
        train(made)
    assert not (tmp_path / "never" / "best").exists()
