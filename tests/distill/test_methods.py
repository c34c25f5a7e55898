"""Methods beside sft and kd, and what a run is watched by: each through the job, on toy data."""

import json
from pathlib import Path

import pytest
from toy import FEW, TINY, toy_problem, toy_recipe

from distill.recipe import TrainRecipe
from evalkit.errors import ConfigError, DataError
from evalkit.recipes import parse_recipe


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    for i in range(12):
        (folder / f"{i}.py").write_text((toy_problem(i).solution or "") * (1 + i % 3))
    (folder / "again.py").write_text(toy_problem(3).solution or "")
    (folder / "notes.txt").write_text("not read: another suffix")
    lines = [
        {"text": toy_problem(i).solution} if i % 2 else {"content": toy_problem(i).solution} for i in range(20, 40)
    ]
    (folder / "more.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def pretrain(corpus: Path, output: Path, **sections: object) -> TrainRecipe:
    base = {
        "method": "pretrain",
        "data": {"corpus": [str(corpus), str(corpus / "more.jsonl")], "max_length": 64, "held_out": 0.2},
        "output": str(output),
        "student": TINY,
        "tokenizer": {"vocab_size": 300},
        "eval": {"samples": 0, "every": 2, "metric": "loss"},
        "training": FEW,
    }
    return parse_recipe(TrainRecipe, base | sections)


def test_pretraining_on_a_corpus(corpus: Path, tmp_path: Path):
    from distill.jobs.train import train

    summary = train(pretrain(corpus, tmp_path / "run", training=FEW | {"max_steps": 40, "learning_rate": 1e-2}))
    scores = [json.loads(line) for line in (tmp_path / "run" / "evaluations.jsonl").read_text().splitlines()]
    losses = {score["step"]: score["loss"] for score in scores if score["suite"] == "held_out"}
    assert losses[40] < losses[2]
    assert summary["chosen_step"] == min(losses, key=lambda step: (losses[step], -step))
    assert all(score["passed"] is None and score["pass_at_1"] is None for score in scores)


def test_the_held_out_loss_is_that_of_plain_transformers(corpus: Path, tmp_path: Path):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from distill.corpus import read_corpus
    from distill.jobs.train import train

    made = pretrain(corpus, tmp_path / "run", eval={"samples": 0, "every": 0, "metric": "loss"})
    found = next(score["loss"] for score in train(made)["scores"])
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run" / "model")
    total, tokens = 0.0, 0
    for text in read_corpus(made.data).held_out:
        ids = [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
        for start in range(0, len(ids) - 1, 63):
            piece = torch.tensor([ids[start : start + 64]])
            with torch.no_grad():
                total += model(input_ids=piece, labels=piece).loss.item() * (piece.shape[1] - 1)
            tokens += piece.shape[1] - 1
    assert found == pytest.approx(total / tokens, rel=1e-5)


def test_a_corpus_is_read_once_and_held_out_by_content(corpus: Path, tmp_path: Path):
    from distill.corpus import read_corpus

    part = pretrain(corpus, tmp_path).data
    whole = read_corpus(part)
    assert whole.repeated == 1
    assert 0 < len(whole.held_out) < len(whole.learned)
    assert not set(whole.held_out) & set(whole.learned)
    fewer = read_corpus(part.model_copy(update={"corpus": [str(corpus)]}))
    assert set(fewer.held_out) <= set(whole.held_out)


@pytest.mark.parametrize("length", [1, 63, 64, 65, 127, 128, 200])
def test_pieces_of_a_document_lose_no_token(length: int):
    from distill.data import encode_texts
    from distill.tokenizer import train_tokenizer

    tokenizer = train_tokenizer(["x"], 270)
    rows = encode_texts(["".join(chr(97 + i % 26) for i in range(length))], tokenizer, 64).rows
    whole = [i for number, row in enumerate(rows) for i in row.input_ids[number > 0 :]]
    assert whole == [*tokenizer("".join(chr(97 + i % 26) for i in range(length)))["input_ids"], tokenizer.eos_token_id]
    assert sum(row.learned for row in rows) == length


def test_adapters_follow_the_seed(toy_dataset: Path, tmp_path: Path):
    import torch

    from distill.jobs.train import train

    train(toy_recipe(toy_dataset, tmp_path / "base"))
    sections = {"student": {"path": str(tmp_path / "base" / "model")}, "tokenizer": {}, "lora": {"r": 2}}
    losses = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        torch.rand(len(losses) + 1)  # whatever was drawn before has no part in it
        made = toy_recipe(toy_dataset, tmp_path / name, training=FEW | {"seed": seed}, **sections)
        losses.append([entry["grad_norm"] for entry in train(made)["log"]])
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"txt": "x"}', "line 1.*none of the fields"),
        ("{", "line 1.*no JSON"),
        ("", "holds no text"),
        ('{"text": " "}', "holds no text"),
        ('{"text": "a\\ud800"}', "line 1.*no Unicode"),
    ],
)
def test_bad_corpora(content: str, message: str, tmp_path: Path):
    from distill.corpus import read_corpus

    (tmp_path / "c.jsonl").write_text(content)
    with pytest.raises(DataError, match=message):
        read_corpus(pretrain(tmp_path, tmp_path).data.model_copy(update={"corpus": [str(tmp_path / "c.jsonl")]}))
    with pytest.raises(DataError, match="cannot read"):
        read_corpus(pretrain(tmp_path, tmp_path).data.model_copy(update={"corpus": [str(tmp_path / "absent.py")]}))


