"""Is a model what the losses take it for? A few forwards of a few tokens, before the first step, on the model itself.

positions      it can read the longest row. Learned positions end somewhere; rotary ones go on.
the head       our hidden states times our head are the model's own logits. A family that scales or caps them in a
               way we do not know, or whose head is no plain matrix, would be trained on another loss than said.
packed rows    what a row reads does not depend on what stands before it in its pack, and is what it reads alone.
               Models that find no ends in `position_ids` (ALiBi, recurrent and convolutional ones, OPT) would learn
               from strangers' text.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from distill.batches import Batches
from distill.data import Tokens
from distill.scoring import undisturbed
from distill.trainer import head_of, hidden_states
from evalkit.errors import ModelError
from evalkit.models.generation import context_length

PROBE = 24
"""Tokens of a row that is looked at."""


def check_contract(model: Any, rows: Sequence[Tokens], *, who: str, valid: int, packed: bool) -> None:
    """Raises ModelError where the model of that name ("student", "teacher") does not keep the contract."""
    longest = max(rows, key=lambda row: len(row.input_ids)).input_ids
    first, second = longest[:PROBE], longest[: PROBE // 2][::-1]
    with torch.no_grad(), undisturbed(model):
        check_positions(model, longest, who)
        alone = _read(model, [second], who, packed=False)
        _check_head(model, second, alone, who, valid)
        if packed:
            other = [(i + 1) % valid for i in first]
            behind = [_read(model, [row, second], who, packed=True)[:, len(first) :] for row in (first, other)]
            if _far(*behind) > (1e-5 if alone.dtype == torch.float32 else 1e-3) or not _close(behind[0], alone):
                raise ModelError(
                    f"the {who} cannot keep packed rows apart: a row reads otherwise behind another than alone",
                    where="data.packing",
                    fix="set data.packing: false",
                )


def check_positions(model: Any, ids: list[int], who: str) -> None:
    """Raises ModelError where the model has not the positions for so long a row. Rotary ones go on behind their end."""
    if (context_length(model) or len(ids)) < len(ids):
        with torch.no_grad(), undisturbed(model):
            _read(model, [ids], who, packed=False)


def _read(model: Any, rows: list[list[int]], who: str, *, packed: bool) -> Tensor:
    """Hidden states of the rows as one."""
    made = Batches([Tokens(row, row, [1.0] * len(row)) for row in rows], 0, packed=packed)
    batch = made([{"members": list(range(len(rows)))}])
    device = next(model.parameters()).device
    try:
        return hidden_states(model, {name: part.to(device) for name, part in batch.items()})
    except (IndexError, RuntimeError) as error:
        width, room = batch["input_ids"].shape[1], context_length(model)
        has = "" if room is None else f" (it has {room} positions)"
        raise ModelError(
            f"the {who} cannot read a row of {width} tokens{has}: {str(error).splitlines()[0]}",
            fix="lower data.max_length",
        ) from error


def _check_head(model: Any, ids: list[int], hidden: Tensor, who: str, valid: int) -> None:
    head = head_of(model)
    if head.weight.dim() != 2 or head.weight.shape[1] != hidden.shape[-1] or not head.weight.is_floating_point():
        raise ModelError(
            f"the {who}'s head is no matrix of numbers that can be read ({tuple(head.weight.shape)}, "
            f"{head.weight.dtype}), so its loss cannot be computed",
            fix="leave the head out of the quantisation",
        )
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    theirs = base(input_ids=torch.tensor([ids], device=hidden.device), use_cache=False).logits[..., :valid].float()
    if not torch.isfinite(theirs).all():
        raise ModelError(f"the {who} gives logits that are no numbers", fix="its weights are broken; make it again")
    ours = hidden.float() @ head.weight.float().T
    ours = ours if head.bias is None else ours + head.bias.float()
    ours = ours if head.softcap is None else head.softcap * torch.tanh(ours / head.softcap)
    if not _close(ours[..., :valid].to(hidden.dtype), theirs):
        raise ModelError(
            f"the {who} ({type(base).__name__}) makes its logits in a way that is not known here: hidden states times "
            "head are something else",
            fix="use a model of another family (Llama, Qwen, Gemma, Mistral, GPT-2, Cohere, Granite, ...)",
        )


def _far(one: Tensor, other: Tensor) -> float:
    return float((one.float() - other.float()).norm() / other.float().norm().clamp_min(1e-30))


def _close(ours: Tensor, theirs: Tensor) -> bool:
    """Up to the rounding of what the model computes in."""
    return _far(ours, theirs) < (1e-4 if ours.dtype == torch.float32 else 3e-2)
