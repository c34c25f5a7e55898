"""Findings about rows, labels, vocabulary and settings, each provoked by a recipe or dataset that deserves it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from looking import PLENTY, by_name, dataset, looked_at, toy_recipe, toys

from distill.preflight import Standing, mask, rows, settings, vocabulary


def test_a_healthy_dataset_has_no_warning(tmp_path: Path):
    healthy = dataset(tmp_path / "data", toys(120))
    made = toy_recipe(healthy, tmp_path / "run", training=PLENTY, eval={"samples": 1}, tokenizer={"vocab_size": 400})
    subject = looked_at(made, tmp_path)
    found = [*rows.check(subject), *mask.check(subject), *settings.check(subject), *vocabulary.check(subject)]
    assert {finding.standing for finding in found} == {Standing.OK}, [f for f in found if f.standing != "ok"]


def test_few_rows(toy_dataset: Path, tmp_path: Path):
    found = by_name(rows.check(looked_at(toy_recipe(toy_dataset, tmp_path / "run"), tmp_path)))
    assert found["few"].standing is Standing.WARNING
    assert found["few"].facts["rows"] == 40


@pytest.mark.parametrize(("long", "strongly"), [(5, False), (30, True)])
def test_rows_that_are_left_out(tmp_path: Path, long: int, strongly: bool):
    problems = toys(120)
    for i in range(long):
        body = f"{problems[i].prompt}\n    " + "x = 1\n    " * 40 + "return a\n"
        problems[i] = problems[i].model_copy(update={"solution": body})
    problems[50] = problems[50].model_copy(update={"solution": "x = 1\n"})
    data = dataset(tmp_path / "data", problems)
    made = toy_recipe(data, tmp_path / "run", data={"folder": str(data), "max_length": 128})
    found = by_name(rows.check(looked_at(made, tmp_path)))["kept"]
    assert found.standing is Standing.WARNING
    assert (found.facts["too_long"], found.facts["not_a_continuation"]) == (long, 1)
    assert found.facts["strongly"] is strongly
    advised = int(found.fix.split("max_length=")[1].split()[0])
    again = toy_recipe(data, tmp_path / "run", data={"folder": str(data), "max_length": advised})
    assert by_name(rows.check(looked_at(again, tmp_path)))["kept"].facts["too_long"] == 0


def test_one_row_in_two_hundred_left_out_is_only_told(tmp_path: Path):
    problems = toys(200)
    problems[50] = problems[50].model_copy(update={"solution": "x = 1\n"})
    made = toy_recipe(dataset(tmp_path / "data", problems), tmp_path / "run")
    found = by_name(rows.check(looked_at(made, tmp_path)))["kept"]
    assert found.standing is Standing.OK
    assert "1 (0.5%)" in found.what


def test_repeated_rows(tmp_path: Path):
    made = toy_recipe(dataset(tmp_path / "data", toys(50) + toys(50)), tmp_path / "run")
    found = by_name(rows.check(looked_at(made, tmp_path)))["repeated"]
    assert found.standing is Standing.WARNING
    assert found.facts["repeated"] == 50


def test_padding_and_its_cure(tmp_path: Path):
    problems = toys(40)
    for i in range(0, 40, 2):
        body = f"{problems[i].prompt}\n    " + "x = 1\n    " * 20 + "return a\n"
        problems[i] = problems[i].model_copy(update={"solution": body})
    data = dataset(tmp_path / "data", problems)
    part: dict[str, Any] = {"folder": str(data), "max_length": 512}
    training = {"max_steps": 1, "per_device_train_batch_size": 40}
    padded = toy_recipe(data, tmp_path / "run", data=part, training=training)
    packed = toy_recipe(data, tmp_path / "run", data=part | {"packing": True}, training=training)
    before, after = (by_name(rows.check(looked_at(made, tmp_path)))["padding"] for made in (padded, packed))
    assert before.standing is Standing.WARNING
    assert after.facts["padding_share"] < before.facts["padding_share"]


def test_the_lengths_are_those_of_the_rows(toy_dataset: Path, tmp_path: Path):
    subject = looked_at(toy_recipe(toy_dataset, tmp_path / "run"), tmp_path)
    facts = by_name(rows.check(subject))["lengths"].facts
    assert facts["max"] == max(len(row.input_ids) for row in subject.material.encoded.rows)
    assert facts["p50"] <= facts["p90"] <= facts["p99"] <= facts["max"]


def test_the_sample_shows_what_is_learned(toy_dataset: Path, tmp_path: Path):
    part = {"folder": str(toy_dataset), "prompt_weight": 0.25}
    subject = looked_at(toy_recipe(toy_dataset, tmp_path / "run", data=part), tmp_path)
    row, tokenizer = subject.material.encoded.rows[0], subject.material.tokenizer
    found = mask.spans(row, tokenizer)
    assert [(span.kind, span.weight) for span in found] == [("read", 0), ("learned", 0.25), ("learned", 1), ("end", 1)]
    assert "".join(span.text for span in found) == tokenizer.decode(row.input_ids)
    assert sum(span.tokens for span in found) == len(row.input_ids)
    assert found[2].text.strip().startswith("return")
    share = by_name(mask.check(subject))["shares"].facts["prompt_weight_share"]
    weights = [
        (weight, label != -100)
        for r in subject.material.encoded.rows
        for weight, label in zip(r.weights[1:], r.labels[1:], strict=True)
    ]
    exact = sum(w for w, on in weights if on and w == 0.25) / sum(w for w, on in weights if on)
    assert share == pytest.approx(exact, abs=1e-3)


def test_a_row_without_its_end_is_refused(toy_dataset: Path, tmp_path: Path):
    from dataclasses import replace

    subject = looked_at(toy_recipe(toy_dataset, tmp_path / "run"), tmp_path)
    subject.material.encoded.rows[3] = replace(
        subject.material.encoded.rows[3], labels=[*subject.material.encoded.rows[3].labels[:-1], -100]
    )
    assert by_name(mask.check(subject))["end"].standing is Standing.REFUSAL


def test_a_corpus_ends_each_document(tmp_path: Path):
    (tmp_path / "a.py").write_text("x = 1\n" * 201 + "z\n")
    (tmp_path / "b.py").write_text("y = 2\n")
    part = {"corpus": [str(tmp_path / "a.py"), str(tmp_path / "b.py")], "held_out": 0.0, "max_length": 32}
    made = toy_recipe(tmp_path, tmp_path / "run", method="pretrain", data=part)
    subject = looked_at(made, tmp_path)
    assert by_name(mask.check(subject))["end"].facts["rows"] == 2
    assert "2 documents" in by_name(rows.check(subject))["kept"].what


def test_mostly_prompt(toy_dataset: Path, tmp_path: Path):
    part = {"folder": str(toy_dataset), "prompt_weight": 1.0}
    subject = looked_at(toy_recipe(toy_dataset, tmp_path / "run", data=part), tmp_path)
    assert by_name(mask.check(subject))["shares"].standing is Standing.WARNING


def test_a_tokenizer_that_crumbles_the_text(toy_dataset: Path, tmp_path: Path):
    made = toy_recipe(toy_dataset, tmp_path / "run", tokenizer={"vocab_size": 270})
    assert by_name(vocabulary.check(looked_at(made, tmp_path)))["text"].standing is Standing.WARNING


FOLDER = "runs/some/model"


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("epochs", {"training": PLENTY | {"max_steps": 600}}),
        ("warmup", {"training": PLENTY | {"warmup_steps": 4}}),
        ("save_steps", {"training": PLENTY | {"save_steps": 5}}),
        ("save_steps", {"training": PLENTY | {"save_strategy": "no"}}),
        ("eval", {"eval": {"samples": 0}}),
        ("lora_rate", {"training": PLENTY | {"learning_rate": 2e-4}, "lora": {}, "student": {"path": FOLDER}}),
        ("full_rate", {"training": PLENTY | {"learning_rate": 2e-3}, "student": {"path": FOLDER}}),
    ],
)
def test_settings_that_waste_a_run(toy_dataset: Path, tmp_path: Path, name: str, change: dict[str, Any]):
    given = {"training": PLENTY, "eval": {"samples": 2}} | change
    found = by_name(settings.check(looked_at(toy_recipe(toy_dataset, tmp_path / "run", **given), tmp_path)))
    assert set(found) == {name}
    assert found[name].standing is Standing.WARNING


def test_bf16_is_only_a_warning_where_the_processor_has_it_not(
    toy_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made = toy_recipe(toy_dataset, tmp_path / "run", training=PLENTY | {"bf16": True}, eval={"samples": 2})
    subject = looked_at(made, tmp_path)
    knows: Callable[[], bool]
    for knows, expected in ((lambda: False, {"bf16"}), (lambda: True, {"usual"})):
        monkeypatch.setattr(settings, "cpu_knows_bf16", knows)
        monkeypatch.setattr(settings, "on_gpu", lambda args: False)
        assert set(by_name(settings.check(subject))) == expected
