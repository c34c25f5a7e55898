"""A draft becomes a task: prompt, solution, and tests whose expected values come from executing the solution."""

import hashlib
import io
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any

from evalkit.records import Level
from synth.teacher.classes import ClassDraft, object_oriented
from synth.teacher.lists import data_structures, lists
from synth.teacher.numbers import algorithms, arithmetic, loops
from synth.teacher.parts import Draft
from synth.teacher.programs import error_handling, file_io, logic
from synth.teacher.strings import strings
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
DRAWS = 40
"""Arguments drawn before a draft is given up: its branches cannot all be reached, or it answers always the same."""
TRIES = 200

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
    typed = rng.random() < 0.5
    params = ", ".join(f"{param.name}: {param.type}" if typed else param.name for param in draft.params)
    head = f"def {name}({params})" + (f" -> {draft.returns}:" if typed else ":")
    body = "\n".join(f"    {line}" for line in draft.body) + "\n"
    cases = _cases(draft, name, f"{head}\n{body}", rng)
    if cases is None:
        return None
    doc = describe(rng, draft)
    examples = [f"    >>> {name}{call}\n    {expected}\n" for call, expected in cases if len(call) < 40]
    if examples and not draft.files and rng.random() < 0.25:
        shown = "".join(examples[: rng.randint(1, 2)])
        docstring = f'    """{doc}\n{rng.choice((chr(10), ""))}{shown}    """'
    else:
        docstring = f'    """{doc}"""' if rng.random() < 0.8 else f'    """\n    {doc}\n    """'
    prompt = f"{head}\n{docstring}"
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


def _cases(draft: Draft, name: str, source: str, rng: random.Random) -> list[tuple[str, str]] | None:
    """`(arguments as source, expected value as source)`, all different.

    Together they run every line of the solution, so that no branch and no fallback goes untested, and they expect at
    least two different values. None where no such arguments were found.
    """
    names: dict[str, Any] = {}
    if draft.files:
        names["open"] = _opener(dict(draft.files))
    exec(source, names)
    code = names[name].__code__
    missing = {line for _, _, line in code.co_lines() if line} - {code.co_firstlineno}
    if draft.raises:
        missing -= {line for line, text in enumerate(source.split("\n"), 1) if text.strip().startswith("raise ")}
    telling: dict[str, tuple[str, Any]] = {}
    spare: dict[str, tuple[str, Any]] = {}
    for _ in range(DRAWS):
        arguments = [param.make(rng) for param in draft.params]
        call = f"({', '.join(repr(argument) for argument in arguments)})"
        with _lines_run(code) as lines:
            value = names[name](*arguments)
        expected = repr(value)
        if call in telling or call in spare or len(expected) > 300:
            continue
        new = not any(value == known for _, known in telling.values())
        (telling if lines & missing or new else spare)[call] = (expected, value)
        missing -= lines
        if not missing and len(telling) >= TESTS:
            break
    chosen = [*telling.items(), *spare.items()][: max(TESTS, len(telling))]
    values = [value for _, (_, value) in chosen]
    if missing or not any(value != values[0] for value in values):
        return None
    return [(call, expected) for call, (expected, _) in chosen]


@contextmanager
def _lines_run(code: CodeType) -> Iterator[set[int]]:
    """The lines of one function that run inside the block."""
    lines: set[int] = set()

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code is not code:
            return None
        lines.add(frame.f_lineno)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield lines
    finally:
        sys.settrace(before)


def _opener(files: dict[str, str]) -> Callable[[str], Any]:
    return lambda path: io.StringIO(files[path])


def _class_task(draft: ClassDraft, rng: random.Random) -> Task | None:
    body = "\n".join(f"    {line}" if line else "" for line in draft.methods).rstrip() + "\n"
    prompt = f'class {draft.name}:\n    """{draft.doc}"""'
    solution = f"{prompt}\n{body}"
    tests = {}
    for script in draft.scripts:
        names: dict[str, Any] = {}
        exec(solution, names)
        *steps, last = script
        exec("\n".join(steps), names)
        steps_text = "\n".join(steps)
        value = eval(last, names)
        tests[f"{steps_text}\nassert {last} == {value!r}"] = repr(value)
    if len(set(tests.values())) < 2:
        return None
    return {"prompt": prompt, "entry_point": draft.name, "solution": solution, "tests": list(tests), "files": {}}
