"""`distill cache`: written once, resumed after a kill, refused where anything does not match, trained from."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from toy import FEW, TINY, toy_recipe

from distill.jobs.cache import CacheRecipe, cache
from evalkit.errors import ConfigError, DataError, ModelError
from evalkit.recipes import parse_recipe


@pytest.fixture(scope="module")
def teacher(toy_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from distill.jobs.train import train

    folder = tmp_path_factory.mktemp("teacher") / "run"
    train(toy_recipe(toy_dataset, folder, tokenizer={"vocab_size": 300}))
    return folder / "model"


def cache_recipe(dataset: Path, teacher: Path, output: Path, **more: object) -> CacheRecipe:
    base = {"data": {"folder": str(dataset)}, "teacher": str(teacher), "output": str(output), "max_bytes": 200}
    return parse_recipe(CacheRecipe, base | {"shard_positions": 300} | more)


def student_recipe(dataset: Path, kept: Path, output: Path, **more: object):
    return toy_recipe(
        dataset, output, **{"method": "kd", "cache": str(kept), "student": TINY, "tokenizer": {}, "loss": {}} | more
    )


@pytest.fixture(scope="module")
def sampled(toy_dataset: Path, teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept") / "sampled"
    summary = cache(cache_recipe(toy_dataset, teacher, folder))
    assert (summary["rows"], summary["draws"], summary["source"]) == (40, 50, "sampled")
    assert summary["bytes"] == sum(f.stat().st_size for f in folder.glob("shard-*"))
    return folder


def test_a_student_learns_from_a_cache(toy_dataset: Path, sampled: Path, tmp_path: Path):
    from distill.jobs.train import train

    training = FEW | {"max_steps": 30, "learning_rate": 1e-2}
    summary = train(student_recipe(toy_dataset, sampled, tmp_path / "run", training=training))
    divergences = [entry["divergence"] for entry in summary["log"]]
    assert divergences[-1] < divergences[0]
    manifest = json.loads((tmp_path / "run" / "model" / "manifest.json").read_text())
    assert manifest["teacher_fingerprint"] == json.loads((sampled / "manifest.json").read_text())["teacher_fingerprint"]


def test_many_draws_are_the_local_teacher(toy_dataset: Path, teacher: Path, tmp_path: Path):
    """The same step from a cache of 255 draws and from the teacher itself: nearly the same divergence."""
    from distill.jobs.train import train

    cache(cache_recipe(toy_dataset, teacher, tmp_path / "kept", draws=255, max_bytes=1000))
    training = FEW | {"max_steps": 1}
    one = train(student_recipe(toy_dataset, tmp_path / "kept", tmp_path / "cached", training=training))
    local = {"teacher": str(teacher), "cache": None}
    other = train(student_recipe(toy_dataset, tmp_path / "kept", tmp_path / "local", training=training, **local))
    assert one["log"][0]["grad_norm"] == pytest.approx(other["log"][0]["grad_norm"], rel=0.02)
    assert one["log"][0]["divergence"] == pytest.approx(other["log"][0]["divergence"], abs=0.02)  # 42 tokens' noise


@pytest.mark.parametrize("divergence", ["forward_kl", "reverse_kl", "jsd", "skew_kl"])
def test_all_ids_kept_are_the_local_teacher(divergence: str, toy_dataset: Path, teacher: Path, tmp_path: Path):
    from distill.jobs.train import train

    cache(cache_recipe(toy_dataset, teacher, tmp_path / "kept", mode="top_k", k=300, temperature=2))
    loss, training = {"divergence": divergence, "temperature": 2, "alpha": 0.2}, FEW | {"max_steps": 2}
    one = train(student_recipe(toy_dataset, tmp_path / "kept", tmp_path / "cached", training=training, loss=loss))
    local = {"teacher": str(teacher), "cache": None}
    other = train(
        student_recipe(toy_dataset, tmp_path / "kept", tmp_path / "local", training=training, loss=loss, **local)
    )
    for a, b in zip(one["log"], other["log"], strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-3)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-2)


KILLED = """
import os, signal, sys
from pathlib import Path
from distill.jobs import cache as job
from distill.targets import store
plain = store.append_jsonl
def deadly(*args):
    if sum(1 for _ in Path(sys.argv[3]).glob("shard-*.bin")) == 2 and not Path(sys.argv[3], "again").exists():
        Path(sys.argv[3], "again").touch()
        os.kill(os.getpid(), signal.SIGKILL)  # the second shard is written, and not yet listed
    plain(*args)
