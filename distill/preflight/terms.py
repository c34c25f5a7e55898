"""Which term of the loss teaches? A term can be most of the loss and hardly any of the gradient, and the other way."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from distill.losses import tiled_loss
from distill.preflight.findings import Finding, ok, warn
from distill.preflight.subject import Subject

TOPIC = "loss"

LEAST = 0.01
"""Share of the gradient below which a term with a weight does nothing."""

WORK = 2e11
"""Floating-point operations that may be spent in training: about a second or a few on a small machine."""

THOROUGH = 2e12
"""The same for the command."""


def check(subject: Subject) -> Iterator[Finding]:
    alpha = subject.recipe.loss.alpha
    if subject.recipe.method != "kd" or alpha in (0, 1):
        only = "cross-entropy" if subject.recipe.method != "on_policy" and alpha > 0 else "the divergence"
        only = "cross-entropy" if subject.recipe.method in ("sft", "pretrain") else only
        yield ok(TOPIC, "terms", f"one term: {only}")
        return
    if subject.trainer.teacher is None and subject.trainer.data_collator.targets is None:
        yield ok(TOPIC, "terms", "not measured: the teacher has not been asked yet")
        return
    shares, cosine, rows = measure(subject)
    names = {"ce": "cross-entropy", "divergence": subject.recipe.loss.divergence}
    loss, gradient = (
        ", ".join(f"{names[name]} {_percent(part[of])}" for name, part in shares.items()) for of in ("loss", "gradient")
    )
    what = f"of the loss: {loss}; of the gradient: {gradient}; cosine between them {cosine:.2f}"
    facts: dict[str, Any] = {**shares, "cosine": round(cosine, 4), "rows": rows}
    idle = [names[name] for name, part in shares.items() if (part["gradient"] or 0.0) < LEAST]
    if not idle:
        yield ok(TOPIC, "terms", what, **facts)
        return
    why = f"{' and '.join(idle)} has a weight in the recipe, and no say in what is learned."
    fix = "another loss.alpha, or 0 or 1 to leave the idle term out (before the first step; shares move in training)"
    yield warn(TOPIC, "terms", what, why=why, fix=fix, **facts)


Figures = dict[str, dict[str, float | None]]


def measure(subject: Subject) -> tuple[Figures, float, int]:
    """Loss and gradient of each term at the recipe's weights, on rows of the first planned batch.

    Gradients are taken beside the model, not into it; mode and random state are left as they were. Returns the terms'
    figures, the cosine between their gradients, and the number of rows.
    """
    import torch

    from distill.scoring import undisturbed
    from distill.trainer import head_of, hidden_states, kept_targets, labelled, targets

    trainer, alpha = subject.trainer, subject.recipe.loss.alpha
    model, items = trainer.model, _affordable(subject)
    device = next(model.parameters()).device
    batch = {name: part.to(device) for name, part in trainer.data_collator(items).items() if name != "rows"}
    where, labels, weights = targets(batch["labels"], batch["weights"])
    trained = [p for p in model.parameters() if p.requires_grad]
    values, gradients = [], []
    with undisturbed(model):
        teacher = kept_targets(batch, trainer.head)
        if trainer.teacher is not None:
            with torch.no_grad():
                teacher = (labelled(hidden_states(trainer.teacher, batch), where), head_of(trainer.teacher))
        for weight, only in ((alpha, 1.0), (1 - alpha, 0.0)):
            hidden, spec = labelled(hidden_states(model, batch), where), replace(trainer.spec, alpha=only)
            sums = tiled_loss(hidden, head_of(model), labels, weights, spec, teacher)
            loss = sums.loss / weights.sum() * weight
            values.append(loss.item())
            gradients.append(torch.autograd.grad(loss, trained, allow_unused=True))
    pairs = [(a.float(), b.float()) for a, b in zip(*gradients, strict=True) if a is not None and b is not None]
    norms = [sum(pair[i].square().sum().item() for pair in pairs) ** 0.5 for i in (0, 1)]
    product = sum((a * b).sum().item() for a, b in pairs)
    known = math.isfinite(sum(values)) and sum(values) > 0  # of draws without their entropy the divergence is unknown
    found: Figures = {
        name: {
            "weight": weight,
            "value": value if known else None,
            "loss": value / sum(values) if known else None,
            "norm": norm,
            "gradient": norm / sum(norms) if sum(norms) else 0.0,
        }
        for name, weight, value, norm in zip(("ce", "divergence"), (alpha, 1 - alpha), values, norms, strict=True)
    }
    return found, product / (norms[0] * norms[1]) if all(norms) else 0.0, len(items)


def _affordable(subject: Subject) -> list[dict[str, Any]]:
    """As many rows of the first batch as `WORK` pays for (6 operations per weight and token and term, 2 for a
    teacher's, Kaplan et al. 2020); one at least."""
    assert subject.parts is not None
    weights = sum(p.numel() for p in subject.trainer.model.parameters())
    teacher = sum(p.numel() for p in subject.parts.teacher.parameters()) if subject.parts.teacher is not None else 0
    rows, width = len(subject.planned.batches[0]), subject.planned.widest[1]
    each = (12 * weights + 2 * teacher) * width
    few = max(1, min(rows, int((THOROUGH if subject.thorough else WORK) / each)))
    return [{"members": members} for members in subject.planned.batches[0][:few]]


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{share:.1%}"
