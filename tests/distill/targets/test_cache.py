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
from distill.recipe import ServedPart
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


@pytest.fixture(scope="module")
def states(toy_dataset: Path, teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept") / "states"
    summary = cache(cache_recipe(toy_dataset, teacher, folder, mode="states"))
    assert (summary["rows"], summary["draws"], summary["k"], summary["source"]) == (40, 0, 0, "states")
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


@pytest.mark.parametrize("divergence", ["forward_kl", "reverse_kl", "jsd", "skew_kl", "mse"])
@pytest.mark.parametrize("packing", [False, True])
def test_states_are_the_local_teacher(
    divergence: str, packing: bool, toy_dataset: Path, states: Path, teacher: Path, tmp_path: Path
):
    """One cache, any loss at any temperature: what is learned is what the teacher itself would have taught."""
    from distill.jobs.train import train

    more = {
        "loss": {"divergence": divergence, "temperature": 1 + 2 * packing, "alpha": 0.2},
        "training": FEW | {"max_steps": 8},
        "data": {"folder": str(toy_dataset), "packing": packing},
    }
    one = train(student_recipe(toy_dataset, states, tmp_path / "cached", **more))
    local = {"teacher": str(teacher), "cache": None}
    other = train(student_recipe(toy_dataset, states, tmp_path / "local", **more, **local))
    for key in ("loss", "divergence", "grad_norm"):
        found, expected = ([entry[key] for entry in summary["log"]] for summary in (one, other))
        assert found == pytest.approx(expected, rel=1e-4)


def test_states_of_a_half_precision_teacher(toy_dataset: Path, teacher: Path, tmp_path: Path):
    from distill.jobs.train import train

    summary = cache(cache_recipe(toy_dataset, teacher, tmp_path / "kept", mode="states", bf16=True))
    assert summary["bytes_per_token"] < 2 * 16 + 10  # 16 numbers of two bytes, and a row's own 36
    one = train(student_recipe(toy_dataset, tmp_path / "kept", tmp_path / "cached"))
    local = {"teacher": str(teacher), "cache": None}
    other = train(student_recipe(toy_dataset, tmp_path / "kept", tmp_path / "local", **local))
    assert one["log"][0]["divergence"] == pytest.approx(other["log"][0]["divergence"], rel=0.05)


def test_a_half_precision_head_makes_its_logits_in_fp32():
    """On a CPU a product of bf16 is rounded to bf16 again: the divergence of a model from itself would not be 0."""
    import torch

    from distill.losses import Head, LossSpec, tiled_loss
    from distill.trainer import kept_targets

    g = torch.Generator().manual_seed(0)
    states, weight = torch.randn(50, 16, generator=g).bfloat16(), torch.randn(300, 16, generator=g).bfloat16()
    head = Head(weight).to(torch.device("cpu"), torch.float32)
    teacher = kept_targets({"target_states": states}, head)
    spec, ones = LossSpec(300, alpha=0.0), torch.ones(50)
    sums = tiled_loss(states.float(), Head(weight.float()), torch.zeros(50, dtype=torch.long), ones, spec, teacher)
    assert abs(sums.divergence.item()) < 1e-6
    double = states.double()
    found = kept_targets({"target_states": double}, head)
    assert isinstance(found, tuple)
    assert found[0] is double


def test_a_head_comes_back_as_it_was(tmp_path: Path):
    import torch

    from distill.losses import Head
    from distill.targets.states import read_head, write_head

    head = Head(torch.randn(7, 3).bfloat16(), torch.randn(7).bfloat16(), 30.0)
    mark = write_head(tmp_path, head)
    found = read_head(tmp_path, mark, 7)
    assert found.weight.equal(head.weight)
    assert found.bias is not None
    assert head.bias is not None
    assert found.bias.equal(head.bias)
    assert found.softcap == 30.0
    mark = write_head(tmp_path, Head(head.weight))
    assert read_head(tmp_path, mark, 5).softcap is None
    with pytest.raises(DataError, match="7 ids, but 8"):
        read_head(tmp_path, mark, 8)


@pytest.mark.parametrize("damage", ["missing", "changed", "torn"])
def test_a_head_that_is_not_what_was_written_is_refused(damage: str, toy_dataset: Path, states: Path, tmp_path: Path):
    shutil.copytree(states, tmp_path / "kept")
    head = tmp_path / "kept" / "head.safetensors"
    whole = head.read_bytes()
    if damage == "missing":
        head.unlink()
    else:
        head.write_bytes(whole[:-1] if damage == "torn" else whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DataError, match="head"):
        open_for(toy_dataset, tmp_path / "kept", tmp_path / "run")


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


def begun(sampled: Path, folder: Path) -> Path:
    """A copy of a finished cache as a run leaves it that was killed before its summary."""
    shutil.copytree(sampled, folder)
    (folder / "summary.json").unlink()
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["recipe"]["output"] = str(folder)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_a_resumed_cache_writes_damaged_and_doubled_shards_again(
    toy_dataset: Path, teacher: Path, sampled: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    """What a crash of the machine, or two processes at once, may leave: it must not end as a finished cache."""

    def tear(folder: Path) -> None:
        (folder / "shard-00001.bin").write_bytes((folder / "shard-00001.bin").read_bytes()[:-3])

    def lose(folder: Path) -> None:
        (folder / "shard-00000.idx").unlink()

    def double(folder: Path) -> None:
        (folder / "shards.jsonl").write_text((folder / "shards.jsonl").read_text() * 2)

    for damage in (tear, lose, double):
        cut = begun(sampled, tmp_path / damage.__name__)
        damage(cut)
        assert cache(cache_recipe(toy_dataset, teacher, cut))["rows"] == 40
        open_for(toy_dataset, cut, tmp_path / "run")
        for file in sorted(sampled.glob("shard*")):
            assert file.read_bytes() == (cut / file.name).read_bytes(), file.name
    assert capfd.readouterr().err.count("written again from here on") == 2


def test_a_cache_whose_rows_have_changed_is_not_gone_on_with(
    toy_dataset: Path, teacher: Path, sampled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from distill import preparation

    cut = begun(sampled, tmp_path / "cut")
    plain = preparation.encode_data
    monkeypatch.setattr(
        preparation,
        "encode_data",
        lambda *args: (plain(*args)[0].__class__(plain(*args)[0].rows[::-1], 0, 0), plain(*args)[1]),
    )
    with pytest.raises(DataError, match="the rows have changed"):
        cache(cache_recipe(toy_dataset, teacher, cut))


def test_two_processes_do_not_write_one_cache_at_once(
    toy_dataset: Path, teacher: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    import threading
    import time

    from distill.targets.store import alone, written

    folder, found = tmp_path / "kept", []
    made = cache_recipe(toy_dataset, teacher, folder)
    cache(made)
    (folder / "summary.json").unlink()
    second = threading.Thread(target=lambda: found.append(cache(made)))
    with alone(folder):
        second.start()
        time.sleep(0.3)
        assert not found
        (folder / "summary.json").write_text('{"rows": 40}')
    second.join(60)
    assert found == [{"rows": 40}]
    assert sum(shard.rows for shard in written(folder)) == 40
    assert "waiting for it" in capfd.readouterr().err


def test_a_limit_that_one_draw_exceeds_is_refused(toy_dataset: Path, teacher: Path, tmp_path: Path):
    with pytest.raises(DataError, match=r"one draw takes .* max_bytes is 5"):
        cache(cache_recipe(toy_dataset, teacher, tmp_path / "kept", max_bytes=5))
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"valid": None}, "damaged: valid"),
        ({"recipe": None}, "damaged: recipe"),
        ({"source": "dreamt"}, "damaged: source"),
        ({"temperature": "warm"}, "damaged: temperature"),
        ({"valid": 400}, "says 400 ids"),
        ({"draws": 9}, "a record is damaged"),
    ],
)
def test_a_manifest_that_says_nonsense_is_refused(
    toy_dataset: Path, sampled: Path, tmp_path: Path, changes: dict, message: str
):
    from distill.preparation import prepare

    broken = shutil.copytree(sampled, tmp_path / "broken")
    manifest = json.loads((broken / "manifest.json").read_text()) | changes
    (broken / "manifest.json").write_text(json.dumps({k: v for k, v in manifest.items() if v is not None}))

    def read() -> None:
        parts = prepare(student_recipe(toy_dataset, broken, tmp_path / "run"), None)
        assert parts.targets is not None
        parts.targets(parts.material.encoded.rows[:2])

    with pytest.raises(DataError, match=message):
        read()