store.append_jsonl = deadly
recipe = dict(data={"folder": sys.argv[1]}, teacher=sys.argv[2], output=sys.argv[3], max_bytes=200, shard_positions=300)
job.cache(job.CacheRecipe(**recipe))
"""


@pytest.mark.slow
def test_a_killed_cache_ends_the_same(toy_dataset: Path, teacher: Path, sampled: Path, tmp_path: Path):
    command = [sys.executable, "-c", KILLED, str(toy_dataset), str(teacher), str(tmp_path / "cut")]
    killed = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (tmp_path / "cut" / "summary.json").exists()
    with pytest.raises(DataError, match="not finished"):
        open_for(toy_dataset, tmp_path / "cut", tmp_path / "run")
    subprocess.run(command, env=dict(os.environ), check=True, capture_output=True)
    for file in sorted(sampled.glob("shard*")):
        assert file.read_bytes() == (tmp_path / "cut" / file.name).read_bytes(), file.name


def open_for(dataset: Path, kept: Path, output: Path, **more: object) -> None:
    from distill.preparation import prepare

    prepare(student_recipe(dataset, kept, output, **more), None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": {"temperature": 2}}, "temperature 1, but loss.temperature is 2"),
        ({"loss": {"divergence": "reverse_kl"}}, "reverse_kl cannot be had from a sampled teacher"),
        ({"loss": {"divergence": "mse"}}, "only probabilities are known"),
        ({"data": {"prompt_weight": 0.5}}, "40 of 40 rows are not in it"),
    ],
)
def test_what_does_not_match_is_refused(toy_dataset: Path, sampled: Path, tmp_path: Path, changes: dict, message: str):
    if "data" in changes:
        changes = {"data": {"folder": str(toy_dataset)} | changes["data"]}
    with pytest.raises(DataError, match=message):
        open_for(toy_dataset, sampled, tmp_path / "run", **changes)


def test_changed_data_teacher_tokenizer_and_shards_are_refused(
    toy_dataset: Path, teacher: Path, sampled: Path, tmp_path: Path
):
    data = shutil.copytree(toy_dataset, tmp_path / "data")
    lines = (data / "train.jsonl").read_text().splitlines(keepends=True)
    (data / "train.jsonl").write_text("".join(lines[:-1]))
    with pytest.raises(DataError, match="data fingerprint"):
        open_for(data, sampled, tmp_path / "run", data={"folder": str(data)})

    broken = shutil.copytree(sampled, tmp_path / "broken")
    shard = bytearray((broken / "shard-00001.bin").read_bytes())
    shard[7] ^= 1
    (broken / "shard-00001.bin").write_bytes(shard)
    with pytest.raises(DataError, match="checksum differs"):
        open_for(toy_dataset, broken, tmp_path / "run")
    (broken / "shard-00001.bin").unlink()
    with pytest.raises(DataError, match="cannot read a shard"):
        open_for(toy_dataset, broken, tmp_path / "run")

    from distill.jobs.train import train

    train(toy_recipe(toy_dataset, tmp_path / "other", tokenizer={"vocab_size": 290}))
    with pytest.raises(ModelError, match="different tokenizers: id"):
        open_for(toy_dataset, sampled, tmp_path / "run", tokenizer={"path": str(tmp_path / "other" / "model")})

    moved = shutil.copytree(teacher, tmp_path / "teacher")
    cache(cache_recipe(toy_dataset, moved, tmp_path / "kept"))
    (moved / "manifest.json").write_text("{}")
    with pytest.raises(DataError, match="has changed since"):
        open_for(toy_dataset, tmp_path / "kept", tmp_path / "run")


def test_draws_are_lowered_until_the_limit_holds(toy_dataset: Path, teacher: Path, tmp_path: Path, capfd):
    """A teacher that has learned nothing finds everything likely: 50 draws are 50 ids."""
    summary = cache(cache_recipe(toy_dataset, teacher, tmp_path / "kept", max_bytes=30))
    assert summary["draws"] < 50
    assert summary["bytes_per_token"] <= 30
    assert "draws instead of 50" in capfd.readouterr().err


def test_a_cache_for_nothing_is_refused_and_leaves_nothing(toy_dataset: Path, tmp_path: Path):
    with pytest.raises(ModelError, match="no such folder"):
        cache(cache_recipe(toy_dataset, tmp_path / "absent", tmp_path / "kept"))
    assert not (tmp_path / "kept").exists()
    with pytest.raises(ConfigError, match="exactly one of"):
        parse_recipe(CacheRecipe, {"data": {"folder": "d"}, "output": "o"})


def test_a_full_disk_is_said_before_anything_is_scored(
    toy_dataset: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DataError, match="are free"):
        cache(cache_recipe(toy_dataset, teacher, tmp_path / "kept"))