def test_twins_of_held_out_documents_are_not_learned(tmp_path: Path):
    """Twins: the same but for whitespace. What is held out does not change for them."""
    from distill.corpus import read_corpus

    texts = [f"def f_{i}():\n    return {i}\n" for i in range(40)]
    part = pretrain(tmp_path, tmp_path / "run").data.model_copy(update={"corpus": [str(tmp_path / "c.jsonl")]})

    def read(found: list[str]):
        (tmp_path / "c.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in found))
        return read_corpus(part)

    plain = read(texts)
    twins = [text.replace("    ", "\t") + "\n" for text in plain.held_out]
    both = read([*twins, *texts])
    assert plain.held_out
    assert set(plain.held_out) <= set(both.held_out)
    assert not {" ".join(text.split()) for text in both.held_out} & {" ".join(text.split()) for text in both.learned}
    assert len(both.learned) + len(both.held_out) + both.repeated == len(twins) + len(texts)


def test_a_loss_that_nothing_is_held_out_for_is_refused(corpus: Path, tmp_path: Path):
    from distill.jobs.train import train

    data = {"corpus": [str(corpus)], "max_length": 64, "held_out": 0}
    with pytest.raises(DataError, match="none is held out"):
        train(pretrain(corpus, tmp_path / "run", data=data))
    assert not (tmp_path / "run").exists()


def test_bfloat16_is_what_the_step_computes_in(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """transformers puts autocast around the model's own forward, which is not what is called here."""
    import torch

    from distill import sft, trainer
    from distill.jobs.train import train

    seen = []
    plain = trainer.tiled_loss
    for module in (trainer, sft):
        monkeypatch.setattr(
            module,
            "tiled_loss",
            lambda *args, **kwargs: seen.append(torch.is_autocast_enabled("cpu")) or plain(*args, **kwargs),
        )
    for bf16 in (True, False):
        training = FEW | {"max_steps": 1, "bf16": bf16}
        train(pretrain(corpus, tmp_path / f"pretrain_{bf16}", training=training, eval={"samples": 0}))
        assert seen.pop() is bf16
        dataset = toy_rows(tmp_path)
        train(toy_recipe(dataset, tmp_path / f"sft_{bf16}", training=training))
        assert seen.pop() is bf16


def toy_rows(folder: Path) -> Path:
    lines = [json.dumps({"problem": toy_problem(i).model_dump(mode="json")}) for i in range(8)]
    (folder / "train.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize("divergence", ["forward_kl", "jsd"])
def test_on_policy(divergence: str, toy_dataset: Path, tmp_path: Path):
    from distill.jobs.train import train

    train(toy_recipe(toy_dataset, tmp_path / "teacher"))
    made = toy_recipe(
        toy_dataset,
        tmp_path / "run",
        method="on_policy",
        teacher=str(tmp_path / "teacher" / "model"),
        tokenizer={},
        loss={"alpha": 0, "divergence": divergence},
        training=FEW | {"max_completion_length": 6},
    )
    summary = train(made)
    assert summary["steps"] == 4
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()


def test_on_policy_refuses_what_it_has_not(toy_dataset: Path, tmp_path: Path):
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    from distill.jobs.train import train
    from evalkit.errors import ModelError

    train(toy_recipe(toy_dataset, tmp_path / "teacher"))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "teacher" / "model")
    short = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_positions=24, n_embd=16, n_layer=1, n_head=2))
    short.save_pretrained(tmp_path / "short")
    tokenizer.save_pretrained(tmp_path / "short")
    base = {
        "method": "on_policy",
        "teacher": str(tmp_path / "teacher" / "model"),
        "tokenizer": {},
        "loss": {"alpha": 0},
        "training": FEW | {"max_completion_length": 6},
    }
    for changes, error, message in (
        ({"optimizer": {"name": "muon"}}, ConfigError, "optimizer.name"),
        ({"training": FEW | {"label_smoothing_factor": 0.1}}, ConfigError, "label_smoothing_factor"),
        ({"student": {"path": str(tmp_path / "short")}}, ModelError, "the student cannot read a row"),
    ):
        with pytest.raises(error, match=message):
            train(toy_recipe(toy_dataset, tmp_path / "run", **(base | changes)))
        assert not (tmp_path / "run").exists()
    path = str(tmp_path / "teacher" / "model")
    summary = train(toy_recipe(toy_dataset, tmp_path / "run", **base, student={"path": path}, lora={"r": 2}))
    assert summary["method"] == "on_policy+lora"


