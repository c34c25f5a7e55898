"""Rates and intervals that are known to waste a run."""

from collections.abc import Iterator

from distill.preflight.findings import Finding, ok, warn
from distill.preflight.machine import cpu_knows_bf16, on_gpu
from distill.preflight.subject import Subject

TOPIC = "settings"

LORA_RATE, LORA_ROWS = 1e-4, 1000
FULL_RATE = 1e-3
MOST_EPOCHS = 50


def check(subject: Subject) -> Iterator[Finding]:
    found = [*_rates(subject), *_length(subject), *_intervals(subject), *_precision(subject)]
    yield from found
    if not found:
        args = subject.args
        what = f"learning rate {args.learning_rate:g}, {args.max_steps:,} steps, a checkpoint every {args.save_steps:g}"
        yield ok(TOPIC, "usual", what, learning_rate=args.learning_rate, max_steps=args.max_steps)


def _rates(subject: Subject) -> Iterator[Finding]:
    recipe, rate, rows = subject.recipe, subject.args.learning_rate, len(subject.material.encoded.rows)
    if recipe.lora is not None and rate > LORA_RATE and rows < LORA_ROWS:
        yield warn(
            TOPIC,
            "lora_rate",
            f"learning rate {rate:g} with LoRA on {rows:,} rows",
            why=f"above {LORA_RATE:g} adapters learn few rows by heart and lose what the model could do. (A student of "
            "a few million weights needs more; see docs/decisions.md.)",
            fix=f"training.learning_rate={LORA_RATE:g}, more rows, or data.rehearsal above 0",
            learning_rate=rate,
            rows=rows,
        )
    if recipe.lora is None and recipe.student.path is not None and rate > FULL_RATE:
        yield warn(
            TOPIC,
            "full_rate",
            f"learning rate {rate:g} for a model that is trained already",
            why="rates above 1e-3 are for new students; here they undo in a few steps what was learned before.",
            fix="training.learning_rate between 1e-5 and 1e-3",
            learning_rate=rate,
        )


def _length(subject: Subject) -> Iterator[Finding]:
    steps, epochs = subject.args.max_steps, subject.planned.epochs
    if epochs > MOST_EPOCHS:
        yield warn(
            TOPIC,
            "epochs",
            f"{steps:,} steps read every row {epochs:,.0f} times",
            why=f"beyond {MOST_EPOCHS} times a student learns rows by heart.",
            fix=f"training.max_steps={max(1, int(steps * MOST_EPOCHS / epochs)):d} or fewer, or more rows",
            epochs=round(epochs, 1),
        )
    warmup = subject.args.get_warmup_steps(steps)
    if warmup >= steps:
        yield warn(
            TOPIC,
            "warmup",
            f"{warmup:,} steps of warm-up in a run of {steps:,}",
            why="the learning rate that the recipe names is never reached.",
            fix="training.warmup_steps below max_steps, or a share such as 0.05",
            warmup=warmup,
            steps=steps,
        )


def _intervals(subject: Subject) -> Iterator[Finding]:
    recipe, args = subject.recipe, subject.args
    every = args.save_steps if args.save_steps >= 1 else args.save_steps * args.max_steps
    kept = str(getattr(args.save_strategy, "value", args.save_strategy))
    if kept == "no" or (kept == "steps" and every > args.max_steps):
        what = "no checkpoint is kept" if kept == "no" else f"save_steps {every:g} in a run of {args.max_steps:,} steps"
        fix = f"training.save_steps={max(1, args.max_steps // 4)}"
        yield warn(TOPIC, "save_steps", what, why="a killed run starts again from zero.", fix=fix)
    if not (subject.material.validation or recipe.eval.suites or subject.material.held_out):
        yield warn(
            TOPIC,
            "eval",
            "nothing is evaluated",
            why="the last weights are kept, good or bad, and the collapse guard has nothing to look at.",
            fix="eval.samples above 0 (with a validation split), or eval.suites=[mini-humaneval]",
        )


def _precision(subject: Subject) -> Iterator[Finding]:
    if (subject.args.bf16 or subject.args.fp16) and not on_gpu(subject.args) and not cpu_knows_bf16():
        what = f"{'bf16' if subject.args.bf16 else 'fp16'} on a processor that does not compute in it"
        why = "it is emulated: slower than fp32, and less exact."
        yield warn(TOPIC, "bf16", what, why=why, fix="leave it out of training")
