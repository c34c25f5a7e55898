"""Supervised fine-tuning through TRL. The one file that touches private parts of TRL (pinned to 1.16.0).

What is private: SFTTrainer patches `model.forward` on the instance with a chunked head, which costs 1.5 to 2.9 times a
plain step on a CPU, gives the logits of all positions, and follows the original weights into a deep copy. We take the
patch off again and compute the cross-entropy ourselves (distill.losses with alpha 1), at labelled positions only.
Contract test: tests/distill/test_invariances.py.
"""

from typing import Any

from trl import SFTTrainer

from distill.losses import LossSpec, tiled_loss
from distill.trainer import Ours, head_of, hidden_states, labelled, targets


class PlainSFT(Ours, SFTTrainer):
    """SFTTrainer with the loss of a plain step: sum of cross-entropies over labelled tokens / their global count."""

    def __init__(self, *args: Any, valid: int | None = None, **kwargs: Any) -> None:
        """`valid`: ids below it are real; None: all rows of the head are."""
        super().__init__(*args, **kwargs)
        self.valid = valid
        base = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
        base.__dict__.pop("forward", None)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        where, labels, weights = targets(inputs["labels"], inputs.get("weights"))
        hidden = labelled(hidden_states(model, inputs, self.compiled), where)
        head = head_of(self.model)
        spec = LossSpec(self.valid or head.weight.shape[0], alpha=1.0, label_smoothing=self.args.label_smoothing_factor)
        loss = self.scaled(tiled_loss(hidden, head, labels, weights, spec).loss, inputs, num_items_in_batch)
        return (loss, {}) if return_outputs else loss
