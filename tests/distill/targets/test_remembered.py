"""The teacher reads each row once: what it made of them is found again bit for bit, or not used at all."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from toy import toy_recipe

from distill.targets.remembered import HEAD, SUM, Remembered, size

LEARNED = [3, 1, 0, 4]


def states(rows: list[int], dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Two numbers per position, that say row and position."""
    return torch.tensor([[row, i] for row in rows for i in range(LEARNED[row])], dtype=dtype).reshape(-1, 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_what_was_kept_is_read_in_any_order(dtype: torch.dtype, tmp_path: Path):
    one, other = (Remembered(tmp_path, LEARNED, "a") for _ in range(2))
    assert one.read([0]) is None
    one.keep([1, 3], states([1, 3], dtype))
    one.keep([0], states([0], dtype))
    for found in (one.read([3, 0, 1, 3]), Remembered(tmp_path, LEARNED, "a").read([3, 0, 1, 3])):
        assert found is not None
        assert found.dtype == dtype
        assert found.equal(states([3, 0, 1, 3], dtype))
    assert one.read([0, 2]) is None
    one.keep([2], states([2], dtype))
    found = one.read([2])
    assert found is not None
    assert found.shape == (0, 2)
    assert other.read([0]) is None  # it was opened before anything stood there: it must not invent
    assert one.path.stat().st_size <= size(LEARNED, 2, dtype.itemsize)


def test_a_row_is_kept_as_it_was_first_read(tmp_path: Path):
    memory = Remembered(tmp_path, LEARNED, "a")
    memory.keep([0], states([0]))
    memory.keep([0, 1], states([0, 1]) + 1)
    found = memory.read([0, 1])
    assert found is not None
    assert found.equal(torch.cat([states([0]), states([1]) + 1]))


def test_what_another_process_wrote_stays(tmp_path: Path):
    """A batch of a row that is new and of one that is not: the second is as it was, after a kill too."""
    Remembered(tmp_path, LEARNED, "a").keep([1], states([1]))
    for _ in range(2):
        again = Remembered(tmp_path, LEARNED, "a")
        assert again.read([0, 1]) is None or _ == 1
        again.keep([0, 1], states([0, 1]) + 1)
        found = again.read([0, 1])
        assert found is not None
        assert found.equal(torch.cat([states([0]) + 1, states([1])]))


def test_states_of_another_precision_begin_anew(tmp_path: Path):
    Remembered(tmp_path, LEARNED, "a").keep([0, 1], states([0, 1]))
    memory = Remembered(tmp_path, LEARNED, "a")
    memory.keep([0], states([0], torch.bfloat16))
    found = memory.read([0])
    assert found is not None
    assert found.equal(states([0], torch.bfloat16))
    assert memory.read([1]) is None


def test_a_disk_that_cannot_be_read_is_as_if_nothing_were_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    memory = Remembered(tmp_path, LEARNED, "a")
    memory.keep([0], states([0]))

    def broken(*_: Any) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "preadv", broken)
    assert memory.read([0]) is None


@given(st.data())
def test_damage_is_never_read(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject):
    memory = Remembered(tmp_path_factory.mktemp("memory"), LEARNED, "a")
    memory.keep([0, 1, 2, 3], states([0, 1, 2, 3]))
    whole = memory.path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        memory.path.write_bytes(whole[:place])
    else:
        memory.path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    for row in range(4):
        again = Remembered(memory.path.parent, LEARNED, "a")
        found = again.read([row])
        assert found is None or found.equal(states([row]))
        assert found is None or place >= HEAD
        start = HEAD + SUM * row + sum(LEARNED[:row]) * 8
        if start <= place < start + SUM + LEARNED[row] * 8:
            assert found is None


def test_what_belongs_to_others_is_removed(tmp_path: Path):
    Remembered(tmp_path, LEARNED, "a").keep([0], states([0]))
    assert Remembered(tmp_path, LEARNED, "b").read([0]) is None
    assert [path.name for path in tmp_path.iterdir()] == ["teacher-b.bin"]


