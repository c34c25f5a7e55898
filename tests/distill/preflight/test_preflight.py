"""The command and what training makes of it: exit codes, JSON, all refusals at once, and not a bit changed."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from looking import PLENTY, by_name, dataset, toy_recipe, toys
from typer.testing import CliRunner

from distill.cli import app
from distill.preflight import Standing, course, files, look_over, page
from distill.preflight.findings import Boundary, Report, refuse
from evalkit.errors import ConfigError, DataError, ModelError, PotstillError
from evalkit.suites import load_suite


@pytest.fixture(scope="module")
def model(toy_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from distill.jobs.train import train

    output = tmp_path_factory.mktemp("runs") / "base"
    train(toy_recipe(toy_dataset, output))
    return output / "model"


def written(recipe: Any, folder: Path) -> str:
    file = folder / "recipe.yaml"
    file.write_text(json.dumps(recipe.model_dump(mode="json")))
    return str(file)


def healthy(tmp_path: Path, **sections: Any) -> Any:
    data = dataset(tmp_path / "data", toys(120), validation=[])
    base: dict[str, Any] = {
        "training": PLENTY,
        "tokenizer": {"vocab_size": 400},
        "student": {"layers": 2, "hidden": 64, "heads": 2},
        "eval": {"samples": 1, "max_new_tokens": 4, "every": 0},
    }
    return toy_recipe(data, tmp_path / "run", **(base | sections))


def test_a_healthy_run_is_not_refused_and_leaves_nothing(tmp_path: Path):
    made = healthy(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    report = look_over(made)
    assert not report.refused, report.of(Standing.REFUSAL)
    assert not report.of(Standing.WARNING), report.of(Standing.WARNING)
    topics = {"files", "data", "labels", "vocabulary", "settings", "leakage", "memory", "disk", "loss", "time"}
    assert {finding.topic for finding in report.findings} == topics
    assert sorted(tmp_path.rglob("*")) == before


def test_the_command_says_two_where_it_refuses(toy_dataset: Path, tmp_path: Path):
    made = toy_recipe(toy_dataset, tmp_path / "run", method="kd", teacher=str(tmp_path / "none"), tokenizer={})
    result = CliRunner().invoke(app, ["preflight", written(made, tmp_path)], catch_exceptions=False)
    assert result.exit_code == 2
    assert "refusal" in result.stdout
    assert "does not exist" in " ".join(result.stdout.split())


def test_json_holds_every_finding_and_the_sample(toy_dataset: Path, tmp_path: Path):
    made = toy_recipe(toy_dataset, tmp_path / "run")
    result = CliRunner().invoke(
        app, ["preflight", written(made, tmp_path), "--set", "eval.samples=2", "--json"], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert Report.model_validate(report).sample[-1].kind == "end"
    assert {finding["standing"] for finding in report["findings"]} == {"ok", "warning"}
    assert "few" in {finding["name"] for finding in report["findings"]}
    assert by_name(Report.model_validate(report).findings)["training"].facts["measured"] is True


@pytest.mark.parametrize("method", ["kd", "lora", "on_policy", "pretrain"])
def test_every_method_can_be_looked_over(toy_dataset: Path, tmp_path: Path, model: Path, method: str):
    more: dict[str, dict[str, Any]] = {
        "kd": {"method": "kd", "teacher": str(model), "tokenizer": {}, "loss": {"alpha": 0.5}},
        "lora": {"student": {"path": str(model)}, "tokenizer": {}, "lora": {"r": 2}},
        "on_policy": {
            "method": "on_policy",
            "teacher": str(model),
            "tokenizer": {},
            "student": {"path": str(model)},
            "loss": {"alpha": 0.0},
            "eval": {"samples": 0, "max_new_tokens": 4},
        },
        "pretrain": {"method": "pretrain", "data": {"corpus": [str(Path(__file__).parent)], "held_out": 0.2}},
    }
    report = look_over(toy_recipe(toy_dataset, tmp_path / "run", **more[method]))
    assert not report.refused, report.of(Standing.REFUSAL)
    assert by_name(report.findings)["training"].facts["measured"] is True


def test_another_vocabulary_is_refused(toy_dataset: Path, tmp_path: Path, model: Path):
    made = toy_recipe(toy_dataset, tmp_path / "run", method="kd", teacher=str(model), tokenizer={"vocab_size": 290})
    refusals = look_over(made).of(Standing.REFUSAL)
    assert [(f.topic, f.boundary) for f in refusals] == [("vocabulary", Boundary.MODEL)]
    assert "different tokenizers" in refusals[0].what


SERVED = {
    "method": "kd",
    "served": {"base_url": "http://127.0.0.1:9/v1", "model": "m"},
    "tokenizer": {"path": "MODEL"},
}


@pytest.mark.parametrize(
    ("name", "boundary", "change"),
    [
        ("data", Boundary.DATA, {"data": {"folder": "/nowhere/data"}}),
        ("load", Boundary.DATA, {"data": {"folder": "DATA", "categories": ["none such"]}}),
        ("student.path", Boundary.MODEL, {"student": {"path": "/nowhere/model"}, "tokenizer": {}}),
        ("tokenizer.path", Boundary.MODEL, {"tokenizer": {"path": "DATA"}}),
        ("cache", Boundary.DATA, {"method": "kd", "cache": "/nowhere/cache"}),
        ("cache", Boundary.DATA, {"method": "kd", "cache": "DATA"}),
        ("served", Boundary.CONFIG, SERVED),
        ("report_to", Boundary.CONFIG, {"training": {"report_to": "comet_ml"}}),
        ("suites", Boundary.DATA, {"eval": {"samples": 0, "suites": ["humaneval"]}}),
        ("training", Boundary.CONFIG, {"training": {"learning_rat": 1}}),
    ],
)
def test_what_is_missing_is_refused(
    toy_dataset: Path,
    tmp_path: Path,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    boundary: Boundary,
    change: dict[str, Any],
):
    monkeypatch.delenv("POTSTILL_BENCHMARKS", raising=False)
    given = json.loads(json.dumps(change).replace("DATA", str(toy_dataset)).replace("MODEL", str(model)))
    report = look_over(toy_recipe(toy_dataset, tmp_path / "run", **given))
    refusals = report.of(Standing.REFUSAL)
    assert [(f.name, f.boundary) for f in refusals] == [(name, boundary)], refusals
    assert refusals[0].fix or refusals[0].why


def test_a_server_that_was_asked_may_be_gone(toy_dataset: Path, tmp_path: Path, model: Path):
    sections = json.loads(json.dumps(SERVED).replace("MODEL", str(model)))
    made = toy_recipe(toy_dataset, tmp_path / "run", **sections)
    assert by_name(files.check(made))["served"].standing is Standing.REFUSAL
    (tmp_path / "run" / "targets").mkdir(parents=True)
    (tmp_path / "run" / "targets" / "summary.json").write_text("{}")
    assert "served" not in by_name(files.check(made))


def test_bitsandbytes_is_looked_for(toy_dataset: Path, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch):
    lora = {"student": {"path": str(model)}, "tokenizer": {}, "lora": {"quantize": "4bit"}}
    made = toy_recipe(toy_dataset, tmp_path / "run", **lora)
    monkeypatch.setattr(files.importlib.util, "find_spec", lambda name: None)  # type: ignore[attr-defined]
    assert by_name(files.check(made))["quantize"].standing is Standing.REFUSAL
    monkeypatch.setattr(files.importlib.util, "find_spec", lambda name: object())  # type: ignore[attr-defined]
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert by_name(files.check(made))["quantize"].standing is Standing.WARNING


def test_training_names_all_refusals_and_leaves_no_folder(toy_dataset: Path, tmp_path: Path):
    from distill.jobs.train import train

    given = {"teacher": str(tmp_path / "t"), "student": {"path": str(tmp_path / "s")}, "tokenizer": {}}
    with pytest.raises(ModelError, match=r"2 refusals: 1\. .*/s does not exist.* 2\. .*/t does not exist"):
        train(toy_recipe(toy_dataset, tmp_path / "run", method="kd", **given))
    with pytest.raises(ConfigError, match="2 refusals"):
        train(_two(toy_dataset, tmp_path))
    assert not (tmp_path / "run").exists()


def _two(data: Path, tmp_path: Path) -> Any:
    return toy_recipe(data, tmp_path / "run", tokenizer={"path": str(tmp_path / "t")}, training={"report_to": "wandb"})


def test_training_refuses_a_leak_unless_told_not_to_look(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    from distill.jobs.train import train

    leak = load_suite("mini-humaneval")[2].model_copy(update={"id": "stolen"})
    data = dataset(tmp_path / "data", [*toys(39), leak])
    with pytest.raises(DataError, match=r"word for word.*preflight: false"):
        train(toy_recipe(data, tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    capsys.readouterr()
    assert train(toy_recipe(data, tmp_path / "run", preflight=False))["steps"] == 4
    assert "preflight" not in capsys.readouterr().err


def test_training_shows_the_warnings_and_a_line(toy_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    from distill.jobs.train import train

    train(toy_recipe(toy_dataset, tmp_path / "run"))
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("preflight:")]
    assert any("40 rows to train on" in line for line in lines)
    assert any("eval.suites=[mini-humaneval]" in line for line in lines)
    assert "0 refusals" in lines[-1]
    assert not any(" ok: " in line for line in lines)


def test_training_is_the_same_to_the_bit(toy_dataset: Path, tmp_path: Path, model: Path):
    """With dropout in the adapters, which draws from torch's random state at every step."""
    from distill.jobs.train import train

    kd = {"method": "kd", "teacher": str(model), "loss": {"alpha": 0.5}, "tokenizer": {}}
    lora = {"student": {"path": str(model)}, "lora": {"r": 2, "dropout": 0.3}, "tokenizer": {}}
    for name, sections in (("kd", kd), ("lora", {**kd, **lora})):
        weights = []
        for looked in (True, False):
            output = tmp_path / f"{name}-{looked}"
            torch.manual_seed(0)  # new adapters are drawn from what the process has drawn before
            train(toy_recipe(toy_dataset, output, preflight=looked, **sections))
            weights.append((output / "model" / "model.safetensors").read_bytes())
        assert weights[0] == weights[1]


