"""Rows, their order, and the refusal of bad folders."""

import json
from pathlib import Path

import pytest

from distill.batches import order
from distill.data import Row, choose, encode_rows, fingerprint, read_rows
from distill.recipe import DataPart
from evalkit.errors import DataError
from evalkit.prompting import PROMPTING


def test_every_row_once_per_epoch_in_batches_of_similar_length():
    lengths = [(i * 37) % 100 for i in range(96)]
    indices = order(lengths, batch=8, batches=24, seed=1)
    assert sorted(indices[:96]) == sorted(indices[96:]) == list(range(96))
    assert indices != order(lengths, batch=8, batches=24, seed=2)
    assert indices == order(lengths, batch=8, batches=24, seed=1)
    spreads = [
        max(lengths[i] for i in indices[b : b + 8]) - min(lengths[i] for i in indices[b : b + 8])
        for b in range(0, 96, 8)
    ]
    assert max(spreads) < 20


def test_order_is_the_start_of_a_longer_order():
    lengths = list(range(50))
    assert order(lengths, batch=7, batches=40, seed=0)[:140] == order(lengths, batch=7, batches=20, seed=0)


def test_fewer_rows_than_a_batch():
    assert sorted(order([1, 2, 3], batch=4, batches=3, seed=0)) == [0] * 4 + [1] * 4 + [2] * 4


def test_categories(toy_dataset: Path):
    rows = read_rows(toy_dataset, "train")
    assert {r.problem.category for r in choose(rows, DataPart(folder="x", categories=["lists"]))} == {"lists"}
    assert len(choose(rows, DataPart(folder="x", exclude_categories=["lists"], limit=5))) == 5
    with pytest.raises(DataError, match="arithmetic, lists"):
        choose(rows, DataPart(folder="x", categories=["poetry"]))


def test_bad_folders(tmp_path: Path, toy_dataset: Path):
    with pytest.raises(DataError, match="train"):
        read_rows(tmp_path, "train")
    good = (toy_dataset / "train.jsonl").read_text().splitlines()[0]
    (tmp_path / "train.jsonl").write_text(good + "\n{not json\n")
    with pytest.raises(DataError, match="line 2"):
        read_rows(tmp_path, "train")
    (tmp_path / "manifest.json").write_text(json.dumps({"schema": 99}))
    with pytest.raises(DataError, match="99"):
        read_rows(tmp_path, "train")


def test_rows_that_do_not_fit_are_counted(toy_dataset: Path):
    class Characters:
        eos_token_id = 0

        def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
            return {"input_ids": [ord(c) for c in text]}

    rows = read_rows(toy_dataset, "train")
    stray = Row(problem=rows[0].problem.model_copy(update={"solution": "x = 1"}))
    longest = max(len(r.problem.solution or "") for r in rows)
    encoded = encode_rows([*rows, stray], Characters(), PROMPTING, longest - 1)
    assert encoded.not_a_continuation == 1
    assert encoded.too_long >= 1
    assert len(encoded.rows) + encoded.too_long == len(rows)
    with pytest.raises(DataError, match="the shortest has"):
        encode_rows(rows, Characters(), PROMPTING, 8)


def test_fingerprint_follows_content(tmp_path: Path):
    (tmp_path / "a").write_text("1")
    before = fingerprint(tmp_path)
    (tmp_path / "a").write_text("2")
    assert fingerprint(tmp_path) != before


def test_rehearsal_is_a_share_of_the_other_categories(toy_dataset: Path):
    rows = read_rows(toy_dataset, "train")
    chosen = choose(rows, DataPart(folder="x", categories=["lists"], limit=12, rehearsal=0.25))
    assert [r.problem.category for r in chosen].count("lists") == 12
    assert [r.problem.category for r in chosen].count("arithmetic") == 4
    assert len({r.problem.id for r in chosen}) == 16
    assert chosen == choose(rows, DataPart(folder="x", categories=["lists"], limit=12, rehearsal=0.25))
