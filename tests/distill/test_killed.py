"""A run killed with -9 at any step and resumed ends bit-equal to one that was not, evaluations included."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from toy import toy_recipe

KILLED = """
import json, os, signal, sys
sys.path.insert(0, sys.argv[3])
from distill.callbacks import Show
from distill.jobs.train import train
from distill.recipe import TrainRecipe

plain = Show.on_step_end
def deadly(self, args, state, control, **kwargs):
    plain(self, args, state, control, **kwargs)
    if state.global_step == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
Show.on_step_end = deadly
train(TrainRecipe.model_validate_json(sys.argv[1]))
"""

TRAINING = {
    "max_steps": 24,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 2,
    "save_steps": 5,
    "logging_steps": 1,
    "adam_beta2": 0.99,
}

EVAL = {"every": 4, "samples": 3, "max_new_tokens": 8}
"""Evaluations before, at and after the steps that are killed."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def teacher(toy_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from distill.jobs.train import train

    folder = tmp_path_factory.mktemp("teacher") / "run"
    train(toy_recipe(toy_dataset, folder))
    return folder / "model"


@pytest.fixture(scope="module")
def cache(teacher: Path, toy_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from distill.jobs.cache import CacheRecipe
    from distill.jobs.cache import cache as job
    from evalkit.recipes import parse_recipe

    folder = tmp_path_factory.mktemp("cache") / "of-teacher"
    sections = {"data": {"folder": str(toy_dataset)}, "teacher": str(teacher), "draws": 8, "max_bytes": 200}
    job(parse_recipe(CacheRecipe, sections | {"output": str(folder)}))
    return folder


def ends_alike(dataset: Path, folder: Path, step: int, **sections: Any) -> None:
    """Train whole; train, killed at `step`, and again; compare every tensor of the products and every score."""
    from distill.jobs.train import train

    sections = {"training": TRAINING, "eval": EVAL, "guard": {"enabled": False}} | sections
    train(toy_recipe(dataset, folder / "whole", **sections))
    cut = toy_recipe(dataset, folder / "cut", **sections)
    command = [sys.executable, "-c", KILLED, cut.model_dump_json(), str(step), str(Path(__file__).parent)]
    killed = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (folder / "cut" / "summary.json").exists()
    train(cut)
    whole, again = (load_file(folder / name / "model" / "model.safetensors") for name in ("whole", "cut"))
    assert whole.keys() == again.keys()
    assert all(whole[name].equal(again[name]) for name in whole)
    scores, others = (
        [
            {key: value for key, value in json.loads(line).items() if key != "seconds"}
            for line in (folder / name / "evaluations.jsonl").read_text().splitlines()
        ]
        for name in ("whole", "cut")
    )
    assert scores == others


@pytest.mark.parametrize("step", [3, 13, 20])
def test_sft(toy_dataset: Path, tmp_path: Path, step: int):
    ends_alike(toy_dataset, tmp_path, step)


def test_kd_from_a_packed_cache(toy_dataset: Path, cache: Path, tmp_path: Path):
    data = {"folder": str(toy_dataset), "packing": True}
    ends_alike(toy_dataset, tmp_path, 13, method="kd", cache=str(cache), tokenizer={}, data=data)


@pytest.mark.parametrize(("limit", "packing", "step"), [(38, False, 7), (39, False, 8), (40, False, 18), (40, True, 4)])
def test_kd_that_remembers_its_teacher(
    limit: int, packing: bool, step: int, toy_dataset: Path, teacher: Path, tmp_path: Path
):
    """What the teacher made of the rows is found as it was. Of 38 and 39 rows the step after the kill has a batch of one
    row that was left over from the first epoch, and others that the teacher had read."""
    data = {"folder": str(toy_dataset), "packing": packing, "limit": limit}
    ends_alike(toy_dataset, tmp_path, step, method="kd", teacher=str(teacher), tokenizer={}, data=data)


def test_kd_with_dropout_and_muon(toy_dataset: Path, teacher: Path, tmp_path: Path):
    student = {"layers": 1, "hidden": 16, "heads": 2, "dropout": 0.2}
    more = {"tokenizer": {}, "student": student, "optimizer": {"name": "muon"}}
    ends_alike(toy_dataset, tmp_path, 13, method="kd", teacher=str(teacher), **more)


def test_adapters(toy_dataset: Path, teacher: Path, tmp_path: Path):
    more = {"tokenizer": {}, "lora": {"r": 2, "dropout": 0.1}}
    ends_alike(toy_dataset, tmp_path, 13, student={"path": str(teacher)}, **more)


def test_pretraining(toy_dataset: Path, tmp_path: Path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for i in range(30):
        (corpus / f"{i}.py").write_text(f"def f_{i}(x):\n    return x + {i}\n\n\n" * 5)
    data = {"corpus": [str(corpus)], "max_length": 64, "held_out": 0.2}
    more = {"data": data, "eval": {"every": 4, "metric": "loss"}}
    ends_alike(toy_dataset, tmp_path, 13, method="pretrain", **more)
