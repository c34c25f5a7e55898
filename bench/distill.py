"""Speed and memory of training, in one run: ours against TRL's GKDTrainer and against bare PyTorch loops.

A 3M student, a 10M teacher, batch 8 x 256, every token scored, forward KL at T = 1, fp32. Each variant runs in its own
process, in turns, so that a drifting machine hits all of them. Peak memory is the process's high-water mark above
what it held with the models loaded. Prints each ratio beside its target with the spread over rounds; exits 1 where one
is missed. `--quick` answers in about a minute and a half, at the small vocabulary only, with bars 20% wider.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != Path(__file__).resolve().parent]
"""The benches bear the packages' names: a script's own folder, first on the path, would hide the package."""

WORKER = Path(__file__).parent / "workers" / "training.py"

VARIANTS = (
    "gkd",
    "plain_kd",
    "kd",
    "kd_epochs",
    "cached",
    "sft",
    "bare_ce",
    "teacher_forward",
    "kernel",
    "trl_kernel",
    "evaluation",
)
"""What each is: bench/workers/training.py."""

TARGETS: dict[int, dict[str, tuple[str, float]]] = {
    32000: {
        "tokens/s, kd over GKD, one epoch": (">=", 2.5),
        "tokens/s, kd over GKD, three epochs": (">=", 2.5),
        "memory, kd over GKD": ("<=", 0.4),
    },
    4096: {"tokens/s, kd over GKD, one epoch": (">=", 1.4), "tokens/s, kd over GKD, three epochs": (">=", 1.4)},
}
COMMON_TARGETS = {
    "tokens/s, kd over plain chunks, one epoch": (">=", 1.0),
    "step, kd over (bare CE + teacher forward)": ("<=", 1.15),
    "step, cached teacher over bare CE": ("<=", 1.15),
    "step, sft over bare CE": ("<=", 1.1),
    "eight default evaluations, share of 30 minutes": ("<=", 0.05),
    "loss and gradients, ours over TRL DistillationTrainer's": ("<=", 1.0),
}


def run_worker(variant: str, vocab: int, steps: int) -> dict[str, float]:
    command = [sys.executable, str(WORKER), variant, "--vocab", str(vocab), "--steps", str(steps)]
    quiet = {"HF_HUB_OFFLINE": "1", "TRL_EXPERIMENTAL_SILENCE": "1", "TOKENIZERS_PARALLELISM": "false"}
    result = subprocess.run(command, env={**os.environ, **quiet}, capture_output=True, text=True, check=False)
    if result.returncode:
        raise SystemExit(f"{variant} failed:\n{result.stderr[-2000:]}")
    return json.loads(result.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def ratios(found: dict[str, dict[str, float]]) -> dict[str, float]:
    """The ratios of one round."""
    from distill.recipe import EVALUATIONS

    second = {name: facts["seconds"] for name, facts in found.items()}
    return {
        "tokens/s, kd over GKD, one epoch": second["gkd"] / second["kd"],
        "tokens/s, kd over GKD, three epochs": second["gkd"] / second["kd_epochs"],
        "tokens/s, plain chunks over GKD, one epoch": second["gkd"] / second["plain_kd"],
        "tokens/s, kd over plain chunks, one epoch": second["plain_kd"] / second["kd"],
        "memory, kd over GKD": found["kd"]["memory"] / found["gkd"]["memory"],
        "step, kd over (bare CE + teacher forward)": second["kd"] / (second["bare_ce"] + second["teacher_forward"]),
        "step, cached teacher over bare CE": second["cached"] / second["bare_ce"],
        "step, sft over bare CE": second["sft"] / second["bare_ce"],
        "eight default evaluations, share of 30 minutes": EVALUATIONS * second["evaluation"] / 1800,
        "loss and gradients, ours over TRL DistillationTrainer's": second["kernel"] / second["trl_kernel"],
    }


def report(vocab: int, rounds: list[dict[str, dict[str, float]]], slack: float) -> tuple[dict[str, Any], bool]:
    """Print one vocabulary's table; returns its figures and whether every target is met."""
    print(f"\nvocabulary {vocab}")
    for name in VARIANTS:
        seconds = [r[name]["seconds"] * 1000 for r in rounds]
        memory = [r[name]["memory"] / 2**20 for r in rounds]
        print(f"  {name:16} {statistics.median(seconds):7.0f} ms/step   {statistics.median(memory):6.0f} MiB")
    figures, fine = {}, True
    per_round = [ratios(r) for r in rounds]
    for name in per_round[0]:
        values = [r[name] for r in per_round]
        middle = statistics.median(values)
        side, bar = {**COMMON_TARGETS, **TARGETS[vocab]}.get(name, ("", 0.0))
        ok = side == "" or (middle >= bar / slack if side == ">=" else middle <= bar * slack)
        fine &= ok
        verdict = "" if side == "" else f"target {side} {bar:g}  {'met' if ok else 'MISSED'}"
        print(f"  {name:56} {middle:5.2f}  ({min(values):.2f} to {max(values):.2f})  {verdict}")
        figures[name] = {"median": middle, "rounds": values, "target": f"{side} {bar:g}".strip(), "met": ok}
    return figures, fine


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--vocab", type=int)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--rounds", type=int)
    options = parser.parse_args()
    vocabularies = [options.vocab] if options.vocab else [4096] if options.quick else [4096, 32000]
    steps, count, slack = (
        options.steps or (5 if options.quick else 12),
        options.rounds or (1 if options.quick else 3),
        1.2,
    )
    found, fine = {}, True
    for vocab in vocabularies:
        rounds = [{name: run_worker(name, vocab, steps) for name in VARIANTS} for _ in range(count)]
        figures, ok = report(vocab, rounds, slack if options.quick else 1.0)
        found[str(vocab)], fine = figures, fine and ok
    if options.json:
        machine = {"machine": platform.processor() or platform.machine(), "cores": os.cpu_count()}
        from evalkit.runs import environment

        options.json.write_text(json.dumps({"machine": machine, **environment(), "ratios": found}, indent=2) + "\n")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
