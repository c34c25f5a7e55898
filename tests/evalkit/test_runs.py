"""Run folders: whole files or none, torn tails, refusal under another recipe."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.errors import ConfigError, DataError
from evalkit.records import Record
from evalkit.runs import RunFolder, append_jsonl, differing_keys, iterate_jsonl, read_jsonl, write_atomic, write_jsonl


class Row(Record):
    id: int
    text: str = ""


def test_malformed_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": 1}\n\n{"id": \n')
    with pytest.raises(DataError, match=r"rows\.jsonl, line 3"):
        read_jsonl(path, Row)
    path.write_text('{"id": 1}\n{"id": 1, "idd": 2}\n')
    with pytest.raises(DataError, match=r"line 2.*idd"):
        read_jsonl(path, Row)


@given(st.integers(min_value=0, max_value=60))
def test_append_after_any_torn_tail(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("torn") / "rows.jsonl"
    write_jsonl(path, [Row(id=1, text="é"), Row(id=2)])
    whole = path.read_bytes()
    path.write_bytes(whole[: max(0, len(whole) - cut)])
    kept = list(iterate_jsonl(path, Row, torn_tail=True))
    append_jsonl(path, [Row(id=3)])
    assert read_jsonl(path, Row) == [*kept, Row(id=3)]


def test_write_atomic_keeps_the_old_file_on_a_full_disk(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_atomic(path, "old")
    code = (
        "import resource, signal, sys; from evalkit.runs import write_atomic; from evalkit.errors import DataError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        f"try: write_atomic({str(path)!r}, 'x' * 5000)\n"
        "except DataError as error: print(error); sys.exit(error.exit_code)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 2, result.stderr
    assert "cannot write" in result.stdout
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_append_to_a_full_device_is_a_clear_error() -> None:
    with pytest.raises(DataError, match=r"No space left.*free some space"):
        append_jsonl("/dev/full", [Row(id=1)])


def test_resume_is_refused_under_another_recipe(tmp_path: Path) -> None:
    recipe = {"a": {"b": 1, "c": 2}, "d": 3}
    run = RunFolder(tmp_path / "run", "test", recipe).open(data="x")
    assert run.manifest["data"] == "x"
    assert run.manifest["versions"]["python"]
    RunFolder(tmp_path / "run", "test", recipe).open()
    with pytest.raises(ConfigError, match=r"keys differ: a\.b, e"):
        RunFolder(tmp_path / "run", "test", {"a": {"b": 9, "c": 2}, "d": 3, "e": 1}).open()
    with pytest.raises(ConfigError, match="not 'other'"):
        RunFolder(tmp_path / "run", "other", recipe).open()


def test_other_schema_and_foreign_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="not empty"):
        RunFolder(tmp_path, "test", {}).open()
    (tmp_path / "manifest.json").write_text(json.dumps({"schema": 99, "kind": "test"}))
    with pytest.raises(DataError, match="schema version 99"):
        RunFolder(tmp_path, "test", {}).open()


def test_differing_keys() -> None:
    assert differing_keys({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}, "d": 0}) == ["b.c", "d"]
    assert differing_keys({"a": [1]}, {"a": [1]}) == []


def test_a_run_that_was_killed_over_its_manifest_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".manifest.json.abcd1234").write_text("{")
    assert RunFolder(tmp_path / "run", "train", {"a": 1}).open().manifest["recipe"] == {"a": 1}


def test_processes_that_open_a_run_at_once_all_have_it(tmp_path: Path) -> None:
    def opened(number: int) -> str:
        return str(RunFolder(tmp_path / f"run-{number // 8}", "train", {"a": 1}).open().manifest["kind"])

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(opened, range(80))) == {"train"}


def test_a_manifest_that_leads_nowhere_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").symlink_to(tmp_path / "gone")
    with pytest.raises(ConfigError, match=r"holds no manifest\.json"):
        RunFolder(tmp_path, "train", {"a": 1}).open()
