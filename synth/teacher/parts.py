"""What tasks are composed of: conditions, formulas, reductions, and the sources of numbers they work on.

A meaning stands here once, with its words and its code; the categories only say what it is applied to. What a student
learns of `numbers greater than 5` in a list, it can use in a file, in a dictionary and in a class.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from evalkit.records import Level

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
    """Fitting names of the function."""
    params: tuple[Param, ...]
    returns: str
    body: tuple[str, ...]
    files: tuple[tuple[str, str], ...] = ()
    raises: str = ""
    """Code of a call that must raise ValueError, without the function's name: `(-1)`."""
    also: str = ""
    """A second sentence of the docstring: what happens in the special cases."""


@dataclass(frozen=True)
class Condition:
    """What holds of a number `x`."""

    things: str
    """Of several: `even {things}`, `{things} greater than 5`."""
    said: str
    """Of one, after `is`: `even`, `greater than 5`."""
    code: str
    tag: str

    def of(self, variable: str) -> str:
        return self.code.replace("x", variable)


@dataclass(frozen=True)
class Formula:
    """What is made of a number `x`."""

    many: str
    """Of several: `the squares of {of}`, `{of}, each increased by 5`."""
    one: str
    """Of one: `the square of {of}`, `{of} plus 5`."""
    code: str
    tag: str

    def of(self, variable: str) -> str:
        return self.code.replace("x", variable)


@dataclass(frozen=True)
class Source:
    """Numbers that a task works on: `{things} {where}` in words, `items` in code."""

    things: str
    where: str
    items: str
    test: str = ""
    """What makes an item `x` one of them, where `items` holds others too."""


@dataclass(frozen=True)
class Phrase:
    """A part of a task that returns something."""

    noun: str
    code: str
    returns: str
    names: tuple[str, ...]


LIST_NAMES = ("nums", "numbers", "values", "items", "xs", "data")
INT_NAMES = ("n", "num", "number", "value", "m")
TEXT_NAMES = ("s", "text", "string", "word", "sentence")
PAIR_NAMES = (("a", "b"), ("m", "n"), ("first", "second"), ("left", "right"), ("p", "q"))
LETTERS = "aeioslnrt"
WORDS = ("apple", "Bob", "sky", "tree", "level", "Anna", "noon", "cat", "House", "banana", "kite", "Otto", "river", "Hello", "radar", "7", "42")  # fmt: skip


def pick(rng: random.Random, items: tuple[str, ...] | list[str]) -> str:
    return items[rng.randrange(len(items))]


def constant(rng: random.Random) -> int:
    return rng.randint(2, 9)


def a_list(low: int = -9, high: int = 20) -> Maker:
    return lambda rng: [rng.randint(low, high) for _ in range(rng.choice((0, 1, 2, 3, 4, 5, 6)))]


def an_int(low: int = -20, high: int = 40) -> Maker:
    return lambda rng: rng.randint(low, high)


def a_text(rng: random.Random) -> object:
    return " ".join(pick(rng, WORDS) for _ in range(rng.choice((0, 1, 1, 2, 3, 4))))


def some_words(rng: random.Random) -> list[str]:
    return [pick(rng, WORDS) for _ in range(rng.choice((0, 1, 2, 3, 4, 5)))]


def condition(rng: random.Random, natural: bool = False) -> Condition:
    """A condition on a whole number; `natural` leaves out what every number from 0 on is or is not."""
    k = constant(rng)
    most = k - 1 if natural else k  # every digit is at most 9
    above, below = (
        pick(rng, ("greater than", "above", "larger than")),
        pick(rng, ("less than", "below", "smaller than")),
    )
    divisible = pick(rng, ("divisible by", "a multiple of"))
    many = "{things} divisible by" if divisible == "divisible by" else "{things} that are multiples of"
    choices = [
        Condition("even {things}", "even", "x % 2 == 0", "even"),
        Condition("odd {things}", "odd", "x % 2 == 1", "odd"),
        Condition(f"{{things}} {above} {k}", f"{above} {k}", f"x > {k}", f"above_{k}"),
        Condition(f"{{things}} {below} {k}", f"{below} {k}", f"x < {k}", f"below_{k}"),
        Condition(f"{{things}} that are at least {k}", f"at least {k}", f"x >= {k}", f"at_least_{k}"),
        Condition(f"{{things}} that are at most {most}", f"at most {most}", f"x <= {most}", f"at_most_{most}"),
        Condition(f"{many} {k}", f"{divisible} {k}", f"x % {k} == 0", f"divisible_by_{k}"),
        Condition(
            f"{{things}} not divisible by {k}", f"not divisible by {k}", f"x % {k} != 0", f"not_divisible_by_{k}"
        ),
        Condition("positive {things}", "positive", "x > 0", "positive"),
        Condition("negative {things}", "negative", "x < 0", "negative"),
    ]
    return choices[rng.randrange(len(choices) - (2 if natural else 0))]


def formula(rng: random.Random, operand: bool = False, natural: bool = False) -> Formula:
    """A formula on a whole number.

    `operand` leaves out those whose words would run into a following `and`, `natural` the absolute value.
    """
    k = constant(rng)
    choices = [
        Formula(f"{{of}}, each plus {k}", f"{{of}} plus {k}", f"x + {k}", f"plus_{k}"),
        Formula(f"{{of}}, each minus {k}", f"{{of}} minus {k}", f"x - {k}", f"minus_{k}"),
        Formula(f"{{of}}, each times {k}", f"{{of}} times {k}", f"x * {k}", f"times_{k}"),
        Formula(f"{{of}}, each modulo {k}", f"{{of}} modulo {k}", f"x % {k}", f"mod_{k}"),
        Formula("{of}, each squared", "{of} squared", "x ** 2", "squared"),
        Formula("{of}, each cubed", "{of} cubed", "x ** 3", "cubed"),
        Formula("the squares of {of}", "the square of {of}", "x ** 2", "square"),
        Formula("the negatives of {of}", "the negative of {of}", "-x", "negative"),
        Formula("the absolute values of {of}", "the absolute value of {of}", "abs(x)", "absolute"),
    ]  # fmt: skip
    return choices[rng.randrange(len(choices) - (3 if operand else 1 if natural else 0))]