@pytest.mark.parametrize(("student_rows", "teacher_rows"), [(304, 320), (320, 304)])
def test_heads_padded_to_other_sizes_just_work(student_rows: int, teacher_rows: int, toy_dataset: Path, tmp_path: Path):
    """Qwen2.5-Coder's case in small: one tokenizer, heads of different sizes, and the padding has no part in it."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from distill.jobs.train import train

    train(toy_recipe(toy_dataset, tmp_path / "base", tokenizer={"vocab_size": 300}))
    for name, rows in (("student", student_rows), ("teacher", teacher_rows)):
        model = AutoModelForCausalLM.from_pretrained(tmp_path / "base" / "model")
        model.resize_token_embeddings(rows, mean_resizing=False)
        model.get_output_embeddings().weight.data[300:] = 50.0  # a padded row that took part would win every softmax
        model.save_pretrained(tmp_path / name)
        AutoTokenizer.from_pretrained(tmp_path / "base" / "model").save_pretrained(tmp_path / name)
    where = {"teacher": str(tmp_path / "teacher"), "student": {"path": str(tmp_path / "student")}, "tokenizer": {}}
    summary = train(toy_recipe(toy_dataset, tmp_path / "run", method="kd", loss={"alpha": 0.2}, **where))
    assert summary["log"][0]["divergence"] == pytest.approx(0, abs=1e-6)  # the same weights: nothing to learn
    assert summary["log"][0]["ce"] < 6


def test_packing_keeps_the_rows_and_uses_fewer_places(toy_dataset: Path, tmp_path: Path):
    import random

    from distill.batches import pack, plan
    from distill.jobs.train import train

    rng = random.Random(0)
    lengths = [rng.randint(3, 90) for _ in range(700)]
    packs = pack(lengths, 100, random.Random(1))
    assert sorted(i for members in packs for i in members) == list(range(700))
    assert all(sum(lengths[i] for i in members) <= 100 for members in packs)
    assert sum(lengths) / (100 * len(packs)) > 0.95
    assert plan(lengths, 100, batch=4, batches=5, seed=3) == plan(lengths, 100, batch=4, batches=9, seed=3)[:20]

    for method in ({}, {"method": "kd", "teacher": str(tmp_path / "sft" / "model"), "tokenizer": {}}):
        name = str(method.get("method", "sft"))
        made = toy_recipe(toy_dataset, tmp_path / name, data={"folder": str(toy_dataset), "packing": True}, **method)
        assert train(made)["steps"] == 4


def test_qlora(toy_dataset: Path, tmp_path: Path):
    """Where bitsandbytes is installed the frozen weights are in 4 bits and the adapter learns; where not, one line."""
    import importlib.util

    from distill.jobs.train import train

    train(toy_recipe(toy_dataset, tmp_path / "base", student={"layers": 1, "hidden": 64, "heads": 2}))
    made = toy_recipe(
        toy_dataset,
        tmp_path / "run",
        student={"path": str(tmp_path / "base" / "model")},
        tokenizer={},
        lora={"r": 4, "quantize": "4bit"},
    )
    if importlib.util.find_spec("bitsandbytes") is None:
        with pytest.raises(ConfigError, match="needs bitsandbytes"):
            train(made)
        return
    assert train(made)["method"] == "sft+lora"
    assert (tmp_path / "run" / "adapter" / "adapter_model.safetensors").exists()
    config = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert "quantization_config" not in config  # the product needs no bitsandbytes


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"method": "pretrain"}, "needs data.corpus"),
        ({"method": "kd"}, "exactly one of: teacher"),
        ({"method": "kd", "teacher": "t", "cache": "c"}, "exactly one of: teacher"),
        ({"method": "sft", "cache": "c"}, "cache is only used by"),
        ({"method": "on_policy", "cache": "c"}, "needs a teacher"),
        ({"method": "on_policy", "teacher": "t"}, "alpha 0"),
        ({"method": "on_policy", "teacher": "t", "loss": {"alpha": 0, "divergence": "skew_kl"}}, "has forward_kl"),
        ({"eval": {"metric": "loss"}}, "give data.corpus"),
        ({"eval": {"n": 4}}, "needs a temperature"),
        (
            {
                "method": "kd",
                "served": {"base_url": "http://h", "model": "m"},
                "tokenizer": {"path": "t"},
                "loss": {"temperature": 2},
            },
            "at temperature 1",
        ),
    ],
)
def test_recipes_that_mean_nothing_are_refused(sections: dict, message: str, toy_dataset: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match=message):
        toy_recipe(toy_dataset, tmp_path / "run", **sections)


def test_a_time_limit_that_strikes_is_not_measured(
    toy_dataset: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    from distill.jobs.train import train

    limited = {"every": 0, "samples": 3, "max_new_tokens": 4, "time_limit": 1e-6}
    summary = train(toy_recipe(toy_dataset, tmp_path / "run", eval=limited))
    (score,) = summary["scores"]
    assert (score["pass_at_1"], score["passed"], score["attempted"]) == (None, None, 0)
    assert "not measured: the limit" in capfd.readouterr().err


def test_pass_at_k_inside_training(toy_dataset: Path, tmp_path: Path):
    from distill.jobs.train import train

    sampled = {"every": 0, "samples": 3, "max_new_tokens": 4, "n": 2, "temperature": 0.8}
    (score,) = train(toy_recipe(toy_dataset, tmp_path / "run", eval=sampled))["scores"]
    assert score["attempted"] == 6
    assert set(score["pass_at_k"]) == {"2"}


def test_dropout_is_there_while_training_and_gone_afterwards(toy_dataset: Path, tmp_path: Path):
    from distill.jobs.train import train

    shape = {"layers": 1, "hidden": 16, "heads": 2}
    found = [
        train(toy_recipe(toy_dataset, tmp_path / f"{rate}", student={**shape, "dropout": rate})) for rate in (0.0, 0.5)
    ]
    assert found[0]["loss"] != found[1]["loss"]
    config = json.loads((tmp_path / "0.5" / "model" / "config.json").read_text())
    assert config["attention_dropout"] == 0.5  # transformers leaves it out in eval mode


def test_a_loss_near_zero_is_no_good_news(toy_dataset: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    """The floor is set so high that the first logged loss is below it: the alarm sounds once, and the student must
    show at once what it can do."""
    from distill.jobs.train import train

    watched = {"every": 0, "samples": 2, "max_new_tokens": 4}
    train(toy_recipe(toy_dataset, tmp_path / "run", eval=watched, guard={"loss_floor": 99, "warmup": 9}))
    assert capfd.readouterr().err.count("nats a token at step 1") == 1
    lines = (tmp_path / "run" / "evaluations.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 4]


def test_by_default_there_are_eight_evaluations(toy_dataset: Path, tmp_path: Path):
    from distill.jobs.train import train

    watched = {"samples": 1, "max_new_tokens": 2}
    train(toy_recipe(toy_dataset, tmp_path / "run", eval=watched, training=FEW | {"max_steps": 16}))
    lines = (tmp_path / "run" / "evaluations.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(2, 17, 2))
