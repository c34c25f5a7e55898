"""What tasks are composed of: predicates, maps and generators of arguments, each with its words and its code."""

import random
from collections.abc import Callable
from dataclasses import dataclass

Maker = Callable[[random.Random], object]
"""Draws one argument."""


@dataclass(frozen=True)
class Param:
    """A parameter: its name as the prompt shows it, its type, and how arguments are drawn."""

    name: str
    type: str
    make: Maker


@dataclass(frozen=True)
class Draft:
    """A task before wording and tests: what is returned in words, and the code that returns it."""

    noun: str
    """What is returned: `the sum of nums`, or a condition where `returns` is bool."""
    names: tuple[str, ...]
    """Fitting names of the function, most descriptive first."""
    params: tuple[Param, ...]
    returns: str
    body: tuple[str, ...]
    imports: str = ""
    files: tuple[tuple[str, str], ...] = ()
    raises: str = ""
    """Code of a call that must raise ValueError, without the function's name: `(-1)`."""
    also: str = ""
    """A second sentence of the docstring: what happens in the special cases."""


@dataclass(frozen=True)
class Part:
    """One meaning: words, code over a variable, and a word for names."""

    words: str
    code: str
    tag: str


def pick(rng: random.Random, items: tuple[str, ...] | list[str]) -> str:
    return items[rng.randrange(len(items))]


LIST_NAMES = ("nums", "numbers", "values", "items", "xs", "data", "arr", "lst", "elements", "seq", "a", "l")
TEXT_NAMES = ("s", "text", "string", "word", "phrase", "st", "txt", "sentence", "line")
INT_NAMES = ("n", "num", "x", "number", "value", "k", "m", "i", "a")
LOOP_INT_NAMES = ("n", "num", "number", "value", "k", "m", "limit")
"""For solutions that use `x`, `a`, `b`, `i` or `d` themselves."""
PAIR_NAMES = (("a", "b"), ("x", "y"), ("m", "n"), ("first", "second"), ("left", "right"), ("p", "q"), ("num1", "num2"))


def ints(rng: random.Random, low: int = -9, high: int = 20, most: int = 7) -> list[int]:
    return [rng.randint(low, high) for _ in range(rng.choice((0, 1, 2, 3, 4, 5, 6, most)))]


def a_list(low: int = -9, high: int = 20, least: int = 0) -> Maker:
    def make(rng: random.Random) -> object:
        drawn = ints(rng, low, high)
        while len(drawn) < least:
            drawn.append(rng.randint(low, high))
        return drawn

    return make


def an_int(low: int = -20, high: int = 40) -> Maker:
    return lambda rng: rng.randint(low, high)


WORDS = tuple(
    "apple Bob sky tree level Anna noon cat House banana kite Otto river moon stats Hello world radar code book Zoo "  # noqa: SIM905
    "python deed egg Queen ice tiger civic Lamp ocean wow".split()
)


def a_text(rng: random.Random) -> object:
    count = rng.choice((0, 1, 1, 2, 3, 4))
    words = [pick(rng, WORDS) for _ in range(count)]
    if rng.random() < 0.25:
        words.append(str(rng.randint(0, 999)))
    return " ".join(words)


def some_words(rng: random.Random) -> object:
    return [pick(rng, WORDS) for _ in range(rng.choice((0, 1, 2, 3, 4, 5)))]


def predicate(rng: random.Random, positive_only: bool = False) -> Part:
    """A condition on a whole number `x`: the adjective or clause that stands with `numbers`."""
    k = rng.randint(2, 12)
    choices = [
        Part("even {things}", "x % 2 == 0", "even"),
        Part("odd {things}", "x % 2 == 1", "odd"),
        Part(f"{{things}} greater than {k}", f"x > {k}", f"above_{k}"),
        Part(f"{{things}} less than {k}", f"x < {k}", f"below_{k}"),
        Part(f"{{things}} that are at least {k}", f"x >= {k}", f"at_least_{k}"),
        Part(f"{{things}} divisible by {k}", f"x % {k} == 0", f"divisible_by_{k}"),
        Part(f"multiples of {k}", f"x % {k} == 0", f"multiples_of_{k}"),
        Part(f"{{things}} not divisible by {k}", f"x % {k} != 0", f"not_divisible_by_{k}"),
        Part(f"{{things}} different from {k}", f"x != {k}", f"not_{k}"),
    ]
    if not positive_only:
        choices += [
            Part("positive {things}", "x > 0", "positive"),
            Part("negative {things}", "x < 0", "negative"),
            Part("non-zero {things}", "x != 0", "nonzero"),
        ]
    return choices[rng.randrange(len(choices))]


def mapping(rng: random.Random) -> Part:
    """A formula on a whole number `x`: words with `{of}` where what it applies to stands."""
    k = rng.randint(2, 12)
    choices = (
        Part("the squares of {of}", "x * x", "squares"),
        Part("the cubes of {of}", "x ** 3", "cubes"),
        Part("{of} multiplied by " + str(k), f"x * {k}", f"times_{k}"),
        Part("{of} increased by " + str(k), f"x + {k}", f"plus_{k}"),
        Part("{of} decreased by " + str(k), f"x - {k}", f"minus_{k}"),
        Part("the doubles of {of}", "x * 2", "doubles"),
        Part("the absolute values of {of}", "abs(x)", "absolute"),
        Part("the negatives of {of}", "-x", "negated"),
        Part("the remainders of {of} modulo " + str(k), f"x % {k}", f"mod_{k}"),
        Part("{of} divided by " + str(k) + " (rounded down)", f"x // {k}", f"div_{k}"),
    )
    return choices[rng.randrange(len(choices))]


_PLURALS = ("squares", "cubes", "doubles", "absolute values", "negatives", "remainders")


def singular(words: str) -> str:
    """The words of a mapping for one number: `the squares of` becomes `the square of`."""
    for plural in _PLURALS:
        words = words.replace(f"the {plural} of", f"the {plural[:-1]} of")
    return words
