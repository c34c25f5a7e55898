"""A draft becomes a task: prompt, solution, and tests whose expected values come from executing the solution."""

import hashlib
import random
from collections.abc import Callable
from typing import Any

from evalkit.records import Level
from synth.teacher.algorithms import algorithms
from synth.teacher.classes import ClassDraft, object_oriented
from synth.teacher.lists import lists
from synth.teacher.numbers import arithmetic, loops
from synth.teacher.parts import Draft
from synth.teacher.programs import error_handling, file_io, logic
from synth.teacher.strings import strings
from synth.teacher.structures import data_structures
from synth.teacher.wording import describe, function_name

Composer = Callable[[random.Random, Level], Draft | ClassDraft]

CATEGORIES: dict[str, Composer] = {
    "arithmetic": arithmetic,
    "lists": lists,
    "strings": strings,
    "algorithms": algorithms,
    "data_structures": data_structures,
    "logic": logic,
    "loops": loops,
    "file_io": file_io,
    "error_handling": error_handling,
    "object_oriented": object_oriented,
}
TESTS = 6
TRIES = 40

Task = dict[str, Any]
"""The JSON object of an answer: prompt, entry_point, solution, tests, files."""


def compose(category: str, level: Level, number: int, seed: int) -> Task:
    """The task of one number: always the same one."""
    key = f"{seed}:{category}:{level}:{number}".encode()
    rng = random.Random(int.from_bytes(hashlib.sha256(key).digest()[:8], "big"))
    for _ in range(TRIES):
        draft = CATEGORIES[category](rng, level)
        task = _class_task(draft, rng) if isinstance(draft, ClassDraft) else _function_task(draft, rng)
        if task is not None:
            return task
    raise AssertionError(f"no task for {category}, {level}, {number}")


def _function_task(draft: Draft, rng: random.Random) -> Task | None:
    name = function_name(rng, draft)
    if name in {param.name for param in draft.params}:
        name += "_of"
    typed = rng.random() < 0.65
    params = ", ".join(f"{param.name}: {param.type}" if typed else param.name for param in draft.params)
    head = f"def {name}({params})" + (f" -> {draft.returns}:" if typed else ":")
    body = "\n".join(f"    {line}" for line in draft.body) + "\n"
    bare = f"{draft.imports}{head}\n{body}"
    cases = _cases(draft, name, bare, rng)
    if len({expected for _, expected in cases}) < 2:
        return None  # tests that all expect the same would not tell much
    doc = describe(rng, draft)
    example = next((f"    >>> {name}{call}\n    {expected}\n" for call, expected in cases if len(call) < 40), "")
    if example and not draft.files and rng.random() < 0.3:
        docstring = f'    """{doc}\n{example}    """'
    else:
        docstring = f'    """{doc}"""' if rng.random() < 0.75 else f'    """\n    {doc}\n    """'
    prompt = f"{draft.imports}{head}\n{docstring}"
    tests = [f"assert {name}{call} == {expected}" for call, expected in cases]
    if draft.raises:
        call = f"{name}{draft.raises}"
        tests.append(f"try:\n    {call}\n    raised = False\nexcept ValueError:\n    raised = True\nassert raised")
    return {
        "prompt": prompt,
        "entry_point": name,
        "solution": f"{prompt}\n{body}",
        "tests": tests,
        "files": dict(draft.files),
    }


def _cases(draft: Draft, name: str, source: str, rng: random.Random) -> list[tuple[str, str]]:
    """`(arguments as source, expected value as source)`, all different."""
    names: dict[str, Any] = {}
    if draft.files:
        names["open"] = _opener(dict(draft.files))
    exec(source, names)
    cases: dict[str, str] = {}
    for _ in range(3 * TESTS):
        arguments = [param.make(rng) for param in draft.params]
        call = f"({', '.join(repr(argument) for argument in arguments)})"
        expected = repr(names[name](*arguments))
        if call not in cases and len(expected) < 300:
            cases[call] = expected
        if len(cases) == TESTS:
            break
    return list(cases.items())


def _opener(files: dict[str, str]) -> Callable[[str], Any]:
    import io

    return lambda path: io.StringIO(files[path])


def _class_task(draft: ClassDraft, rng: random.Random) -> Task | None:
    body = "\n".join(f"    {line}" if line else "" for line in draft.methods).rstrip() + "\n"
    prompt = f'class {draft.name}:\n    """{draft.doc}"""'
    solution = f"{prompt}\n{body}"
    tests = []
    for script in draft.scripts:
        names: dict[str, Any] = {}
        exec(solution, names)
        *steps, last = script
        exec("\n".join(steps), names)
        steps_text = "\n".join(steps)
        tests.append(f"{steps_text}\nassert {last} == {eval(last, names)!r}")
    return {
        "prompt": prompt,
        "entry_point": draft.name,
        "solution": solution,
        "tests": list(dict.fromkeys(tests)),
        "files": {},
    }
