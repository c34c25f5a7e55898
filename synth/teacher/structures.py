"""Dictionaries, sets and nested lists."""

import random

from evalkit.records import Level
from synth.teacher.parts import LIST_NAMES, Draft, Param, Part, a_list, mapping, pick, predicate, singular, some_words


def data_structures(rng: random.Random, level: Level) -> Draft:
    """Dictionaries, sets and nested lists."""
    if level is Level.EASY:
        return rng.choice((_of_two_lists, _table))(rng, None)
    kept = predicate(rng)
    if level is Level.MEDIUM:
        return rng.choice((_of_two_lists, _table, _of_dict))(rng, kept)
    return rng.choice((_of_dict, _nested))(rng, kept)


def _of_two_lists(rng: random.Random, kept: Part | None) -> Draft:
    one, two = (("a", "b"), ("xs", "ys"), ("first", "second"), ("left", "right"))[rng.randrange(4)]
    params = (Param(one, "list[int]", a_list(0, 9)), Param(two, "list[int]", a_list(0, 9)))
    only = f" if {kept.code}" if kept else ""
    things = kept.words.format(things="numbers") if kept else "numbers"
    choices = (
        (f"the {things} that are in both {one} and {two}", f"set({one}) & set({two})", "common"),
        (f"the {things} that are in {one} or in {two}", f"set({one}) | set({two})", "union"),
        (f"the {things} that are in {one} but not in {two}", f"set({one}) - set({two})", "missing"),
        (f"the {things} that are in exactly one of {one} and {two}", f"set({one}) ^ set({two})", "symmetric"),
    )
    noun, code, tag = choices[rng.randrange(len(choices))]
    result = f"sorted(x for x in {code}{only})" if kept else f"sorted({code})"
    if rng.random() < 0.3:
        words = noun.replace("the ", "how many ", 1).replace(" that are", " are", 1)
        return Draft(
            words,
            (f"count_{tag}", f"{tag}_count"),
            params,
            "int",
            (f"return len({result.replace('sorted(', '[', 1)[:-1]}])" if kept else f"return len({code})",),
        )
    return Draft(
        f"a sorted list of {noun}",
        (tag, f"{tag}_elements", f"{tag}_numbers"),
        params,
        "list[int]",
        (f"return {result}",),
        also="No number appears twice.",
    )


def _table(rng: random.Random, kept: Part | None) -> Draft:
    name = pick(rng, LIST_NAMES)
    only = f" if {kept.code}" if kept else ""
    things = kept.words.format(things="numbers") if kept else "numbers"
    changed = mapping(rng)
    one = singular(changed.words)
    choices = (
        (
            f"a dictionary that maps each of the {things} in {name} to how often it appears there",
            f"{{x: {name}.count(x) for x in {name}{only}}}",
            "count",
        ),
        (
            f"a dictionary that maps each of the {things} in {name} to {one.format(of='it')}",
            f"{{x: {changed.code} for x in {name}{only}}}",
            f"{changed.tag}_table",
        ),
        (
            f"a dictionary that maps each of the {things} in {name} to its index there (the last one if it appears twice)",
            f"{{x: i for i, x in enumerate({name}){only}}}",
            "index_table",
        ),
    )
    noun, code, tag = choices[rng.randrange(len(choices))]
    names = (f"{tag}_{kept.tag}", tag) if kept else (tag, f"{tag}_dict")
    return Draft(noun, names, (Param(name, "list[int]", a_list(0, 9)),), "dict[int, int]", (f"return {code}",))


def _a_dict(rng: random.Random) -> object:
    keys = some_words(rng)
    return {key: rng.randint(-5, 15) for key in keys}  # type: ignore[attr-defined]  # a list, as some_words says


def _of_dict(rng: random.Random, kept: Part | None) -> Draft:
    kept = kept or predicate(rng)
    name = pick(rng, ("d", "table", "scores", "prices", "counts", "mapping", "ages"))
    things = kept.words.format(things="values")
    code = kept.code.replace("x", "v")
    whose = f"whose values are {things.replace(' values', '').replace('values that are ', '').replace('values ', '')}"
    k = rng.randint(2, 9)
    choices = (
        (
            f"a dictionary with the entries of {name} {whose}",
            f"{{k: v for k, v in {name}.items() if {code}}}",
            "dict[str, int]",
            f"keep_{kept.tag}",
        ),
        (
            f"a sorted list of the keys of {name} {whose}",
            f"sorted(k for k, v in {name}.items() if {code})",
            "list[str]",
            f"keys_{kept.tag}",
        ),
        (
            f"the sum of the {things} in {name}",
            f"sum(v for v in {name}.values() if {code})",
            "int",
            f"sum_{kept.tag}_values",
        ),
        (
            f"the number of entries of {name} {whose}",
            f"len([v for v in {name}.values() if {code}])",
            "int",
            f"count_{kept.tag}_entries",
        ),
        (
            f"a copy of {name} with every value multiplied by {k}",
            f"{{k: v * {k} for k, v in {name}.items()}}",
            "dict[str, int]",
            f"scale_by_{k}",
        ),
        (
            f"a copy of {name} with every value increased by {k}",
            f"{{k: v + {k} for k, v in {name}.items()}}",
            "dict[str, int]",
            f"raise_by_{k}",
        ),
    )
    noun, expression, returns, tag = choices[rng.randrange(len(choices))]
    return Draft(
        noun, (tag, f"{tag}_of"), (Param(name, "dict[str, int]", _a_dict),), returns, (f"return {expression}",)
    )


def _rows(rng: random.Random) -> object:
    width = rng.randint(1, 4)
    return [[rng.randint(-5, 9) for _ in range(width)] for _ in range(rng.choice((0, 1, 2, 3)))]


def _nested(rng: random.Random, kept: Part | None) -> Draft:
    kept = kept or predicate(rng)
    name = pick(rng, ("rows", "matrix", "grid", "table", "lists"))
    things = kept.words.format(things="numbers")
    choices = (
        (
            f"the sum of all {things} in the rows of {name}",
            f"sum(x for row in {name} for x in row if {kept.code})",
            "int",
            f"sum_{kept.tag}",
        ),
        (
            f"one list of all {things} in the rows of {name}",
            f"[x for row in {name} for x in row if {kept.code}]",
            "list[int]",
            f"flatten_{kept.tag}",
        ),
        (
            f"how many {things} there are in the rows of {name}",
            f"len([x for row in {name} for x in row if {kept.code}])",
            "int",
            f"count_{kept.tag}",
        ),
        (
            f"a list with the sum of the {things} of each row of {name}",
            f"[sum(x for x in row if {kept.code}) for row in {name}]",
            "list[int]",
            f"row_sums_{kept.tag}",
        ),
        (
            f"{name} with only the {things} left in each row",
            f"[[x for x in row if {kept.code}] for row in {name}]",
            "list[list[int]]",
            f"keep_{kept.tag}",
        ),
    )
    noun, expression, returns, tag = choices[rng.randrange(len(choices))]
    return Draft(
        noun, (tag, f"{tag}_in_rows"), (Param(name, "list[list[int]]", _rows),), returns, (f"return {expression}",)
    )
