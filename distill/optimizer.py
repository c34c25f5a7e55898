"""Muon for the matrices inside the blocks, AdamW for everything else, as one optimizer that a Trainer can drive.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) makes the momentum of a matrix orthogonal before it
is applied. Embedding, head, norms and biases are not matrices in its sense and stay with AdamW. Both halves are
PyTorch's own; this file only lets one scheduler and one checkpoint hold them together.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Muon, Optimizer


class Together(Optimizer):
    """Several optimizers over disjoint parameters: one step, one list of groups, one state."""

    def __init__(self, parts: list[Optimizer]) -> None:
        super().__init__([group for part in parts for group in part.param_groups], {})
        self.parts = parts
        self._share()

    def _share(self) -> None:
        """The groups are those of the parts, not copies: a scheduler that writes a rate here reaches them."""
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]  # as in torch
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts], "param_groups": [], "state": {}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self._share()


def muon(
    model: Any, *, learning_rate: float, matrix_rate: float, weight_decay: float, betas: tuple[float, float]
) -> Together:
    """Muon at `matrix_rate` for the trained 2-D weights of the blocks, AdamW at `learning_rate` for the rest.

    `model` is a transformers model or a PEFT model; matrices of adapters count, too. Norms and biases do not decay.
    Raises ValueError where no matrix is trained.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    outer = {id(p) for end in (base.get_input_embeddings(), base.get_output_embeddings()) for p in end.parameters()}
    trained: list[nn.Parameter] = [p for p in model.parameters() if p.requires_grad]
    matrices = [p for p in trained if p.ndim == 2 and id(p) not in outer]
    if not matrices:
        raise ValueError("no matrix is trained")
    tables = [p for p in trained if p.ndim == 2 and id(p) in outer]
    rest = [p for p in trained if p.ndim != 2]
    groups: list[dict[str, Any]] = [{"params": tables}, {"params": rest, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    parts: list[Optimizer] = [Muon(matrices, lr=matrix_rate, weight_decay=weight_decay)]
    if groups:  # adapters have matrices only
        parts.append(AdamW(groups, lr=learning_rate, betas=betas, weight_decay=weight_decay))
    return Together(parts)
