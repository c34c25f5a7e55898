"""Logit distillation on given data: transformers' Trainer with our loss on hidden states.

Each step: hidden states of the student, hidden states of the teacher, the positions that carry a label, tiled loss.
Normalised by the sum of the weights of all labelled tokens over all processes and accumulation steps.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from transformers import Trainer

from distill.data import IGNORE
from distill.losses import Head, LossSpec, LossSums, Sparse, Teacher, tiled_loss
from distill.optimizer import muon
from distill.targets.remembered import Remembered, not_kept


def head_of(model: Any) -> Head:
    """The head of a causal language model, of a PEFT model too (an adapted head is merged differentiably)."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    module, softcap = base.get_output_embeddings(), getattr(base.config, "final_logit_softcapping", None)
    weight = module.weight
    if hasattr(module, "lora_A"):
        for name in module.active_adapters:
            weight = weight + module.get_delta_weight(name)
    scale = getattr(base.config, "logit_scale", None) or 1 / (getattr(base.config, "logits_scaling", None) or 1)
    if scale != 1:  # Cohere multiplies its logits, Granite divides them
        weight = weight * scale
    return Head(weight, getattr(module, "bias", None), softcap)


def hidden_states(model: Any, inputs: dict[str, Any], compiled: Callable[[Any], Any] = lambda body: body) -> Tensor:
    """Final hidden states [B, T, H], after the last norm: what the head reads. Through the wrapper where there is one.

    A model wrapped for several processes must be called as a whole, or its gradients are not exchanged; then the head
    is asked for one position only. `compiled` gives what is called in the body's place.
    """
    given = {name: inputs[name] for name in ("input_ids", "position_ids") if name in inputs}
    if isinstance(model, torch.nn.parallel.DistributedDataParallel):
        output = model(**given, output_hidden_states=True, use_cache=False, logits_to_keep=1)
        return output.hidden_states[-1]
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    decoder = base.get_decoder()
    if decoder is None or decoder is base:  # a family that does not say where its head begins
        return base(**given, output_hidden_states=True, use_cache=False, logits_to_keep=1).hidden_states[-1]
    return compiled(decoder)(**given, use_cache=False).last_hidden_state


def labelled(hidden: Tensor, where: Tensor) -> Tensor:
    """Rows of hidden [B, T, H] at the flat positions `where`, [N, H]."""
    return hidden.reshape(-1, hidden.shape[-1]).index_select(0, where)


