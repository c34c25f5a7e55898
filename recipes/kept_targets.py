"""What does each way of keeping a teacher cost the student? Five ways, three seeds each, on Python's own library.

    1. distill train   a teacher, pretrained on the modules of the standard library that this Python came with
    2. distill cache   what it thinks of the packages: sampled ids, the 12 and the 50 likeliest with the rest
    3. distill train   the same student from: the text alone (CE), the teacher itself (dense), each of the caches
    4. a table         held-out loss per token over the seeds, and the difference to dense, seed by seed

The differences are paired by seed (same first weights, same order of rows), with Student's t over the seeds. Some 70
minutes on two cores; kill it and run it again at any time. `--quick` is a rehearsal whose figures mean nothing.
"""

import os
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from distill.jobs.cache import CacheRecipe, cache
from distill.jobs.train import train
from distill.recipe import TrainRecipe
from evalkit.console import console, run_cli
from evalkit.recipes import load_recipe
from evalkit.runs import read_json

RECIPES, RUNS = Path(__file__).parent / "kept_targets", Path("runs/kept_targets")
_PACKAGES = """asyncio collections concurrent ctypes curses dbm email html http importlib json logging multiprocessing
re sqlite3 tomllib unittest urllib wsgiref xml xmlrpc zoneinfo"""
SEEDS = (0, 1, 2)
CACHES = {
    "sampled": ["mode=sampled", "draws=50"],
    "top 12": ["mode=top_k", "k=12"],
    "top 50": ["mode=top_k", "k=50"],
}
T_95 = 4.303
"""Student's t for three seeds (two degrees of freedom), two-sided 95%."""


def main() -> None:
    quick = ["training.max_steps=4"] if sys.argv[1:] == ["--quick"] else []
    modules, packages = corpora()
    train(load_recipe(TrainRecipe, RECIPES / "teacher.yaml", [corpus([*modules, *packages]), *quick]))
    for name, overrides in CACHES.items():
        summary = cache(load_recipe(CacheRecipe, RECIPES / "cache.yaml", [corpus(packages), output(name), *overrides]))
        console.print(f"{name}: {summary['bytes_per_token']} bytes a token", markup=False)
    losses = {way: [student(way, seed, packages, quick) for seed in SEEDS] for way in ("CE", "dense", *CACHES)}
    teacher = read_json(RUNS / "teacher" / "summary.json")
    print(f"teacher: {teacher['parameters']:,} parameters, held-out loss {held_out(teacher):.4f}")
    print(table(losses))


def corpora() -> tuple[list[str], list[str]]:
    """The single modules of the standard library, and its packages."""
    library = Path(sysconfig.get_path("stdlib"))
    return sorted(map(str, library.glob("*.py"))), [str(library / name) for name in _PACKAGES.split()]


def student(way: str, seed: int, packages: Sequence[str], quick: Sequence[str]) -> float:
    """Train one; its held-out loss."""
    source = {"CE": ["method=pretrain", "teacher=null", f"tokenizer.path={RUNS}/teacher/model"], "dense": []}.get(way)
    if source is None:
        source = ["teacher=null", f"cache={folder(way)}"]
    run = f"output={RUNS}/{way.replace(' ', '_')}_{seed}"
    overrides = [corpus(packages), run, f"training.seed={seed}", *source, *quick]
    return held_out(train(load_recipe(TrainRecipe, RECIPES / "student.yaml", overrides)))


def corpus(paths: Sequence[str]) -> str:
    return f"data.corpus=[{', '.join(paths)}]"


def folder(name: str) -> str:
    return f"{RUNS}/cache_{name.replace(' ', '_')}"


def output(name: str) -> str:
    return f"output={folder(name)}"


def held_out(summary: dict[str, Any]) -> float:
    return float(next(score["loss"] for score in summary["scores"] if score["suite"] == "held_out"))


def table(losses: dict[str, list[float]]) -> str:
    lines = ["| way | held-out loss, each seed | mean | minus dense, paired | 95% interval | bytes a token |"]
    lines.append("|---|---|---|---|---|---|")
    for way, found in losses.items():
        gaps = [one - other for one, other in zip(found, losses["dense"], strict=True)]
        half = T_95 * stdev(gaps) / len(gaps) ** 0.5
        kept = read_json(Path(folder(way)) / "summary.json")["bytes_per_token"] if way in CACHES else "-"
        lines.append(
            f"| {way} | {', '.join(f'{loss:.4f}' for loss in found)} | {mean(found):.4f} | {mean(gaps):+.4f} | "
            f"{mean(gaps) - half:+.4f} to {mean(gaps) + half:+.4f} | {kept} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    run_cli(main)
