"""Toy problems and the recipe of a run of a few steps over them."""

from pathlib import Path

from distill.recipe import TrainRecipe
from evalkit.recipes import parse_recipe
from evalkit.records import Problem

TINY = {"layers": 1, "hidden": 16, "heads": 2}
FEW = {"max_steps": 4, "per_device_train_batch_size": 4, "save_steps": 2, "logging_steps": 1}


def toy_problem(i: int) -> Problem:
    op, word = [("+", "sum"), ("-", "difference"), ("*", "product")][i % 3]
    prompt = f'def {word}_{i}(a, b):\n    """Return the {word} of a and b, plus {i}."""'
    return Problem(
        id=f"toy/{i}",
        suite="toy",
        prompt=prompt,
        entry_point=f"{word}_{i}",
        tests=(f"assert {word}_{i}(3, 2) == {eval(f'3 {op} 2')} + {i}",),
        solution=f"{prompt}\n    return a {op} b + {i}\n",
        category=["arithmetic", "lists"][i % 2],
    )


def toy_recipe(dataset: Path, output: Path, **sections: object) -> TrainRecipe:
    base = {
        "method": "sft",
        "student": TINY,
        "tokenizer": {"vocab_size": 300},
        "data": {"folder": str(dataset)},
        "output": str(output),
        "eval": {"samples": 0},
        "training": FEW,
    }
    return parse_recipe(TrainRecipe, base | sections)