_REDUCTIONS = (
    (("the sum of", "the total of"), "sum({gen})", "", ("sum", "total")),
    (("the largest of", "the biggest of", "the maximum of"), "max([{gen}], default=0)", ", or 0 if there are none", ("largest", "max")),
    (("the smallest of", "the minimum of"), "min([{gen}], default=0)", ", or 0 if there are none", ("smallest", "min")),
)  # fmt: skip
_ORDERS = (
    ("{of} in ascending order", "sorted({gen})", ("sorted",)),
    ("{of} in descending order", "sorted([{gen}], reverse=True)", ("descending",)),
    ("{of} in reverse order", "[{gen}][::-1]", ("reversed",)),
    ("the first {k} of {of}", "[{gen}][:{k}]", ("first_{k}",)),
    ("the last {k} of {of}", "[{gen}][-{k}:]", ("last_{k}",)),
    ("{of} without duplicates, in ascending order", "sorted(set({gen}))", ("distinct",)),
)


def gathered(source: Source, kept: Condition | None, changed: Formula | None) -> tuple[str, str]:
    """`(words, generator)` of a source's numbers, those that are kept, changed by a formula."""
    things = kept.things.format(things=source.things) if kept else source.things
    words = f"the {things} {source.where}"
    tests = " and ".join(test for test in (source.test, kept.code if kept else "") if test)
    code = f"{changed.code if changed else 'x'} for x in {source.items}" + (f" if {tests}" if tests else "")
    return (changed.many.format(of=words) if changed else words), code


def summary(rng: random.Random, source: Source, level: Level, orders: bool = True, natural: bool = False) -> Phrase:
    """One, two or three of: keep some, change them, reduce or arrange them."""
    kept: Condition | None = condition(rng, natural)
    changed: Formula | None = formula(rng, natural=natural)
    if level is Level.EASY:
        if rng.random() < 0.3:
            return reduced(rng, source, None, None)
        kept, changed = (kept, None) if rng.random() < 0.5 else (None, changed)
        return listed(rng, source, kept, changed)
    if level is Level.MEDIUM:
        if rng.random() < 0.25:
            return listed(rng, source, kept, changed)
        kept, changed = (kept, None) if rng.random() < 0.6 else (None, changed)
        if kept and rng.random() < 0.3:
            return counted(rng, source, kept)
    return (
        arranged(rng, source, kept, changed) if orders and rng.random() < 0.35 else reduced(rng, source, kept, changed)
    )


def reduced(rng: random.Random, source: Source, kept: Condition | None, changed: Formula | None) -> Phrase:
    """The sum, the largest or the smallest of them."""
    words, gen = gathered(source, kept, changed)
    said, code, ending, tags = _REDUCTIONS[rng.randrange(len(_REDUCTIONS))]
    of = _tag(changed, kept) or source.things.replace(" ", "_")
    if not (kept or changed or source.test):
        code, gen = code.replace("[{gen}]", "{gen}"), source.items
    names = (*(f"{tag}_{of}" for tag in tags), f"{tags[0]}_of_{of}")
    return Phrase(f"{pick(rng, said)} {words}{ending}", code.format(gen=gen), "int", names)


def arranged(rng: random.Random, source: Source, kept: Condition | None, changed: Formula | None) -> Phrase:
    """A list of them in some order, or of some of them."""
    words, gen = gathered(source, kept, changed)
    said, code, tags = _ORDERS[rng.randrange(len(_ORDERS))]
    k, of = constant(rng) % 4 + 2, _tag(changed, kept) or source.things
    noun = said.format(of=words, k=k)
    names = tuple(f"{tag.format(k=k)}_{of}" for tag in tags)
    return Phrase(noun if said[0] == "t" else f"a list of {noun}", code.format(gen=gen, k=k), "list[int]", names)


def counted(rng: random.Random, source: Source, kept: Condition) -> Phrase:
    """How many of them meet a condition."""
    things = kept.things.format(things=source.things)
    noun = pick(rng, (f"the number of {things} {source.where}", f"how many {things} there are {source.where}", f"the count of {things} {source.where}"))  # fmt: skip
    _, gen = gathered(source, kept, None)
    return Phrase(noun, f"len([{gen}])", "int", (f"count_{kept.tag}", f"how_many_{kept.tag}", f"number_of_{kept.tag}"))


def listed(rng: random.Random, source: Source, kept: Condition | None, changed: Formula | None) -> Phrase:
    """All of them."""
    words, gen = gathered(source, kept, changed)
    of = _tag(changed, kept)
    verbs = ("keep", "only", "filter", "select") if kept and not changed else ("list", "map", "all")
    noun = f"{pick(rng, ('a list of', 'the list of', 'a new list with'))} {words}"
    return Phrase(noun, f"[{gen}]", "list[int]", (*(f"{verb}_{of}" for verb in verbs), f"{of}_{source.things}"))


def _tag(changed: Formula | None, kept: Condition | None) -> str:
    return "_".join(part.tag for part in (changed, kept) if part)
