"""Object-oriented tasks: small classes whose rules vary."""

import random
from dataclasses import dataclass

from evalkit.records import Level
from synth.teacher.parts import Source, constant, formula, pick, summary


@dataclass(frozen=True)
class ClassDraft:
    """A class: its name, what it is for, its methods, and scripts of calls whose results are the tests."""

    name: str
    doc: str
    methods: tuple[str, ...]
    """Source lines of the body, docstring apart."""
    scripts: tuple[tuple[str, ...], ...]
    """Calls on one instance: the first builds it as `obj`, the last is an expression that is asserted on."""


def object_oriented(rng: random.Random, level: Level) -> ClassDraft:
    """A counter or a number that is changed (easy), an account or a collection (medium), two rules at once (hard)."""
    if level is Level.EASY:
        return rng.choice((_counter, _holder))(rng)
    if level is Level.MEDIUM:
        return rng.choice((_account, _collection))(rng, level)
    return _collection(rng, level)


def _init(signature: str, *lines: str) -> tuple[str, ...]:
    return (f"def __init__(self{signature}):", *(f"    {line}" for line in lines), "")


def _method(signature: str, *lines: str) -> tuple[str, ...]:
    return (f"def {signature}:", *(f"    {line}" for line in lines), "")


def _counter(rng: random.Random) -> ClassDraft:
    name = pick(rng, ("Counter", "Tally", "Meter"))
    up, down = rng.choice((("up", "down"), ("add", "remove"), ("plus", "minus")))
    start, j, k = rng.randint(0, 9), constant(rng), constant(rng)
    doc = f"A counter that starts at {start}. {up}() adds {j} and {down}() subtracts {k}; both return the new value."
    methods = (
        *_init("", f"self.value = {start}"),
        *_method(f"{up}(self)", f"self.value += {j}", "return self.value"),
        *_method(f"{down}(self)", f"self.value -= {k}", "return self.value"),
    )
    scripts = (
        (f"obj = {name}()", f"obj.{up}()"),
        (f"obj = {name}()", f"obj.{down}()"),
        (f"obj = {name}()", f"obj.{up}()", f"obj.{up}()", f"obj.{down}()"),
        (f"obj = {name}()", "obj.value"),
    )
    return ClassDraft(name, doc, methods, scripts)


_RULES = ("result", "total", "answer", "report", "change", "check")


def _holder(rng: random.Random) -> ClassDraft:
    name, what = pick(rng, ("Box", "Cell", "Holder")), pick(rng, ("value", "size", "amount"))
    (one, two), first, second = rng.sample(_RULES, 2), formula(rng), formula(rng)
    while second.code == first.code:
        second = formula(rng)
    doc = f"Holds {'an' if what[0] == 'a' else 'a'} {what}. {one}() returns {first.one.format(of=f'the {what}')}; {two}() returns {second.one.format(of=f'the {what}')}."
    methods = (
        *_init(f", {what}", f"self.{what} = {what}"),
        *_method(f"{one}(self)", f"return {first.of(f'self.{what}')}"),
        *_method(f"{two}(self)", f"return {second.of(f'self.{what}')}"),
    )
    values = rng.sample(range(-9, 20), 3)
    return ClassDraft(name, doc, methods, tuple((f"obj = {name}({x})", f"obj.{rule}()") for x in values for rule in (one, two)))  # fmt: skip


def _account(rng: random.Random, level: Level) -> ClassDraft:
    name, what = pick(rng, ("Account", "Wallet", "Tank")), pick(rng, ("balance", "amount", "level"))
    put, take = rng.choice((("deposit", "withdraw"), ("add", "spend"), ("fill", "drain")))
    fee, least = constant(rng), constant(rng)
    doc = f"Starts with a given {what}. {put}(x) adds x; {take}(x) subtracts x plus a fee of {fee} and returns True, or changes nothing and returns False if the {what} would fall below {least}."
    methods = (
        *_init(f", {what}", f"self.{what} = {what}"),
        *_method(f"{put}(self, x)", f"self.{what} += x"),
        *_method(f"{take}(self, x)", f"if self.{what} - x - {fee} < {least}:", "    return False", f"self.{what} -= x + {fee}", "return True"),
    )  # fmt: skip
    start = rng.randint(20, 30)
    border = start - fee - least
    scripts = (
        (f"obj = {name}({start})", f"obj.{put}(5)", f"obj.{what}"),
        (f"obj = {name}({start})", f"obj.{take}({border})"),
        (f"obj = {name}({start})", f"obj.{take}({border})", f"obj.{what}"),
        (f"obj = {name}({start})", f"obj.{take}({border + 1})"),
        (f"obj = {name}({start})", f"obj.{take}({border + 1})", f"obj.{what}"),
    )
    return ClassDraft(name, doc, methods, scripts)


def _collection(rng: random.Random, level: Level) -> ClassDraft:
    name, add = pick(rng, ("Stats", "Log", "Series")), pick(rng, ("add", "record", "put"))
    source = Source("numbers", "that were added", "self.values")
    rules = [(pick(rng, _RULES), summary(rng, source, level))]
    if level is Level.HARD:
        one, two = rng.sample(_RULES, 2)
        rules = [(one, summary(rng, source, Level.EASY)), (two, summary(rng, source, Level.MEDIUM))]
    said = "; ".join(f"{rule}() returns {phrase.noun}" for rule, phrase in rules)
    methods = (
        *_init("", "self.values = []"),
        *_method(f"{add}(self, x)", "self.values.append(x)"),
        *(line for rule, phrase in rules for line in _method(f"{rule}(self)", f"return {phrase.code}")),
    )
    fills = [tuple(f"obj.{add}({rng.randint(-9, 20)})" for _ in range(size)) for size in (7, 4, 0)]
    scripts = tuple((f"obj = {name}()", *fill, f"obj.{rule}()") for rule, _ in rules for fill in fills)
    return ClassDraft(name, f"Collects numbers with {add}(x). {said}.", methods, scripts)