@pytest.fixture(scope="module")
def teacher(toy_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    from distill.jobs.train import train

    folder = tmp_path_factory.mktemp("teacher")
    train(toy_recipe(toy_dataset, folder / "run"))
    return str(folder / "run" / "model")


THREE_EPOCHS = {"max_steps": 30, "per_device_train_batch_size": 4, "logging_steps": 1, "save_steps": 100}


def taught(
    dataset: Path, teacher: str, output: Path, monkeypatch: pytest.MonkeyPatch, **sections: Any
) -> tuple[int, list[float], dict[str, torch.Tensor]]:
    """Rows of batches that the teacher read in a run of three epochs, the losses, and the product."""
    import distill.trainer as trainer
    from distill.jobs.train import train

    seen, plain = [], trainer.hidden_states

    def counted(model: Any, inputs: dict[str, Any], *rest: Any) -> torch.Tensor:
        if not model.training:
            seen.append(inputs["input_ids"].shape[0])
        return plain(model, inputs, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "hidden_states", counted)
        settings = {"method": "kd", "teacher": teacher, "tokenizer": {}, "training": THREE_EPOCHS, "preflight": False}
        train(toy_recipe(dataset, output, **(settings | sections)))
    losses = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    product = load_file(output / "model" / "model.safetensors")
    return sum(seen), [entry["loss"] for entry in losses if "loss" in entry], product


@pytest.mark.parametrize("packing", [False, True])
def test_the_teacher_reads_each_row_once(
    packing: bool, toy_dataset: Path, teacher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    data = {"folder": str(toy_dataset), "packing": packing}
    read, losses, product = taught(toy_dataset, teacher, tmp_path / "once", monkeypatch, data=data)
    again, others, other = taught(toy_dataset, teacher, tmp_path / "anew", monkeypatch, data=data, teacher_memory=0.0)
    rows = 120
    assert again == rows
    first = 10 if not packing else 3
    assert losses[:first] == others[:first]  # in the first epoch nothing differs at all
    assert read == 40 if not packing else read < rows / 3
    for name in product:
        torch.testing.assert_close(product[name], other[name], rtol=1e-3, atol=1e-5)
    assert not list((tmp_path / "once").glob("teacher-*"))


def test_rows_that_are_others_are_read_anew(
    toy_dataset: Path, teacher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A run that is killed and goes on where rows have the same lengths and other prompts (another template)."""
    import distill.data

    found = set()
    for letter in "xy":
        plain = distill.data.encode

        def encode(*args: Any, letter: str = letter, plain: Any = plain) -> Any:
            row = plain(*args)
            first = args[1](letter)["input_ids"][0]
            return type(row)([first, *row.input_ids[1:]], row.labels, row.weights)

        with monkeypatch.context() as patch:
            patch.setattr(distill.data, "encode", encode)
            opened = list[str]()
            begin = Remembered.__init__

            def noted(self: Remembered, *args: Any, begin: Any = begin, opened: list[str] = opened) -> None:
                begin(self, *args)
                opened.append(self.path.name)

            patch.setattr(Remembered, "__init__", noted)
            taught(toy_dataset, teacher, tmp_path / letter, monkeypatch)
        found |= set(opened)
    assert len(found) == 2


@pytest.mark.parametrize("how", ["a folder in its way", "no file"])
def test_without_a_file_the_run_goes_on(
    how: str,
    toy_dataset: Path,
    teacher: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    plain = os.open

    def none(path: Any, *rest: Any) -> int:
        if "teacher-" in str(path):
            if how == "no file":
                raise OSError(errno.ENOSPC, "No space left on device")
            Path(path).mkdir()
        return plain(path, *rest)

    monkeypatch.setattr(os, "open", none)
    read, _, _ = taught(toy_dataset, teacher, tmp_path / "run", monkeypatch)
    assert read == 120
    assert "reads them in every epoch" in " ".join(capsys.readouterr().err.split())


def test_without_room_the_run_goes_on(
    toy_dataset: Path,
    teacher: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    plain, written = os.pwrite, []

    def full(file: int, data: bytes, place: int) -> int:
        written.append(len(data))
        if len(written) > 8:
            raise OSError(errno.ENOSPC, "No space left on device")
        return plain(file, data, place)

    monkeypatch.setattr(os, "pwrite", full)
    read, _, product = taught(toy_dataset, teacher, tmp_path / "full", monkeypatch)
    assert read == 120
    assert "reads them in every epoch" in " ".join(capsys.readouterr().err.split())
    assert not list((tmp_path / "full").glob("teacher-*"))
    monkeypatch.undo()
    _, _, other = taught(toy_dataset, teacher, tmp_path / "anew", monkeypatch, teacher_memory=0.0)
    assert all(product[name].equal(other[name]) for name in product)


@pytest.mark.parametrize(("more", "said"), [({"teacher_memory": 1e-6}, True), ({"loss": {"alpha": 1.0}}, False)])
def test_it_says_when_it_cannot_remember(
    more: dict[str, Any],
    said: bool,
    toy_dataset: Path,
    teacher: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    read, _, _ = taught(toy_dataset, teacher, tmp_path / "run", monkeypatch, **more)
    assert read == (120 if said else 0)
    assert ("teacher_memory" in capsys.readouterr().err) == said