def test_a_resumed_run_is_not_looked_over_again(
    toy_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    from distill.jobs import train as job

    made = toy_recipe(toy_dataset, tmp_path / "run")
    monkeypatch.setattr(job, "_keep_best", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        job.train(made)
    monkeypatch.undo()
    assert "preflight:" in capsys.readouterr().err
    assert job.train(made)["steps"] == 4
    assert "preflight:" not in capsys.readouterr().err


def test_a_tiny_run_is_hardly_slowed(toy_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from distill.jobs.train import train

    reports = []
    monkeypatch.setattr(page, "print_warnings", reports.append)
    for name in ("warm", "measured"):
        train(toy_recipe(toy_dataset, tmp_path / name))
    assert reports[-1].seconds < 0.7


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("terminal", [True, False])
def test_the_page_fits_any_width(toy_dataset: Path, tmp_path: Path, width: int, terminal: bool):
    import io

    from rich.console import Console

    found = refuse("data", "x", "w" * 90, why="it [is] so.", fix="training.report_to=[none]", boundary=Boundary.DATA)
    report = Report(output="o", method="kd", findings=(found,), seconds=1.0)
    target = Console(file=io.StringIO(), width=width, force_terminal=terminal, highlight=False)
    page.print_page(report, target)
    text = target.file.getvalue()  # type: ignore[attr-defined]
    assert "refusal" in text
    assert "[none]" in text.replace("\n", "").replace(" ", "")
    assert ("\x1b[" in text) is terminal
    if not terminal:
        assert max(map(len, text.splitlines())) <= width


def test_errors_keep_their_boundary():
    for error, boundary in ((DataError("x"), Boundary.DATA), (ModelError("x"), Boundary.MODEL)):
        assert course.refused_by("t", "n", error).boundary is boundary
    assert issubclass(ConfigError, PotstillError)
