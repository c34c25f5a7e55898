"""Findings that need the models: memory, disk, what each term of the loss teaches."""

import json
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from looking import by_name, toy_recipe, with_models

from distill.preflight import Standing, disk, files, memory, pace, terms
from distill.preflight.files import stored_parameters


@pytest.fixture(scope="module")
def teacher(toy_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from distill.jobs.train import train

    output = tmp_path_factory.mktemp("runs") / "teacher"
    train(toy_recipe(toy_dataset, output))
    return output / "model"


def kd(data: Path, output: Path, teacher: Path, **sections: Any) -> Any:
    base: dict[str, Any] = {"method": "kd", "teacher": str(teacher), "tokenizer": {}, "loss": {"alpha": 0.5}}
    return toy_recipe(data, output, **(base | sections))


def test_terms_are_the_terms_of_the_loss(toy_dataset: Path, tmp_path: Path, teacher: Path):
    """Their values sum to the trainer's loss, and their gradients, at their cosine, to its gradient."""
    with ExitStack() as stack:
        made = kd(toy_dataset, tmp_path / "run", teacher, loss={"alpha": 0.3, "temperature": 2.0})
        subject = with_models(made, stack)
        found, cosine, rows = terms.measure(subject)
        model = subject.trainer.model
        assert all(p.grad is None for p in model.parameters())
        batch = subject.trainer.data_collator([{"members": m} for m in subject.planned.batches[0]])
        loss = subject.trainer.compute_loss(model, batch)
        loss.backward()
        norm = sum(p.grad.square().sum() for p in model.parameters() if p.grad is not None).sqrt().item()  # type: ignore[union-attr]
    ce, divergence = (found[name] for name in ("ce", "divergence"))
    assert rows == 4
    assert ce["value"] + divergence["value"] == pytest.approx(loss.item(), rel=1e-4)  # type: ignore[operator]
    a, b = ce["norm"], divergence["norm"]
    assert a is not None
    assert b is not None
    assert (a * a + b * b + 2 * a * b * cosine) ** 0.5 == pytest.approx(norm, rel=1e-3)


@pytest.mark.parametrize(("alpha", "idle"), [(0.001, True), (0.5, False)])
def test_a_term_without_a_say(toy_dataset: Path, tmp_path: Path, teacher: Path, alpha: float, idle: bool):
    with ExitStack() as stack:
        subject = with_models(kd(toy_dataset, tmp_path / "run", teacher, loss={"alpha": alpha}), stack)
        found = by_name(terms.check(subject))["terms"]
    assert found.standing is (Standing.WARNING if idle else Standing.OK)
    assert ("cross-entropy has a weight" in found.why) is idle


def test_one_term_alone_is_said_to_be_one(toy_dataset: Path, tmp_path: Path):
    with ExitStack() as stack:
        subject = with_models(toy_recipe(toy_dataset, tmp_path / "run"), stack)
        assert "one term" in by_name(terms.check(subject))["terms"].what


def test_draws_without_their_entropy_have_a_gradient_and_no_value(toy_dataset: Path, tmp_path: Path, teacher: Path):
    from distill.losses import Sparse

    with ExitStack() as stack:
        subject = with_models(kd(toy_dataset, tmp_path / "run", teacher), stack)
        subject.trainer.teacher = None

        def drawn(rows: Any) -> Sparse:
            n = sum(row.learned for row in rows)
            return Sparse(torch.randint(0, 259, (n, 4)), torch.full((n, 4), 0.25))

        subject.trainer.data_collator.targets = drawn
        found, _, _ = terms.measure(subject)
    assert found["divergence"]["loss"] is None
    assert found["divergence"]["gradient"] > 0  # type: ignore[operator]


def test_a_run_that_memory_or_disk_cannot_hold(toy_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with ExitStack() as stack:
        subject = with_models(toy_recipe(toy_dataset, tmp_path / "run"), stack)
        assert by_name(memory.check(subject))["estimate"].standing is Standing.OK
        assert by_name(disk.check(subject))["room"].standing is Standing.OK
        needed = by_name(memory.check(subject))["estimate"].facts["needed"]
        monkeypatch.setattr(memory, "free_memory", lambda gpu: int(needed * 1.02))
        assert by_name(memory.check(subject))["estimate"].standing is Standing.WARNING
        monkeypatch.setattr(memory, "free_memory", lambda gpu: needed // 2)
        assert by_name(memory.check(subject))["estimate"].standing is Standing.REFUSAL
        for free, standing in ((20_000_000, Standing.OK), (1_500_000, Standing.WARNING), (900_000, Standing.REFUSAL)):
            monkeypatch.setattr(disk, "free_disk", lambda path, free=free: free)
            found = by_name(disk.check(subject))["room"]
            assert found.standing is standing, found.what
        args = subject.args
        subject.args = replace(args, save_total_limit=None, max_steps=1000, save_steps=1)
        assert by_name(disk.check(subject))["room"].facts["checkpoints"] == 1000


def test_the_disk_estimate_is_what_a_run_writes(toy_dataset: Path, tmp_path: Path):
    from distill.jobs.train import train

    student = {"layers": 2, "hidden": 128, "heads": 4}
    made = toy_recipe(toy_dataset, tmp_path / "run", student=student, eval={"samples": 2, "max_new_tokens": 2})
    with ExitStack() as stack:
        needed = by_name(disk.check(with_models(made, stack)))["room"].facts["needed"]
    train(made)
    used = sum(file.stat().st_size for file in (tmp_path / "run").rglob("*") if file.is_file())
    assert used / 1.1 <= needed <= 2.5 * used


def test_what_a_teacher_makes_of_the_rows_is_counted(toy_dataset: Path, tmp_path: Path, teacher: Path):
    """The file that a run of three epochs has while it lasts; no file where the recipe does not want it, nor where no row
    comes twice."""
    found = {}
    for name, epochs, gib in (("three", 3, 2.0), ("unwanted", 3, 0.0), ("one", 1, 2.0)):
        training = {"num_train_epochs": epochs, "per_device_train_batch_size": 4}
        with ExitStack() as stack:
            made = kd(toy_dataset, tmp_path / name, teacher, training=training, teacher_memory=gib)
            subject = with_models(made, stack)
            assert subject.parts is not None
            found[name] = by_name(disk.check(subject))["room"].facts["parts"].get("teacher_memory")
            assert subject.trainer.remembered is None  # what is thrown away keeps nothing
            body, head = pace._work(subject.parts.teacher)  # the student is its like
            expected = 2 * body / (8 * (body + head)) * 2 / 3 if name == "three" else 0
            assert pace._spared(subject) == pytest.approx(expected, rel=0.01)
            if name == "three":
                rows, width = subject.material.encoded.rows, subject.parts.teacher.config.hidden_size
                assert found[name] == 32 + sum(16 + 4 * width * row.learned for row in rows)
    assert found["unwanted"] is None
    assert found["one"] is None


def test_weights_are_counted_without_loading_them(teacher: Path, monkeypatch: pytest.MonkeyPatch, toy_dataset: Path):
    manifest = json.loads((teacher / "manifest.json").read_text())
    assert stored_parameters(teacher) == manifest["parameters"]
    monkeypatch.setattr(files, "free_memory", lambda gpu: 1000)
    found = by_name(files.check(kd(toy_dataset, teacher / "run", teacher)))["weights"]
    assert found.standing is Standing.REFUSAL


FACTOR = 1.6
"""By how much the estimate of memory may be off, either way."""

MEASURE = """
import json, sys
from contextlib import ExitStack
from pathlib import Path
import datasets, peft, torch, trl
from distill.building import build
from distill.preflight.memory import estimate, sizes_of
from distill.preflight.subject import Subject
from distill.preparation import gather, prepare
from distill.recipe import TrainRecipe
from evalkit.recipes import parse_recipe
from evalkit.runs import RunFolder

def status(key):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(key)) * 1024

recipe = parse_recipe(TrainRecipe, json.loads(sys.argv[1]))
gather(recipe, None)
Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
before = status("VmRSS")
with ExitStack() as stack:
    parts = prepare(recipe, None)
    trainer = build(recipe, RunFolder(recipe.output, "train", {}), parts, stack).trainer
    subject = Subject(recipe, parts.material, trainer.args, parts, trainer)
    rows, width = subject.planned.widest
    teacher = sizes_of(parts.teacher) if parts.teacher is not None else None
    found = estimate(recipe, trainer.args, sizes_of(trainer.model), teacher, rows, width, parts.valid)
    trainer.train()
print(json.dumps({"estimate": sum(found.values()), "measured": status("VmHWM") - before}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["wide", "deep", "kd", "checkpointed"])
def test_the_memory_estimate_is_what_a_run_takes(toy_dataset: Path, tmp_path: Path, teacher: Path, shape: str):
    """The peak of the resident set over two steps, beside the estimate: within `FACTOR`."""
    training: dict[str, Any] = {"max_steps": 2, "per_device_train_batch_size": 16, "save_strategy": "no"}
    if shape == "checkpointed":
        training |= {"activation_checkpointing": True, "per_device_train_batch_size": 32}
    student = {"layers": 2, "hidden": 768, "heads": 4} if shape == "wide" else {"layers": 8, "hidden": 256, "heads": 4}
    sections: dict[str, Any] = {"student": student, "training": training}
    made = (
        kd(toy_dataset, tmp_path / "run", teacher, **sections)
        if shape == "kd"
        else toy_recipe(toy_dataset, tmp_path / "run", **sections)
    )
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, made.model_dump_json()], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert 1 / FACTOR <= found["estimate"] / found["measured"] <= FACTOR, found