def test_bad_caches_are_one_line_and_no_traceback(toy_dataset: Path, teacher: Path, tmp_path: Path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="is a file"):
        cache(cache_recipe(toy_dataset, teacher, tmp_path / "file"))
    with pytest.raises(ConfigError, match="seed"):
        cache_recipe(toy_dataset, teacher, tmp_path / "kept", seed=-1)
    made = cache_recipe(toy_dataset, teacher, tmp_path / "kept", mode="top_k").model_copy(
        update={
            "teacher": None,
            "served": ServedPart(base_url="nowhere", model="m"),
            "tokenizer": str(teacher),
        }
    )
    with pytest.raises(ConfigError, match=r"served\.base_url"):
        cache(made)


def test_a_disk_that_fills_while_it_writes(
    toy_dataset: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import errno

    from distill import checkpoint

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_folder", full)
    with pytest.raises(DataError, match="free some space"):
        cache(cache_recipe(toy_dataset, teacher, tmp_path / "kept"))


def test_a_vocabulary_with_gaps_is_as_large_as_its_last_id(toy_dataset: Path, teacher: Path, tmp_path: Path):
    """Ids 299 to 302 mean nothing, 303 does: there are 300 tokens, and 304 ids."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from distill.align import vocabulary_size
    from distill.preparation import prepare

    gapped = tmp_path / "gapped"
    shutil.copytree(teacher, gapped)
    core = json.loads((gapped / "tokenizer.json").read_text())
    last = max(core["model"]["vocab"], key=core["model"]["vocab"].get)
    core["model"]["vocab"][last] = 303
    (gapped / "tokenizer.json").write_text(json.dumps(core))
    model = AutoModelForCausalLM.from_pretrained(gapped)
    model.resize_token_embeddings(304, mean_resizing=False)
    model.save_pretrained(gapped)
    tokenizer = AutoTokenizer.from_pretrained(gapped)
    assert (len(tokenizer), vocabulary_size(tokenizer)) == (300, 304)
    cache(cache_recipe(toy_dataset, gapped, tmp_path / "kept"))
    parts = prepare(student_recipe(toy_dataset, tmp_path / "kept", tmp_path / "run"), None)
    assert (parts.valid, parts.model.config.vocab_size) == (304, 304)


def test_a_cache_that_is_not_there_is_named(toy_dataset: Path, tmp_path: Path):
    from distill.jobs.train import train

    with pytest.raises(DataError, match="no cache stands there"):
        train(
            student_recipe(toy_dataset, tmp_path / "nowhere", tmp_path / "run").model_copy(update={"preflight": False})
        )
    assert not (tmp_path / "run").exists()
