"""Muon beside AdamW: which weights go where, one schedule for both, and a state that survives a checkpoint."""

import copy

import pytest
import torch

from distill.optimizer import muon
from distill.recipe import StudentPart
from distill.students import new_student, shape_of
from distill.tokenizer import train_tokenizer

RATES = {"learning_rate": 1e-3, "matrix_rate": 0.02, "weight_decay": 0.1, "betas": (0.9, 0.95)}


def model_of(seed: int = 0):
    part = StudentPart(layers=2, hidden=16, heads=2, qk_norm=True)
    return new_student(shape_of(part), train_tokenizer(["def f(): return 1"] * 3, 300), max_length=64, seed=seed)


def step(model, optimizer, ids):
    model(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    optimizer.zero_grad()


def test_every_trained_weight_is_in_exactly_one_group():
    model = model_of()
    optimizer = muon(model, **RATES)
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(held) == sorted({id(p) for p in model.parameters()})
    matrices = {id(p) for p in optimizer.parts[0].param_groups[0]["params"]}
    assert id(model.get_input_embeddings().weight) not in matrices
    assert {id(layer.self_attn.q_proj.weight) for layer in model.model.layers} <= matrices
    norms = [group for group in optimizer.param_groups if all(p.ndim == 1 for p in group["params"])]
    assert [group["weight_decay"] for group in norms] == [0.0]


def test_a_schedule_reaches_both_rates():
    optimizer = muon(model_of(), **RATES)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5)
    assert {group["lr"] for group in optimizer.param_groups} == {0.01, 5e-4}
    assert all(group["lr"] in (0.01, 5e-4) for part in optimizer.parts for group in part.param_groups)
    assert schedule.get_last_lr()


def test_a_loaded_state_continues_bit_equal():
    torch.manual_seed(0)
    ids = [torch.randint(3, 100, (2, 12)) for _ in range(4)]
    model = model_of()
    optimizer = muon(model, **RATES)
    for batch in ids[:2]:
        step(model, optimizer, batch)
    other = copy.deepcopy(model)
    again = muon(other, **RATES)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for batch in ids[2:]:
        step(model, optimizer, batch)
        step(other, again, batch)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_nothing_to_train_is_refused():
    model = model_of().requires_grad_(False)
    with pytest.raises(ValueError, match="no matrix"):
        muon(model, **RATES)
