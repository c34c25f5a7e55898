"""How much memory the run will take, from shapes alone, against what this machine has left.

Sources of the formulas: weights, gradients and Adam's two moments are Rajbhandari et al. 2020 (ZeRO, arXiv 1910.02054,
section 3.1) in fp32: 4 + 4 + 8 bytes per trained weight; Muon keeps one moment for a matrix (Jordan et al. 2024).
Activations count what autograd keeps of each block, as Korthikanti et al. 2022 (arXiv 2205.05198, section 4.1) do, but
for a gated feed-forward and attention that never holds its matrix (FlashAttention, Dao et al. 2022). The loss keeps
tiles, never B x T x V (distill.losses.tiles).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from distill.losses.tiles import VOCAB_TILE, LossSpec, token_tile
from distill.preflight.findings import ANYWAY, Boundary, Finding, ok, refuse, warn
from distill.preflight.machine import free_memory, on_gpu, readable
from distill.preflight.subject import Subject
from distill.preflight.vocabulary import table_parameters
from distill.recipe import TrainRecipe

TOPIC = "memory"

NEARLY = 0.85
"""Share of the free memory from which it is tight: an estimate is no promise."""


@dataclass(frozen=True)
class Sizes:
    """A model in numbers."""

    parameters: int
    stored: int
    """Bytes of its weights, as they lie in memory now."""
    trained: int
    matrices: int
    """Trained weights that Muon would take."""
    layers: int
    hidden: int
    intermediate: int
    key_value: int
    """Width of keys, and of values."""


def sizes_of(model: Any) -> Sizes:
    config = model.config
    hidden, heads = config.hidden_size, config.num_attention_heads
    key_value = (getattr(config, "num_key_value_heads", None) or heads) * (
        getattr(config, "head_dim", None) or hidden // heads
    )
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    matrices = sum(p.numel() for _, p in trained if p.ndim == 2)
    table = table_parameters(model) if len(trained) == len(list(model.parameters())) else 0
    return Sizes(
        parameters=sum(p.numel() for p in model.parameters()),
        stored=sum(p.numel() * p.element_size() for p in model.parameters()),
        trained=sum(p.numel() for _, p in trained),
        matrices=matrices - table,
        layers=config.num_hidden_layers,
        hidden=hidden,
        intermediate=getattr(config, "intermediate_size", None) or 4 * hidden,
        key_value=key_value,
    )


def activations(sizes: Sizes, tokens: int, *, checkpointed: bool = False) -> int:
    """Bytes that autograd keeps of `tokens` positions, in fp32.

    Per token and block: 8 h for the two norms (input, its float copy, normalised, scaled) and the residuals, h for the
    query, twice (before and after its rotation), as much for keys and values, 2 h for what attention gives and what its
    projection reads, 4 i in the gated feed-forward (gate, its SiLU, up, their product). With checkpointing only the
    input of each block, and one block whole, with the gradients of all that, while it is computed again.
    """
    h, i = sizes.hidden, sizes.intermediate
    block = 8 * h + 2 * h + 4 * sizes.key_value + 2 * h + 4 * i
    blocks = sizes.layers * h + 2 * block if checkpointed else sizes.layers * block
    return 4 * tokens * (blocks + 4 * h)


def loss_bytes(sizes: Sizes, tokens: int, valid: int, *, teacher: bool, device: str = "cpu") -> int:
    """Hidden states at the labels and their gradient, the head's gradient, and a tile of logits with what is made of
    it: on a GPU 4 buffers of a student's, 3 more of a teacher's; on a CPU one of each, the rest in small parts."""
    tile = min(tokens, token_tile(device, LossSpec(valid))) * min(valid, VOCAB_TILE)
    buffers = (7 if teacher else 4) if device == "cuda" else (2 if teacher else 1)
    return 4 * (3 * tokens * sizes.hidden + valid * sizes.hidden + tile * buffers)


def on_policy_bytes(tokens: int, valid: int) -> int:
    """TRL's loss holds logits of all positions: the student's, their gradient and log-probabilities, the teacher's, and
    the mixture."""
    return 4 * tokens * valid * 6


def optimizer_bytes(recipe: TrainRecipe, sizes: Sizes) -> int:
    muon = sizes.matrices if recipe.optimizer.name == "muon" else 0
    return 8 * (sizes.trained - muon) + 4 * muon


def estimate(
    recipe: TrainRecipe, args: Any, student: Sizes, teacher: Sizes | None, rows: int, width: int, valid: int
) -> dict[str, int]:
    """Bytes by what they are for, at the peak of a step: `rows` x `width` positions at once."""
    tokens, device = rows * width, "cuda" if on_gpu(args) else "cpu"
    if recipe.method == "on_policy":
        tokens = rows * (width + int(args.max_completion_length))
    checkpointed = bool(args.gradient_checkpointing or args.activation_checkpointing)
    half = 0.6 if args.bf16 or args.fp16 else 1.0
    loss = loss_bytes(student, tokens, valid, teacher=teacher is not None, device=device)
    found = {
        "weights": student.stored,
        "gradients": 4 * student.trained,
        "optimizer": optimizer_bytes(recipe, student),
        "activations": int(half * activations(student, tokens, checkpointed=checkpointed)),
        "loss": on_policy_bytes(tokens, valid) if recipe.method == "on_policy" else loss,
    }
    if teacher is not None:  # of a frozen model one block is alive at a time
        alive = activations(teacher, tokens) // max(1, teacher.layers)
        found["teacher"] = teacher.stored + alive
    return found


def check(subject: Subject) -> Iterator[Finding]:
    """The models are loaded already: what they hold is no longer among what is free."""
    assert subject.parts is not None
    parts, gpu = subject.parts, on_gpu(subject.args)
    student = sizes_of(subject.trainer.model)
    teacher = sizes_of(parts.teacher) if parts.teacher is not None else None
    rows, width = subject.planned.widest
    found = estimate(subject.recipe, subject.args, student, teacher, rows, width, parts.valid)
    loaded = student.stored + (teacher.stored if teacher is not None else 0)
    needed, free = sum(found.values()), free_memory(gpu) + loaded
    where = "GPU memory" if gpu else "memory"
    said = ", ".join(f"{name} {readable(size)}" for name, size in found.items())
    what = f"about {readable(needed)} of {readable(free)} {where}: {said} ({rows} x {width} tokens at once)"
    facts = {"needed": needed, "free": free, "parts": found, "rows": rows, "width": width, "gpu": gpu}
    if needed <= NEARLY * free:
        yield ok(TOPIC, "estimate", what, **facts)
        return
    fix = (
        "a smaller per_device_train_batch_size with more gradient_accumulation_steps, or activation_checkpointing=true"
    )
    if needed <= free:
        yield warn(TOPIC, "estimate", what, why="it is tight: an estimate is no promise.", fix=fix, **facts)
        return
    why = "the run would be killed in its first steps."
    yield refuse(TOPIC, "estimate", what, why=why, fix=f"{fix}; {ANYWAY}", boundary=Boundary.CONFIG, **facts)
