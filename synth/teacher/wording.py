"""One meaning, many ways to ask for it. Variety of wording is where a small student's generality comes from."""

import random

from synth.teacher.parts import Draft, pick

_RETURN = ("Return", "Compute", "Calculate", "Find", "Get", "Determine", "Produce")
_FUNCTION = ("Function that returns", "This function returns", "Returns", "Computes")
_WHETHER = (
    "Return True if {c}, otherwise False.",
    "Return True if {c}, False otherwise.",
    "Return whether {c}.",
    "Check whether {c}.",
    "Check if {c}.",
    "Tell whether {c}.",
    "Determine if {c}.",
)
_GIVEN = ("Given {p}, return {n}.", "Take {p} and return {n}.", "For {p}, compute {n}.")
_KIND = {"list[int]": "a list of integers", "str": "a string", "int": "an integer", "list[str]": "a list of strings"}
_GENERIC = ("solve", "compute", "f", "func", "process", "calculate", "task", "answer")


def describe(rng: random.Random, draft: Draft) -> str:
    """The docstring's sentences."""
    if draft.returns == "bool":
        first = pick(rng, _WHETHER).format(c=draft.noun)
    else:
        style = rng.random()
        if style < 0.55:
            first = f"{pick(rng, _RETURN)} {draft.noun}."
        elif style < 0.75:
            first = f"{pick(rng, _FUNCTION)} {draft.noun}."
        elif style < 0.85 and not draft.noun.startswith(tuple(param.name for param in draft.params)):
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
    if rng.random() < 0.1:
        return pick(rng, _GENERIC)
    name = pick(rng, draft.names)
    return f"get_{name}" if rng.random() < 0.08 and draft.returns != "bool" else name
