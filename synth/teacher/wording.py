"""One meaning, many ways to ask for it. Variety of wording is where a small student's generality comes from."""

import random

from synth.teacher.parts import Draft, pick

_RETURN = ("Return", "Compute", "Calculate", "Find", "Get", "Give back", "Work out", "Determine", "Produce")
_FUNCTION = ("Function that returns", "This function returns", "Returns", "Computes", "Helper that returns")
_WHETHER = (
    "Return True if {c}, otherwise False.",
    "Return True if {c}, False otherwise.",
    "Return whether {c}.",
    "Check whether {c}.",
    "Check if {c}.",
    "Tell whether {c}.",
    "Returns True when {c} and False when not.",
    "Determine if {c}.",
    "True if {c}, else False.",
    "Decide whether {c}.",
)
_GIVEN = (
    "Given {p}, return {n}.",
    "Take {p} and return {n}.",
    "For {p}, return {n}.",
    "From {p}, compute {n}.",
)
_KIND = {"list[int]": "a list of integers", "str": "a string", "int": "an integer", "list[str]": "a list of strings"}
_GENERIC = ("solve", "compute", "f", "func", "process", "calculate", "task", "run", "answer", "evaluate")


def describe(rng: random.Random, draft: Draft) -> str:
    """The docstring's sentences."""
    if draft.returns == "bool":
        first = pick(rng, _WHETHER).format(c=draft.noun)
    else:
        style = rng.random()
        if style < 0.5:
            first = f"{pick(rng, _RETURN)} {draft.noun}."
        elif style < 0.65:
            first = f"{pick(rng, _FUNCTION)} {draft.noun}."
        elif style < 0.75 and not draft.noun.startswith(tuple(param.name for param in draft.params)):
            first = f"{draft.noun[0].upper()}{draft.noun[1:]}."
        else:
            given = " and ".join(_introduce(param.name, param.type, rng) for param in draft.params)
            first = pick(rng, _GIVEN).format(p=given, n=draft.noun)
    return f"{first} {draft.also}".strip()


def _introduce(name: str, kind: str, rng: random.Random) -> str:
    said = _KIND.get(kind)
    return f"{said} {name}" if said and rng.random() < 0.7 else name


def function_name(rng: random.Random, draft: Draft) -> str:
    """A descriptive name mostly; sometimes one that says nothing, so that the docstring must be read."""
    if rng.random() < 0.12:
        return pick(rng, _GENERIC)
    name = pick(rng, draft.names)
    style = rng.random()
    if style < 0.1 and draft.returns != "bool":
        return f"get_{name}"
    if style < 0.16 and draft.returns != "bool":
        return f"compute_{name}"
    return name
