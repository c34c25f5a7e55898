"""Lists of numbers, and what is built of them: dictionaries, sets, rows."""

import random

from evalkit.records import Level
from synth.teacher.parts import (
    LIST_NAMES,
    Draft,
    Param,
    Source,
    a_list,
    condition,
    constant,
    formula,
    gathered,
    pick,
    reduced,
    some_words,
    summary,
)


def lists(rng: random.Random, level: Level) -> Draft:
    """Keep some numbers, change them, reduce or arrange them: one, two or three of these."""
    name = pick(rng, LIST_NAMES)
    if level is Level.EASY and rng.random() < 0.4:
        return _part(rng, name) if rng.random() < 0.5 else _whether(rng, name)
    phrase = summary(rng, Source("numbers", f"in {name}", name), level)
    return Draft(phrase.noun, phrase.names, (Param(name, "list[int]", a_list()),), phrase.returns, (f"return {phrase.code}",))  # fmt: skip


def _part(rng: random.Random, name: str) -> Draft:
    k = constant(rng) % 4 + 2
    noun, code, tag = (
        (f"the first {k} numbers of {name}", f"{name}[:{k}]", f"first_{k}"),
        (f"the last {k} numbers of {name}", f"{name}[-{k}:]", f"last_{k}"),
        (f"{name} without its first {k} numbers", f"{name}[{k}:]", f"skip_{k}"),
        (f"{name} repeated {k} times", f"{name} * {k}", f"repeat_{k}"),
        (f"every second number of {name}", f"{name}[::2]", "every_second"),
        (f"{name} rotated to the left by {k}", f"{name}[{k}:] + {name}[:{k}]", f"rotate_{k}"),
    )[rng.randrange(6)]
    return Draft(noun, (tag, f"{tag}_numbers"), (Param(name, "list[int]", a_list()),), "list[int]", (f"return {code}",))


def _whether(rng: random.Random, name: str) -> Draft:
    kept = condition(rng)
    noun, code, tag = (
        (f"all numbers in {name} are {kept.said}", f"all({kept.code} for x in {name})", f"all_{kept.tag}"),
        (f"any number in {name} is {kept.said}", f"any({kept.code} for x in {name})", f"any_{kept.tag}"),
        (f"no number in {name} is {kept.said}", f"not any({kept.code} for x in {name})", f"none_{kept.tag}"),
    )[rng.randrange(3)]
    noun = noun.replace("are a multiple", "are multiples")
    return Draft(noun, (tag, f"check_{tag}"), (Param(name, "list[int]", a_list()),), "bool", (f"return {code}",))


def data_structures(rng: random.Random, level: Level) -> Draft:
    """Dictionaries, sets and nested lists: one, two or three parts."""
    return rng.choice((_of_values, _entries, _table, _rows, _two_lists))(rng, level)


DICT_NAMES = ("d", "scores", "prices", "ages", "counts")


def _a_dict(rng: random.Random) -> object:
    return {key: rng.randint(-9, 20) for key in some_words(rng)}


def _of_values(rng: random.Random, level: Level) -> Draft:
    name = pick(rng, DICT_NAMES)
    phrase = summary(rng, Source("values", f"of {name}", f"{name}.values()"), level)
    names = tuple(f"{tag}_values".replace("_values_values", "_values") for tag in phrase.names)
    return Draft(phrase.noun, names, (Param(name, "dict[str, int]", _a_dict),), phrase.returns, (f"return {phrase.code}",))  # fmt: skip


def _parts(rng: random.Random, level: Level, least: Level = Level.HARD) -> tuple[bool, bool]:
    """Whether a task of this level keeps some and whether it changes them."""
    if level is Level.EASY:
        return (True, False) if rng.random() < 0.5 else (False, True)
    return True, level is least or rng.random() < 0.5


