"""One variant of bench/distill.py in a process of its own: seconds of a step, and peak memory above the loaded models.

    python bench/workers/training.py VARIANT --vocab 4096 --steps 6

Variants: gkd (TRL's GKDTrainer), plain_kd (the loop that one would write by hand: head and divergence in chunks of 256
tokens, by autograd), kd, kd_epochs (three epochs, the teacher reads each row once), cached and sft (ours), bare_ce and
teacher_forward (plain PyTorch), kernel and trl_kernel (the losses alone), evaluation (one, inside training).
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BATCH, LENGTH = 8, 256
BATCHES, EPOCHS = 4, 3
"""Of `kd_epochs`. GKD's teacher reads the rows in every epoch: its steps are all alike."""

STUDENT = {"layers": 5, "hidden": 192, "heads": 6, "intermediate": 512}
TEACHER = {"layers": 7, "hidden": 320, "heads": 5, "intermediate": 864}


def model(shape: dict[str, int], vocab: int) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocab,
        hidden_size=shape["hidden"],
        intermediate_size=shape["intermediate"],
        num_hidden_layers=shape["layers"],
        num_attention_heads=shape["heads"],
        num_key_value_heads=shape["heads"],
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=1,
    )
    return LlamaForCausalLM(config)


def resident(key: str) -> int:
    """VmRSS or VmHWM of this process in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"no {key} in /proc/self/status: this bench needs Linux")


def reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def measure(variant: str, vocab: int, steps: int) -> dict[str, float]:
    """Median step in seconds and peak bytes above the loaded models, in this process."""
    import torch

    torch.manual_seed(0)
    student = model(STUDENT, vocab)
    taught = variant in ("gkd", "plain_kd", "kd", "kd_epochs", "teacher_forward")
    teacher = model(TEACHER, vocab).eval() if taught else None
    ids = torch.randint(2, vocab, (BATCH, LENGTH))
    reset_peak()
    loaded = resident("VmRSS")
    if variant == "evaluation":
        times = _evaluation(student)
    elif variant in ("kernel", "trl_kernel"):
        times = _loop(_kernel(variant, vocab), steps)
    elif variant in ("plain_kd", "bare_ce", "teacher_forward"):
        times = _loop(_bare(variant, student, teacher, ids), steps)
    elif variant == "kd_epochs":
        several = torch.randint(2, vocab, (BATCHES * BATCH, LENGTH))
        times = _trainer(variant, student, teacher, several, BATCHES * EPOCHS)
        first, later = times[1:BATCHES], times[BATCHES:]
        times = [(statistics.median(first) + (EPOCHS - 1) * statistics.median(later)) / EPOCHS]
    else:
        times = _trainer(variant, student, teacher, ids, steps)
    return {"seconds": statistics.median(times[2:] or times), "memory": float(resident("VmHWM") - loaded)}


def _loop(step: Callable[[], None], steps: int) -> list[float]:
    times = []
    for _ in range(steps):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return times


def _bare(variant: str, student: Any, teacher: Any, ids: Any) -> Callable[[], None]:
    import torch

    if variant == "teacher_forward":

        def forward() -> None:
            with torch.no_grad():
                teacher(input_ids=ids, use_cache=False)

        return forward
    optimizer = torch.optim.AdamW(student.parameters(), 1e-4, fused=True)

    def chunks() -> None:
        """Forward KL, 256 tokens at a time; the body's gradient comes from what the chunks left at its end."""
        log_softmax, kl_div = torch.nn.functional.log_softmax, torch.nn.functional.kl_div
        with torch.no_grad():
            theirs = teacher.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1].flatten(0, 1)
        hidden = student.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1].flatten(0, 1)
        end = hidden.detach().requires_grad_()
        for start in range(0, len(end), 256):
            part = slice(start, start + 256)
            with torch.no_grad():
                log_p = log_softmax(teacher.lm_head(theirs[part]), -1)
            log_q = log_softmax(student.lm_head(end[part]), -1)
            (kl_div(log_q, log_p, log_target=True, reduction="sum") / len(end)).backward()
        hidden.backward(end.grad)

    def step() -> None:
        if variant == "plain_kd":
            chunks()
        else:
            student(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def _kernel(variant: str, vocab: int) -> Callable[[], None]:
    """The loss alone, forward KL, and its gradients for hidden states and head: the same tensors for both."""
    import torch

    g = torch.Generator().manual_seed(0)
    width, other = STUDENT["hidden"], TEACHER["hidden"]
    hidden = torch.randn(BATCH, LENGTH, width, generator=g).requires_grad_()
    weight = (torch.randn(vocab, width, generator=g) / width**0.5).requires_grad_()
    theirs, head = torch.randn(BATCH, LENGTH, other, generator=g), torch.randn(vocab, other, generator=g) / other**0.5
    labels, count = torch.randint(0, vocab, (BATCH * LENGTH,), generator=g), BATCH * LENGTH

    def ours() -> None:
        from distill.losses import Head, LossSpec, tiled_loss

        flat, taught = hidden.reshape(-1, width), (theirs.reshape(-1, other), Head(head))
        sums = tiled_loss(flat, Head(weight), labels, torch.ones(count), LossSpec(vocab), taught)
        torch.autograd.grad(sums.loss / count, (hidden, weight))

    def trl() -> None:
        from trl.trainer.distillation_trainer import _chunked_divergence_loss

        mask = torch.ones(BATCH, LENGTH)
        loss, _, _ = _chunked_divergence_loss(hidden, theirs, weight, head, mask, 0.0)
        torch.autograd.grad(loss, (hidden, weight))

    return ours if variant == "kernel" else trl


def _evaluation(student: Any) -> list[float]:
    """One evaluation as a recipe has it by default: 100 problems, up to 128 new tokens, judged in the sandbox. The
    student knows nothing, so that hardly any answer ends before the limit: the dearest case."""
    from distill.recipe import EvalPart
    from distill.scoring import scorer
    from evalkit.prompting import PROMPTING
    from evalkit.sandbox import Sandbox
    from evalkit.suites import load_suite

    problems = list(load_suite("mini-humaneval")) * 5
    with Sandbox() as sandbox:
        score = scorer({"validation": problems}, _tokenizer(), sandbox, PROMPTING, EvalPart())
        return [score(student, 0)[0].seconds]


def _trainer(variant: str, student: Any, teacher: Any, ids: Any, steps: int) -> list[float]:
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        times: list[float]

        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            now = time.perf_counter()
            if state.global_step:
                self.times.append(now - self.last)
            else:
                self.times = []
            self.last = now

    rows = [{"input_ids": row, "labels": row} for row in ids.tolist()]
    rows *= -(-(steps + 1) * BATCH // len(rows))
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        trainer = _build(variant, student, teacher, _as_data(variant, rows), clock, folder, steps + 1)
        trainer.train()
    return clock.times


OURS = ("kd", "kd_epochs", "cached", "sft")


def _as_data(variant: str, rows: list[dict[str, Any]]) -> Any:
    """The dataset that the trainer reads: ours names rows, which its collator looks up."""
    import datasets

    if variant not in OURS:
        return datasets.Dataset.from_list(rows)
    from distill.data import Tokens

    different = BATCH * (BATCHES if variant == "kd_epochs" else 1)
    ROWS[:] = [Tokens(row["input_ids"], row["labels"], [1.0] * len(row["labels"])) for row in rows[:different]]
    return datasets.Dataset.from_dict({"members": [[i % different] for i in range(len(rows))]})


ROWS: list[Any] = []
"""What our collator looks rows up in."""


def _batches(variant: str, vocab: int) -> Any:
    from distill.batches import Batches

    return Batches(ROWS, 0, targets=_kept(vocab) if variant == "cached" else None, named=variant == "kd_epochs")


def _kept(vocab: int) -> Any:
    """A dozen ids per token, as `distill cache` writes them, read from bytes at each step as in training."""
    import numpy as np

    from distill.targets.codec import Form, encode_drawn
    from distill.targets.drawing import Drawn
    from distill.targets.reading import Kept

    rng, form, places = np.random.default_rng(0), Form(vocab, draws=50), {}
    for row in ROWS[:BATCH]:
        n = row.learned
        ids, counts = np.sort(rng.integers(0, vocab, (n, 12)), 1), np.ones((n, 12), np.int64)
        counts[:, 0] += 50 - 12
        drawn = Drawn(np.full(n, 12), ids.reshape(-1), counts.reshape(-1), np.ones(n, np.float32))
        places[row.digest] = (np.frombuffer(encode_drawn(drawn, form), np.uint8), n)

    class Rows(dict):  # type: ignore[type-arg]
        row = dict.__getitem__

    return Kept(Rows(places), form)


def _build(variant: str, student: Any, teacher: Any, data: Any, clock: Any, folder: str, steps: int) -> Any:
    common: dict[str, Any] = {
        "output_dir": folder,
        "max_steps": steps,
        "per_device_train_batch_size": BATCH,
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
        "logging_steps": 1000,
        "remove_unused_columns": False,
        "learning_rate": 1e-4,
    }
    shared: dict[str, Any] = {"model": student, "train_dataset": data, "callbacks": [clock]}
    if variant in ("kd", "kd_epochs", "cached"):
        from transformers import TrainingArguments

        from distill.losses import LossSpec
        from distill.targets.remembered import Remembered
        from distill.trainer import DistillTrainer

        spec = LossSpec(student.config.vocab_size)
        remembered = (
            Remembered(Path(folder), [row.learned for row in ROWS], "bench") if variant == "kd_epochs" else None
        )
        return DistillTrainer(
            args=TrainingArguments(train_sampling_strategy="sequential", **common),
            data_collator=_batches(variant, spec.valid),
            teacher=teacher,
            spec=spec,
            remembered=remembered,
            **shared,
        )
    tokenizer = _tokenizer()
    quiet = {"activation_checkpointing": False, "dataset_kwargs": {"skip_prepare_dataset": True}}
    if variant == "sft":
        from trl import SFTConfig

        from distill.sft import PlainSFT

        args = SFTConfig(**common, **quiet)
        return PlainSFT(args=args, data_collator=_batches(variant, 0), processing_class=tokenizer, **shared)
    from trl.experimental.gkd import GKDConfig, GKDTrainer
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    return GKDTrainer(
        teacher_model=teacher,
        args=GKDConfig(lmbda=0.0, beta=0.0, temperature=1.0, **common, **quiet),
        data_collator=DataCollatorForLanguageModeling(pad_token_id=0),
        processing_class=tokenizer,
        **shared,
    )


def _tokenizer() -> Any:
    """The trainers insist on one; the data is tokenized already."""
    from distill.tokenizer import train_tokenizer

    return train_tokenizer(["def f(): pass"], 270)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variant")
    parser.add_argument("--vocab", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True)
    options = parser.parse_args()
    print(json.dumps(measure(options.variant, options.vocab, options.steps)))


if __name__ == "__main__":
    main()
