"""Flaws planted at a known share, so that the recall of every filter can be measured. Labels never stand in an answer."""

import hashlib
import json
import random
import re
from dataclasses import dataclass, replace

from evalkit.records import Level
from synth.teacher.task import CATEGORIES, Task, compose

KINDS = ("wrong_solution", "syntax_error", "vacuous_test", "duplicate", "prose", "truncated_json")


@dataclass(frozen=True)
class Asked:
    """What a question asks for, read from its marker lines."""

    category: str
    level: Level
    number: int


def read_question(text: str) -> Asked | None:
    """The markers of prompts/task.j2; None where they are missing or name nothing known."""
    found = dict(re.findall(r"^(Category|Level|Task number): *(\S+)\s*$", text, re.MULTILINE))
    try:
        asked = Asked(found["Category"], Level(found["Level"]), int(found["Task number"]))
    except (KeyError, ValueError):
        return None
    return asked if asked.category in CATEGORIES else None


def truth(text: str, share: float, seed: int) -> str:
    """The flaw planted in the answer to this question, `none` for a clean one."""
    asked = read_question(text)
    return "none" if asked is None else _flaw(asked, share, seed)


def _flaw(asked: Asked, share: float, seed: int) -> str:
    draw = hashlib.sha256(f"flaw:{seed}:{asked.category}:{asked.level}:{asked.number}".encode()).digest()
    if int.from_bytes(draw[:6], "big") / 2**48 >= share:
        return "none"
    kind = KINDS[draw[6] % len(KINDS)]
    return "prose" if kind == "duplicate" and _earlier(asked, share, seed) is None else kind


def answer(text: str, share: float, seed: int, *, again: bool = False) -> str | None:
    """The answer to a question, with its planted flaw; None where the question cannot be read.

    `again`: it was sent back. Then the form is right, and what is wrong in the task stays wrong.
    """
    asked = read_question(text)
    if asked is None:
        return None
    flaw = _flaw(asked, share, seed)
    if again and flaw in ("prose", "truncated_json"):
        flaw = "none"
    rng = random.Random(f"{seed}:{asked.category}:{asked.level}:{asked.number}")
    source = _earlier(asked, share, seed) if flaw == "duplicate" else None
    task = compose(asked.category, asked.level, (source or asked).number, seed)
    if flaw == "wrong_solution":
        task = _wrong(task)
    elif flaw == "syntax_error":
        task = {**task, "solution": task["solution"].replace(":\n", "\n", 1)}
    elif flaw == "vacuous_test":
        task = {**task, "tests": [f"assert callable({task['entry_point']})"]}
    elif flaw == "prose":
        return f"Sure! Here is a task of the kind you asked for.\n\n{_say(task, rng)}\n\nI hope this is what you need."
    elif flaw == "truncated_json":
        said = _say(task, rng)
        return said[: int(len(said) * rng.uniform(0.3, 0.8))]
    return _say(task, rng)


def _earlier(asked: Asked, share: float, seed: int) -> Asked | None:
    """The nearest earlier question of this category and level that was answered without a flaw; the first has none."""
    for number in range(asked.number - 1, asked.number - asked.number % 1_000_000 - 1, -1):
        earlier = replace(asked, number=number)
        if _flaw(earlier, share, seed) in ("none", "prose"):
            return earlier
    return None


def _wrong(task: Task) -> Task:
    """The solution with its last return spoiled, so that it runs and answers something else."""
    head, found, tail = task["solution"].rpartition("return ")
    line, newline, rest = tail.partition("\n")
    spoiled = f"{head}{found}({line}, 0){newline}{rest}" if found else task["solution"]
    return {**task, "solution": spoiled}


def _say(task: Task, rng: random.Random) -> str:
    text = json.dumps(task, indent=2)
    return f"```json\n{text}\n```" if rng.random() < 0.8 else text