def _entries(rng: random.Random, level: Level) -> Draft:
    name, kept, changed = pick(rng, DICT_NAMES), condition(rng), formula(rng)
    keeps, changes = _parts(rng, level)
    param = Param(name, "dict[str, int]", _a_dict)
    values = kept.things.format(things="values")
    if not changes and rng.random() < 0.5:
        noun = f"a sorted list of the keys of {name} that have {values}"
        code = f"sorted(k for k, x in {name}.items() if {kept.code})"
        return Draft(noun, (f"keys_{kept.tag}", f"keys_with_{kept.tag}"), (param,), "list[str]", (f"return {code}",))
    whose = f" that have {values}" if keeps else ""
    noun = f"a dictionary with the entries of {name}{whose}"
    noun += f", with {changed.many.format(of='their values')}" if changes else ""
    tag = "_".join(([changed.tag] if changes else []) + ([kept.tag] if keeps else []))
    code = f"{{k: {changed.code if changes else 'x'} for k, x in {name}.items(){f' if {kept.code}' if keeps else ''}}}"
    return Draft(
        noun, (f"entries_{tag}", f"dict_{tag}", f"{tag}_entries"), (param,), "dict[str, int]", (f"return {code}",)
    )


def _table(rng: random.Random, level: Level) -> Draft:
    name, kept, changed = pick(rng, LIST_NAMES), condition(rng), formula(rng)
    keeps, _ = _parts(rng, level)
    things = kept.things.format(things="numbers") if keeps else "numbers"
    noun = f"a dictionary that maps each of the {things} in {name} to {changed.one.format(of='it')}"
    noun = noun.replace("of it", "of that number").replace("to it ", "to that number ")
    code = f"{{x: {changed.code} for x in {name}{f' if {kept.code}' if keeps else ''}}}"
    tag = f"{changed.tag}_{kept.tag}" if keeps else changed.tag
    return Draft(noun, (f"table_{tag}", f"{tag}_table", f"map_{tag}"), (Param(name, "list[int]", a_list()),), "dict[int, int]", (f"return {code}",))  # fmt: skip


def _a_table(rng: random.Random) -> object:
    return [[rng.randint(-9, 20) for _ in range(rng.randint(0, 4))] for _ in range(rng.randint(0, 4))]


def _rows(rng: random.Random, level: Level) -> Draft:
    name = pick(rng, ("rows", "table", "matrix", "grid"))
    keeps, changes = _parts(rng, level)
    kept, changed = condition(rng) if keeps else None, formula(rng) if changes else None
    param = Param(name, "list[list[int]]", _a_table)
    if level is Level.EASY or rng.random() < 0.4:
        words, _ = gathered(Source("numbers", f"in the rows of {name}", name), kept, changed)
        code = f"{changed.code if changed else 'x'} for row in {name} for x in row" + (
            f" if {kept.code}" if kept else ""
        )
        tag = "_".join(part.tag for part in (changed, kept) if part)
        return Draft(
            f"one list of {words}", (f"flatten_{tag}", f"flat_{tag}"), (param,), "list[int]", (f"return [{code}]",)
        )
    phrase = reduced(rng, Source("numbers", "in that row", "row"), kept, changed)
    noun = f"a list with {phrase.noun} for each row of {name}".replace(" in that row", "")
    names = tuple(f"row_{tag}" for tag in phrase.names)
    return Draft(noun, names, (param,), "list[int]", (f"return [{phrase.code} for row in {name}]",))


def _two_lists(rng: random.Random, level: Level) -> Draft:
    one, two = (("a", "b"), ("xs", "ys"), ("first", "second"), ("left", "right"))[rng.randrange(4)]
    keeps, changes = _parts(rng, level, least=Level.HARD)
    kept, changed = condition(rng) if keeps else None, formula(rng) if changes else None
    where, test, tag = (
        (f"of {one} that are also in {two}", f"x in {two}", "common"),
        (f"of {one} that are not in {two}", f"x not in {two}", "missing"),
    )[rng.randrange(2)]
    words, gen = gathered(Source("numbers", where, one, test), kept, changed)
    of = "_".join(part.tag for part in (changed, kept) if part)
    params = (Param(one, "list[int]", a_list(0, 9)), Param(two, "list[int]", a_list(0, 9)))
    return Draft(f"a list of {words}", (f"{tag}_{of}", f"{of}_{tag}"), params, "list[int]", (f"return [{gen}]",))
