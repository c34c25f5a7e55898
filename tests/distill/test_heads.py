"""Heads of every make: tied, LoRA-wrapped, soft-capped; and vocabularies that differ in padding only."""

import pytest
import torch
from torch.nn import functional as F

from distill.losses import Head, LossSpec, tiled_loss
from distill.recipe import StudentPart
from distill.students import new_student, shape_of
from distill.tokenizer import train_tokenizer
from distill.trainer import head_of, hidden_states, labelled, targets

IDS = torch.tensor([[5, 6, 7, 8, 9], [9, 8, 7, 6, 5]])


def student(seed: int = 0, layers: int = 1):
    tokenizer = train_tokenizer(["def f(): return 1"], 270)
    return new_student(shape_of(StudentPart(layers=layers, hidden=16, heads=2)), tokenizer, max_length=64, seed=seed)


def ours(model, spec: LossSpec, teacher=None):
    where, labels, weights = targets(IDS, None)
    hidden = labelled(hidden_states(model, {"input_ids": IDS}), where)
    other = None if teacher is None else (labelled(hidden_states(teacher, {"input_ids": IDS}), where), head_of(teacher))
    return tiled_loss(hidden, head_of(model), labels, weights, spec, other).loss


def test_tied_head_gets_both_gradients():
    model = student()
    ours(model, LossSpec(model.config.vocab_size, alpha=1.0)).backward()
    tied = model.get_input_embeddings().weight.grad.clone()
    model.zero_grad()
    logits = model(input_ids=IDS).logits[:, :-1].flatten(0, 1)
    F.cross_entropy(logits, IDS[:, 1:].flatten(), reduction="sum").backward()
    torch.testing.assert_close(tied, model.get_input_embeddings().weight.grad, rtol=1e-5, atol=1e-6)


def test_lora_on_the_head_is_trained_through():
    from peft import LoraConfig, get_peft_model

    model = student()
    model.config.tie_word_embeddings = False
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj", "lm_head"], init_lora_weights=False))
    teacher, spec = student(1), LossSpec(model.config.vocab_size, alpha=0.5)
    ours(adapted, spec, teacher).backward()
    found = {name: p.grad.clone() for name, p in adapted.named_parameters() if p.grad is not None}
    assert any("lm_head.lora_A" in name for name in found)
    adapted.zero_grad()
    z, y = (m(input_ids=IDS).logits[:, :-1].flatten(0, 1) for m in (adapted, teacher))
    kl = F.kl_div(F.log_softmax(z, 1), F.log_softmax(y.detach(), 1), log_target=True, reduction="sum")
    (0.5 * kl + 0.5 * F.cross_entropy(z, IDS[:, 1:].flatten(), reduction="sum")).backward()
    for name, p in adapted.named_parameters():
        if p.grad is not None:
            torch.testing.assert_close(found[name], p.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_qwen_shaped_vocabularies():
    """152,064 rows against 151,936, tokenizers equal: the loss reads what is real and runs without a B x T x V tensor."""
    valid, width = 151_665, 8
    g = torch.Generator().manual_seed(0)
    hidden = torch.randn(6, width, generator=g).requires_grad_()
    ours_w, theirs_w = torch.randn(151_936, width, generator=g), torch.randn(152_064, width, generator=g)
    labels, other = torch.randint(0, valid, (6,), generator=g), torch.randn(6, width, generator=g)
    spec = LossSpec(valid, alpha=0.3, divergence="reverse_kl")
    loss = tiled_loss(hidden, Head(ours_w), labels, torch.ones(6), spec, (other, Head(theirs_w))).loss
    z, y = (hidden @ ours_w.T)[:, :valid].double(), (other @ theirs_w.T)[:, :valid].double()
    p, log_p, log_q = F.softmax(z, 1), F.log_softmax(z, 1), F.log_softmax(y, 1)
    expected = 0.3 * F.cross_entropy(z, labels, reduction="sum") + 0.7 * (p * (log_p - log_q)).sum()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
