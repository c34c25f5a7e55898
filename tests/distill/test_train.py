"""Whole runs on forty toy rows: sft, kd, lora; the products load with plain transformers."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy import FEW
from toy import toy_recipe as recipe


@pytest.fixture(scope="module")
def base(toy_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from distill.jobs.train import train

    output = tmp_path_factory.mktemp("runs") / "base"
    train(recipe(toy_dataset, output))
    return output


def test_sft_writes_a_folder_that_plain_transformers_load(base: Path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(base / "model"),
        AutoTokenizer.from_pretrained(base / "model"),
    )
    assert model.config.vocab_size == len(tokenizer)
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    manifest = json.loads((base / "model" / "manifest.json").read_text())
    assert {"recipe_digest", "data_fingerprint", "prompting", "git", "versions", "rows"} <= set(manifest)
    summary = json.loads((base / "summary.json").read_text())
    assert summary["steps"] == 4
    assert summary["log"][-1]["loss"] < summary["log"][0]["loss"]


def test_a_finished_run_returns_at_once_and_another_recipe_is_refused(base: Path, toy_dataset: Path):
    from distill.jobs.train import train
    from evalkit.errors import ConfigError

    before = (base / "model" / "model.safetensors").stat().st_mtime_ns
    assert train(recipe(toy_dataset, base))["steps"] == 4
    assert (base / "model" / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(ConfigError, match=r"training\.max_steps"):
        train(recipe(toy_dataset, base, training=FEW | {"max_steps": 5}))


@pytest.mark.parametrize("divergence", ["forward_kl", "jsd"])
def test_kd(base: Path, toy_dataset: Path, tmp_path: Path, divergence: str):
    from distill.jobs.train import train

    made = recipe(
        toy_dataset,
        tmp_path / "kd",
        method="kd",
        teacher=str(base / "model"),
        tokenizer={},
        loss={"alpha": 0.2, "temperature": 2.0, "divergence": divergence},
    )
    summary = train(made)
    assert summary["log"][-1]["ce"] > 0
    assert json.loads((tmp_path / "kd/model/manifest.json").read_text())["teacher_fingerprint"]


@pytest.mark.parametrize("method", ["sft", "kd"])
def test_lora_moves_only_the_adapter_and_ships_merged(base: Path, toy_dataset: Path, tmp_path: Path, method: str):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from distill.jobs.train import train

    extra = {"teacher": str(base / "model")} if method == "kd" else {}
    made = recipe(
        toy_dataset,
        tmp_path / "lora",
        method=method,
        student={"path": str(base / "model")},
        tokenizer={},
        lora={"r": 2, "alpha": 4},
        loss={"alpha": 0.5},
        **extra,
    )
    train(made)
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "lora" / "model")
    plain = AutoModelForCausalLM.from_pretrained(base / "model")
    adapted = PeftModel.from_pretrained(plain, str(tmp_path / "lora" / "adapter"))
    ids = torch.arange(3, 12)[None]
    with torch.no_grad():
        torch.testing.assert_close(adapted(input_ids=ids).logits, merged(input_ids=ids).logits, rtol=1e-4, atol=1e-5)
        with adapted.disable_adapter():
            assert not torch.equal(adapted(input_ids=ids).logits, merged(input_ids=ids).logits)


def test_unknown_and_reserved_training_arguments_are_refused(toy_dataset: Path, tmp_path: Path):
    from distill.jobs.train import train
    from evalkit.errors import ConfigError

    with pytest.raises(ConfigError, match="did you mean 'learning_rate'"):
        train(recipe(toy_dataset, tmp_path / "a", training={"learning_rat": 1}))
    with pytest.raises(ConfigError, match=r"eval\.every"):
        train(recipe(toy_dataset, tmp_path / "b", training={"eval_steps": 1}))


def test_a_refused_run_leaves_nothing_behind(toy_dataset: Path, tmp_path: Path):
    from distill.jobs.train import train
    from evalkit.errors import ConfigError, DataError, ModelError

    for broken, error in [
        ({"data": {"folder": str(tmp_path / "missing")}}, DataError),
        ({"data": {"folder": str(toy_dataset), "max_length": 8}}, DataError),
        ({"training": {"learning_rat": 1}}, ConfigError),
        ({"method": "kd", "teacher": str(tmp_path / "missing")}, ModelError),
    ]:
        with pytest.raises(error):
            train(recipe(toy_dataset, tmp_path / "run", **broken))
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"learning_rate": -1},
        {"learning_rate": "abc"},
        {"per_device_train_batch_size": 0},
        {"gradient_accumulation_steps": 0},
        {"seed": "abc"},
        {"max_steps": True},
        {"adam_beta1": 2},
        {"label_smoothing_factor": 1.5},
        {"label_smoothing_factor": -0.5},
        {"weight_decay": "abc"},
        {"dataloader_num_workers": -1},
        {"lr_scheduler_type": "nonsense"},
        {"deepspeed": "/nonexistent.json"},
        {"report_to": "nonsense"},
    ],
)
@pytest.mark.parametrize("looked_over", [True, False])
def test_arguments_that_cannot_be_end_in_one_line(
    toy_dataset: Path, tmp_path: Path, wrong: dict[str, Any], looked_over: bool
):
    """And leave nothing, so that the corrected recipe may use the folder."""
    from distill.jobs.train import train
    from evalkit.errors import ConfigError

    with pytest.raises(ConfigError):
        train(recipe(toy_dataset, tmp_path / "run", training=FEW | wrong, preflight=looked_over))
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_no_number_stops_the_run(toy_dataset: Path, tmp_path: Path):
    from distill.jobs.train import train
    from evalkit.errors import TrainingError

    with pytest.raises(TrainingError, match="loss is"):
        train(recipe(toy_dataset, tmp_path / "run", training=FEW | {"learning_rate": 1e30, "max_grad_norm": 0.0}))


def test_tokenizer_runs_and_export_by_command_line(base: Path, toy_dataset: Path, tmp_path: Path):
    from typer.testing import CliRunner

    from distill.cli import app

    def run(*arguments: object) -> str:
        result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
        assert result.exit_code == 0
        return result.output

    assert "tokens" in run("tokenizer", toy_dataset, "--vocab-size", 300, "--out", tmp_path / "tok")
    assert "base" in run("runs", base.parent)
    run("export", base, "--out", tmp_path / "out")
    assert "continues source text" in (tmp_path / "out" / "README.md").read_text()
    file = tmp_path / "recipe.yaml"
    file.write_text(json.dumps(recipe(toy_dataset, base).model_dump(mode="json")))
    assert json.loads(run("train", file))["steps"] == 4


def test_export_and_tokenizer_replace_only_what_they_wrote(base: Path, toy_dataset: Path, tmp_path: Path):
    from distill.jobs.export import export
    from distill.jobs.tokenizer import tokenizer
    from evalkit.errors import ConfigError

    mine, run = tmp_path / "mine", shutil.copytree(base, tmp_path / "run")
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    for out in (mine, mine / "thesis.txt", run, run / "checkpoints", run / "model", run / "tokenizer"):
        with pytest.raises(ConfigError, match="would be replaced"):
            export(run, out)
        with pytest.raises(ConfigError, match="would be replaced"):
            tokenizer(toy_dataset, 300, out)
    assert (mine / "thesis.txt").read_text() == "years of work"
    assert (run / "summary.json").exists()
    for _ in range(2):  # their own they do
        export(run, tmp_path / "out")
        tokenizer(toy_dataset, 300, tmp_path / "tok")
    with pytest.raises(ConfigError, match="is the model itself"):
        export(tmp_path / "out", tmp_path / "out")


@pytest.mark.parametrize("damage", ["{}", '{"scores": null}', '{"scores": [{"suite": "x"}]}'])
def test_a_damaged_run_does_not_hide_the_others(base: Path, tmp_path: Path, damage: str):
    from distill.jobs.runs import runs

    for name in ("good", "bad"):
        shutil.copytree(base, tmp_path / name)
    (tmp_path / "bad" / "summary.json").write_text(damage)
    bad, good = runs(tmp_path)
    assert bad["scores"].startswith("damaged")
    assert good["steps"] == 4


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sft", "kd"])
def test_torch_compile_is_not_passed_over(
    base: Path, toy_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
):
    """The bodies of student and teacher are compiled, the models that evaluation calls are not."""
    from distill.jobs.train import train

    made: list[Any] = []
    plain = torch.compile

    def noted(body: Any, **options: Any) -> Any:
        made.append(plain(body, **options))
        return made[-1]

    monkeypatch.setattr(torch, "compile", noted)
    more: dict[str, Any] = {"teacher": str(base / "model"), "tokenizer": {}} if method == "kd" else {}
    losses = []
    for compiled in (False, True):
        training = FEW | {"torch_compile": compiled}
        run = recipe(toy_dataset, tmp_path / f"{compiled}", method=method, training=training, **more)
        losses.append([entry["loss"] for entry in train(run)["log"]])
        assert len(made) == (0 if not compiled else 2 if method == "kd" else 1)
    np.testing.assert_allclose(*losses, rtol=1e-4)
