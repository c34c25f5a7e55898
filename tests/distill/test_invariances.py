"""What must not change the gradient: how a batch is cut, padded, or wrapped; and what a killed run ends with."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from distill.batches import Batches
from distill.data import Tokens
from distill.losses import LossSpec, Sparse
from distill.recipe import StudentPart
from distill.students import new_student, shape_of
from distill.tokenizer import train_tokenizer

VOCAB = 259
"""Bytes and three special tokens: what a tokenizer has at least."""


class Catch(TrainerCallback):
    """Keeps the gradient of the first optimizer step."""

    grads: dict[str, torch.Tensor]

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        named = kwargs["model"].named_parameters()
        self.grads = {name: p.grad.clone() for name, p in named if p.grad is not None}


def rows(n: int = 8) -> list[Tokens]:
    g = torch.Generator().manual_seed(0)
    made = []
    for i in range(n):
        ids = torch.randint(3, VOCAB, (5 + 3 * i,), generator=g).tolist()
        weights = [0.5 + (i + j) % 3 for j in range(len(ids))]
        made.append(Tokens(ids, [-100] * (2 + i) + ids[2 + i :], weights))
    return made


class Wider(Batches):
    """Pads every batch by nine positions more than it needs."""

    def __call__(self, batch: Any) -> dict[str, Any]:
        made = super().__call__(batch)
        made["input_ids"] = torch.nn.functional.pad(made["input_ids"], (0, 9), value=self.pad_id)
        made["labels"] = torch.nn.functional.pad(made["labels"], (0, 9), value=-100)
        made["weights"] = torch.nn.functional.pad(made["weights"], (0, 9), value=1.0)
        return made


def drawn(found: Any) -> Sparse:
    """Targets of some rows, the same for a row wherever it comes."""
    parts = []
    for row in found:
        g = torch.Generator().manual_seed(len(row.input_ids))
        ids = torch.randint(0, VOCAB, (row.learned, 6), generator=g)
        parts.append((ids, torch.rand(row.learned, 6, generator=g)))
    probs = torch.cat([p for _, p in parts])
    return Sparse(torch.cat([i for i, _ in parts]), probs / probs.sum(1, keepdim=True), None, probs[:, 0])


ALONE = [[i] for i in range(8)]
PACKED = [[7], [0, 6, 1], [5, 2], [4, 3]]


def gradient(
    method: str,
    tmp_path: Path,
    *,
    accumulation: int = 1,
    processes: int = 1,
    collator: type[Batches] = Batches,
    members: list[list[int]] = ALONE,
    tiles: tuple[int | None, int | None] = (None, None),
) -> dict[str, Any]:
    import datasets

    tokenizer = train_tokenizer(["def f(): return 1"] * 3, VOCAB)
    student = new_student(shape_of(StudentPart(layers=2, hidden=16, heads=2)), tokenizer, max_length=64, seed=1)
    common = {
        "output_dir": str(tmp_path),
        "max_steps": 1,
        "per_device_train_batch_size": len(members) // accumulation // processes,
        "gradient_accumulation_steps": accumulation,
        "train_sampling_strategy": "sequential",
        "remove_unused_columns": False,
        "max_grad_norm": 0.0,
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
    }
    targets = drawn if method == "cached" else None
    parts = {
        "train_dataset": datasets.Dataset.from_dict({"members": members}),
        "data_collator": collator(rows(), 0, packed=members is not ALONE, targets=targets),
    }
    catch = Catch()
    if method in ("kd", "cached"):
        from transformers import TrainingArguments

        from distill.trainer import DistillTrainer

        teacher = new_student(shape_of(StudentPart(layers=1, hidden=24, heads=2)), tokenizer, max_length=64, seed=2)
        teacher = teacher if method == "kd" else None
        divergence = "jsd" if method == "kd" else "forward_kl"
        spec = LossSpec(len(tokenizer), 0.3, 2.0, divergence, token_tile=tiles[0], vocab_tile=tiles[1])
        trainer: Any = DistillTrainer(
            model=student, args=TrainingArguments(**common), teacher=teacher, spec=spec, callbacks=[catch], **parts
        )
    else:
        from trl import SFTConfig

        from distill.sft import PlainSFT

        args = SFTConfig(dataset_kwargs={"skip_prepare_dataset": True}, activation_checkpointing=False, **common)
        trainer = PlainSFT(model=student, args=args, processing_class=tokenizer, callbacks=[catch], **parts)
    trainer.train()
    return catch.grads


def gap(one: dict[str, Any], other: dict[str, Any]) -> float:
    """Relative distance of two gradients, taken as one long vector."""
    assert one.keys() == other.keys()
    far = sum((one[k] - other[k]).double().square().sum() for k in one)
    return float((far / sum(one[k].double().square().sum() for k in one)).sqrt())


@pytest.mark.parametrize("method", ["sft", "kd", "cached"])
def test_gradients_do_not_depend_on_how_a_batch_is_cut_or_filled(method: str, tmp_path: Path):
    whole = gradient(method, tmp_path)
    assert gap(whole, gradient(method, tmp_path, accumulation=8)) < 1e-6
    assert gap(whole, gradient(method, tmp_path, collator=Wider)) < 1e-6
    assert gap(whole, gradient(method, tmp_path, members=PACKED)) < 1e-6
    assert gap(whole, gradient(method, tmp_path, members=PACKED, accumulation=4)) < 1e-6


@pytest.mark.parametrize("method", ["kd", "cached"])
@pytest.mark.parametrize("tiles", [(1, 7), (5, 100), (64, 259)])
def test_gradients_do_not_depend_on_tiles(method: str, tiles: tuple[int, int], tmp_path: Path):
    assert gap(gradient(method, tmp_path), gradient(method, tmp_path, tiles=tiles)) < 1e-6


def test_packed_rows_do_not_see_each_other():
    tokenizer = train_tokenizer(["def f(): return 1"] * 3, VOCAB)
    model = new_student(shape_of(StudentPart(layers=2, hidden=16, heads=2)), tokenizer, max_length=64, seed=1)
    found = Batches(rows(), 0, packed=True)([{"members": [3, 1, 2]}, {"members": [0]}])
    with torch.no_grad():
        together = model(input_ids=found["input_ids"], position_ids=found["position_ids"], use_cache=False).logits[0]
        start = 0
        for i in (3, 1, 2):
            ids = torch.tensor([rows()[i].input_ids])
            torch.testing.assert_close(together[start : start + ids.shape[1]], model(input_ids=ids).logits[0])
            start += ids.shape[1]


def test_sft_gradient_is_the_weighted_mean_over_tokens(tmp_path: Path):
    """The contract of distill/sft.py: what TRL's patched forward would give, from a plain model and plain autograd."""
    tokenizer = train_tokenizer(["def f(): return 1"] * 3, VOCAB)
    model = new_student(shape_of(StudentPart(layers=2, hidden=16, heads=2)), tokenizer, max_length=64, seed=1)
    losses, total = [], 0.0
    for row in rows():
        logits = model(input_ids=torch.tensor([row.input_ids])).logits[0, :-1]
        labels = torch.tensor(row.labels[1:])
        weights = torch.tensor(row.weights[1:]) * (labels != -100)
        each = torch.nn.functional.cross_entropy(logits, labels, reduction="none", ignore_index=-100)
        losses.append((each * weights).sum())
        total += float(weights.sum())
    (sum(losses) / total).backward()
    expected = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert gap(expected, gradient("sft", tmp_path)) < 1e-6


def test_trl_leaves_no_patched_forward(tmp_path: Path):
    """A copy of a model with TRL's patch would run the original's weights."""
    import datasets
    from trl import SFTConfig

    from distill.sft import PlainSFT

    tokenizer = train_tokenizer(["def f(): return 1"] * 3, VOCAB)
    model = new_student(shape_of(StudentPart(layers=1, hidden=16, heads=2)), tokenizer, max_length=64, seed=1)
    args = SFTConfig(
        output_dir=str(tmp_path),
        use_cpu=True,
        bf16=False,
        report_to="none",
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    PlainSFT(
        model=model, args=args, train_dataset=datasets.Dataset.from_dict({"members": ALONE}), processing_class=tokenizer
    )
    assert "forward" not in vars(model)