def targets(labels: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Of labels, weights [B, T]: flat positions whose next token is learned, those tokens, their weights; each [N]."""
    shifted = torch.nn.functional.pad(labels[:, 1:], (0, 1), value=IGNORE).reshape(-1)
    where = torch.nonzero(shifted != IGNORE).squeeze(1)
    given = weights if weights is not None else torch.ones(labels.shape, device=labels.device)
    return where, shifted[where], given.reshape(-1)[where + 1]


def kept_targets(inputs: dict[str, Any], head: Head | None = None) -> Teacher | None:
    """What the batch brings of a teacher, a position per label, in their order; None where it brings none. Hidden
    states are read by the teacher's `head`."""
    if "target_states" in inputs:
        assert head is not None, "hidden states come with the head that reads them"
        return _exact(inputs["target_states"]), head
    if "target_ids" not in inputs:
        return None
    return Sparse(*(inputs.get(f"target_{name}") for name in Sparse._fields))  # type: ignore[arg-type]  # ids and probs are there


def _exact(states: Tensor) -> Tensor:
    """A teacher's states so that the head's product comes out in fp32 at least: on a GPU it does so from half precision
    too."""
    return states if states.is_cuda or states.dtype.itemsize >= 4 else states.float()


def total_weight(batches: list[Any]) -> Tensor:
    """Sum of weights of all labelled tokens of some batches."""
    return torch.stack([targets(batch["labels"], batch.get("weights"))[2].sum() for batch in batches]).sum()


class Ours:
    """Mixin for a Trainer: losses are sums, divided by the weight of all tokens of the step on all processes.

    And the optimizer of the recipe, where it is not one of the Trainer's own.
    """

    loss_is_scaled_for_ga = True
    matrix_rate: float | None = None
    """Muon's rate for the matrices; None: the Trainer's own optimizer."""

    def create_optimizer(self, *args: Any, **kwargs: Any) -> Any:
        if self.matrix_rate is None:
            return super().create_optimizer(*args, **kwargs)  # type: ignore[misc]
        if self.optimizer is None:  # type: ignore[has-type]
            arguments = self.args  # type: ignore[attr-defined]
            self.optimizer = muon(
                self.model,  # type: ignore[attr-defined]
                learning_rate=arguments.learning_rate,
                matrix_rate=self.matrix_rate,
                weight_decay=arguments.weight_decay,
                betas=(arguments.adam_beta1, arguments.adam_beta2),
            )
        return self.optimizer

    def create_accelerator_and_postprocess(self) -> None:
        """Without accelerate's own compilation: it is of the whole model, and the losses here call its body."""
        args = self.args  # type: ignore[attr-defined]
        backend, args.torch_compile_backend = args.torch_compile_backend, None
        super().create_accelerator_and_postprocess()  # type: ignore[misc]
        args.torch_compile_backend = backend

    def compiled(self, body: Any) -> Any:
        """The body, compiled where the recipe says `torch_compile`. Evaluation goes on calling the plain one: it would
        be compiled anew for each length of its cache."""
        args = self.args  # type: ignore[attr-defined]
        if not args.torch_compile:
            return body
        if id(body) not in self._bodies:
            chosen = {"backend": args.torch_compile_backend, "mode": args.torch_compile_mode}
            self._bodies[id(body)] = torch.compile(body, dynamic=True, **chosen)
        return self._bodies[id(body)]

    @cached_property
    def _bodies(self) -> dict[int, Any]:
        """Compiled bodies by the id of the plain one."""
        return {}

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> tuple[list[Any], Tensor | None]:
        batches, _ = super().get_batch_samples(*args, **kwargs)  # type: ignore[misc]
        if not batches:
            return batches, None
        local = total_weight(batches).to(self.args.device)  # type: ignore[attr-defined]
        return batches, self.accelerator.gather(local).sum()  # type: ignore[attr-defined]

    def autocast_smart_context_manager(self, cache_enabled: bool | None = True) -> Any:
        """The Trainer leaves this to a wrapper around the model's own forward, which the losses here do not call."""
        return self.accelerator.autocast()  # type: ignore[attr-defined]

    def scaled(self, loss: Tensor, inputs: dict[str, Any], total: Tensor | None) -> Tensor:
        """A local sum as a share of the global mean; times the processes, because their gradients are averaged."""
        if total is None:
            total = self.accelerator.gather(total_weight([inputs])).sum()  # type: ignore[attr-defined]
        processes: int = self.accelerator.num_processes  # type: ignore[attr-defined]
        return loss / total * processes


class DistillTrainer(Ours, Trainer):
    """Trainer whose loss is alpha * CE + (1 - alpha) * T^2 * D(teacher || student) on completion tokens."""

    def __init__(
        self,
        *args: Any,
        spec: LossSpec,
        teacher: Any = None,
        head: Head | None = None,
        remembered: Remembered | None = None,
        **kwargs: Any,
    ) -> None:
        """`teacher`: a model; None where batches bring targets, or where alpha is 1. `head`: the teacher's, where
        batches bring its hidden states. `remembered`: where it finds what the teacher made of rows that it has read;
        batches then name theirs."""
        super().__init__(*args, **kwargs)
        self.spec, self.remembered = spec, remembered
        self.head = head.to(self.args.device, _exact(head.weight).dtype) if head is not None else None
        self.teacher = None
        if spec.alpha < 1 and teacher is not None:
            self.teacher = teacher.to(self.args.device).eval().requires_grad_(False)
        self.last_sums: LossSums | None = None
        """Sums of the last step, per weight: for the log."""

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        where, labels, weights = targets(inputs["labels"], inputs.get("weights"))
        teacher = kept_targets(inputs, self.head)
        if self.teacher is not None:
            teacher = (self._taught(inputs, where), head_of(self.teacher))
        hidden = labelled(hidden_states(model, inputs, self.compiled), where)
        sums = tiled_loss(hidden, head_of(self.model), labels, weights, self.spec, teacher)
        local = weights.sum()
        self.last_sums = LossSums(sums.loss.detach() / local, sums.ce / local, sums.divergence / local)
        loss = self.scaled(sums.loss, inputs, num_items_in_batch)
        return (loss, {}) if return_outputs else loss

    def _taught(self, inputs: dict[str, Any], where: Tensor) -> Tensor:
        """The teacher's states [N, H] at the positions: those it had when it first read the rows, where they are known.

        What was read a moment ago is taken from there too: a step that a resumed run takes again has then the very
        numbers that it had before.
        """
        known = self.remembered.read(inputs["rows"]) if self.remembered is not None else None
        if known is None:
            with torch.no_grad():
                states = labelled(hidden_states(self.teacher, inputs, self.compiled), where)
            known = self._keep(inputs, states)
        return _exact(known.to(where.device))

    def _keep(self, inputs: dict[str, Any], states: Tensor) -> Tensor:
        """Remember states, and give back what is remembered. Where that cannot be written the run goes on without."""
        if self.remembered is None:
            return states
        try:
            self.remembered.keep(inputs["rows"], states)
        except OSError as error:
            not_kept(error)
            self.remembered.forget()
            self.remembered = None
            return states
        found = self.remembered.read(inputs["rows"])
        return states if found is None else found

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if self.last_sums is not None and self.spec.alpha < 1 and "loss" in logs:
            logs = {**logs, "ce": self.last_sums.ce.item(), "divergence": self.last_sums.divergence.item()}
        super().log(logs, start_time)
