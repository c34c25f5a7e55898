"""The whole loop on two CPU cores: teacher, proven data, student, measurement, report. Start it with `make quickstart`.

    1. synth      6,000 tasks from the built-in teacher, each proven by running it
    2. distill    a larger model on them, then a 1M student by logit KL and the same student by plain SFT
    3. distill    a model of seven categories, and adapters that teach it the other three
    4. evalkit    everything on 1,000 held-out tasks and on mini-HumanEval
    5. evalkit    one table and runs/quickstart/report.html

Kill it at any moment and run it again: finished work is not redone. Recipes: recipes/quickstart/*.yaml.
With --quick everything is a twentieth of its size: a rehearsal of two minutes whose figures mean nothing.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing here comes from a hub
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # threads that wait do so briefly: programs under test run beside them

from evalkit.console import console, run_cli
from evalkit.jobs.report import report
from evalkit.jobs.run import RunRecipe
from evalkit.jobs.run import run as evaluate
from evalkit.recipes import load_recipe

RECIPES = Path(__file__).parent / "quickstart"
RUNS = Path("runs/quickstart")
QUICK = {
    "data": ["tasks=450", "splits.heldout=60", "splits.validation=20"],
    "train": [
        "training.max_steps=30",
        "training.save_steps=15",
        "eval.samples=10",
        "eval.every=0",
        "guard.enabled=false",
    ],
}
"""What --quick changes in the recipes."""
OTHER_THREE = ("file_io", "error_handling", "object_oriented")


def main() -> None:
    started = time.monotonic()
    quick = QUICK if sys.argv[1:] == ["--quick"] else {"data": [], "train": []}
    from synth.jobs.generate import generate
    from synth.recipe import GenerateRecipe

    step("1. synth: ask, prove, keep")
    generate(load_recipe(GenerateRecipe, RECIPES / "data.yaml", quick["data"]))

    from distill.jobs.train import train
    from distill.recipe import TrainRecipe

    for number, name in enumerate(("teacher", "kd", "sft", "base", "lora")):
        step(f"2.{number + 1} distill: {name}")
        train(load_recipe(TrainRecipe, RECIPES / f"{name}.yaml", quick["train"]))

    step("3. evalkit: what they can do")
    untrained(RUNS / "untrained")
    rows = [measure(*model) for model in models()]
    forgetting = seven_and_three()

    page = report([RUNS], RUNS / "report.html", "potstill quickstart")
    print(table(rows))
    print(differences())
    print(forgetting)
    print(f"\n{page}   {time.monotonic() - started:.0f} s in this run")


def models() -> list[tuple[str, dict[str, str]]]:
    """Row name and where the answers come from."""
    folders = {
        "untrained": "untrained",
        "SFT": "sft/model",
        "KD": "kd/model",
        "LoRA": "lora/model",
        "teacher": "teacher/model",
    }
    rows = [(name, {"model": str(RUNS / folder)}) for name, folder in folders.items()]
    rows.insert(1, ("retrieval", {"retrieval": str(RUNS / "data/train.jsonl")}))
    return rows


def measure(name: str, source: dict[str, str]) -> dict[str, Any]:
    """Both evaluations of one model, greedy."""
    row: dict[str, Any] = {"name": name}
    for key, suite, file in (
        ("heldout", "heldout", str(RUNS / "data/heldout.jsonl")),
        ("mini", "mini-humaneval", None),
    ):
        tokens = 40 if name == "untrained" else 110  # it never ends by itself, and every token takes its time
        recipe = RunRecipe(suite=suite, file=file, max_new_tokens=tokens, **source)
        row[key] = evaluate(recipe, RUNS / "evaluations" / f"{name.lower()}-{key}")
    row["parameters"] = parameters(source.get("model"))
    return row


def parameters(folder: str | None) -> int | None:
    """Weights of a model folder; None where there is no model."""
    if folder is None:
        return None
    from safetensors import safe_open

    with safe_open(Path(folder) / "model.safetensors", "pt") as file:
        return sum(file.get_tensor(name).numel() for name in file.keys())  # noqa: SIM118  # no dict, only keys()


def untrained(folder: Path) -> None:
    """The student as it comes from its shape, before it has learned anything."""
    if (folder / "model.safetensors").exists():
        return
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, set_seed

    set_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(RUNS / "kd/model"))
    AutoTokenizer.from_pretrained(RUNS / "kd/model").save_pretrained(folder)
    model.save_pretrained(folder)


def seven_and_three() -> str:
    """What the adapters taught and what they cost: the base and the adapted model on both groups of categories."""
    from evalkit.evaluation import summarise
    from evalkit.jobs.run import read_rows
    from synth.dataset import read_split
    from synth.records import Split

    source = {"model": str(RUNS / "base/model")}
    measure("base", source)
    new = {s.problem.id for s in read_split(RUNS / "data", Split.HELDOUT) if s.problem.category in OTHER_THREE}
    lines = ["", "LoRA on three categories            seven it knew      three it learned"]
    for label, name in (("before (base of seven)", "base"), ("after (rank 8)", "lora")):
        rows = read_rows(RUNS / "evaluations" / f"{name}-heldout")
        known = summarise([row for row in rows if row.problem_id not in new])
        learned = summarise([row for row in rows if row.problem_id in new])
        lines.append(f"  {label:<30} {rate(known):>20} {rate(learned):>20}")
    return "\n".join(lines)


def differences() -> str:
    """What the held-out tasks say about KD against SFT and against its teacher, pair by pair."""
    from evalkit.jobs.compare import compare

    evaluations = RUNS / "evaluations"
    lines = []
    for name in ("sft", "teacher"):
        (found,) = compare(evaluations / f"{name}-heldout", [evaluations / "kd-heldout"])
        if (interval := found["difference"]) is None:
            continue
        low, high = 100 * interval["low"], 100 * interval["high"]
        verdict = "these two differ" if low > 0 or high < 0 else "no difference shown"
        lines.append(
            f"KD minus {name:<8}{100 * interval['estimate']:+6.1f} points ({low:+.1f} to {high:+.1f}): {verdict}"
        )
    return "\n".join(["", *lines])


def table(rows: list[dict[str, Any]]) -> str:
    """The final table. Rates over 20 tasks are shown as counts: their interval spans some 40 points."""
    head = f"{'':<11}{'parameters':>11}{'held-out pass@1 (95%)':>24}{'mini':>8}"
    head += f"{'valid':>7}{'collapse':>10}{'repeat':>8}{'tok/s':>8}"
    lines = ["", head]
    for row in rows:
        held, mini = row["heldout"], row["mini"]
        count = f"{row['parameters']:,}" if row["parameters"] else "-"
        lines.append(
            f"{row['name']:<11}{count:>11}{rate(held):>24}{mini['passed']:>5}/{mini['scored']}"
            f"{percent(held['syntax_valid']):>7}{percent(held['mode_collapse']):>10}{percent(held['repetition']):>8}"
            f"{held['tokens_per_second'] or 0:>8.0f}"
        )
    mini = rows[0]["mini"]
    lines.append(
        f"\nHeld-out: {rows[0]['heldout']['scored']} tasks whose solutions are in no training row."
        f" Mini: mini-HumanEval, {mini['scored']} tasks,\nwhere only differences of several tasks mean anything."
        " Intervals are over tasks: another seed of training\nmoves a student by some four points more."
    )
    return "\n".join(lines)


def rate(summary: dict[str, Any]) -> str:
    """pass@1 with its interval, or what it is not."""
    if summary["pass_at_1"] is None:
        return "not measured"
    interval = summary["pass_at_1_interval"]
    return f"{100 * summary['pass_at_1']:.1f}% ({100 * interval['low']:.1f}-{100 * interval['high']:.1f})"


def percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}%"


def step(text: str) -> None:
    console.print(f"\n[bold]{text}[/]")


if __name__ == "__main__":
    sys.exit(run_cli(main))
