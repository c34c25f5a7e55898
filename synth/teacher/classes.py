"""Object-oriented tasks: small classes whose rules vary."""

import random
from dataclasses import dataclass

from evalkit.records import Level
from synth.teacher.parts import pick


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
    """A counter (easy), a container or an account (medium), a shape or a statistic with rules (hard)."""
    makers = {
        Level.EASY: (_counter, _rectangle),
        Level.MEDIUM: (_stack, _account),
        Level.HARD: (_account, _statistic, _stack),
    }
    return rng.choice(makers[level])(rng)


def _init(signature: str, *lines: str) -> tuple[str, ...]:
    return (f"def __init__(self{signature}):", *(f"    {line}" for line in lines), "")


def _method(signature: str, *lines: str) -> tuple[str, ...]:
    return (f"def {signature}:", *(f"    {line}" for line in lines), "")


def _counter(rng: random.Random) -> ClassDraft:
    name = pick(rng, ("Counter", "Tally", "Clicker", "Meter", "Ticker"))
    up, down = rng.choice(
        (("up", "down"), ("increase", "decrease"), ("add", "remove"), ("inc", "dec"), ("forward", "back"))
    )
    start, j, k = rng.randint(0, 20), rng.randint(1, 9), rng.randint(1, 9)
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


def _rectangle(rng: random.Random) -> ClassDraft:
    name = pick(rng, ("Rectangle", "Box", "Field", "Room", "Plot"))
    a, b = rng.choice((("width", "height"), ("w", "h"), ("length", "width"), ("a", "b")))
    k = rng.randint(2, 9)
    rules = (
        ("area", f"self.{a} * self.{b}", f"area() returns {a} times {b}"),
        ("perimeter", f"2 * (self.{a} + self.{b})", f"perimeter() returns twice the sum of {a} and {b}"),
        ("cost", f"self.{a} * self.{b} * {k}", f"cost() returns {a} times {b} times {k}"),
        ("is_square", f"self.{a} == self.{b}", f"is_square() tells whether {a} and {b} are equal"),
        ("longest", f"max(self.{a}, self.{b})", f"longest() returns the larger of {a} and {b}"),
        ("border", f"self.{a} + self.{b} + {k}", f"border() returns {a} plus {b} plus {k}"),
    )
    one, two = rng.sample(rules, 2)
    doc = f"Holds a {a} and a {b}. {one[2]}; {two[2]}."
    methods = (
        *_init(f", {a}, {b}", f"self.{a} = {a}", f"self.{b} = {b}"),
        *_method(f"{one[0]}(self)", f"return {one[1]}"),
        *_method(f"{two[0]}(self)", f"return {two[1]}"),
    )
    sizes = [(rng.randint(1, 9), rng.randint(1, 9)) for _ in range(3)] + [(4, 4)]
    scripts = tuple((f"obj = {name}({x}, {y})", f"obj.{rule[0]}()") for x, y in sizes for rule in (one, two))
    return ClassDraft(name, doc, methods, scripts)


def _stack(rng: random.Random) -> ClassDraft:
    name = pick(rng, ("Stack", "Pile", "Queue", "Line", "Buffer", "Tray"))
    put, take = rng.choice((("push", "pop"), ("add", "take"), ("put", "get"), ("insert", "remove")))
    last = rng.random() < 0.5
    limit, fallback = rng.randint(2, 6), rng.choice(("None", "-1", "0"))
    bounded = rng.random() < 0.5
    order = "the newest item" if last else "the oldest item"
    doc = f"{put}(item) stores an item, {take}() removes and returns {order}, or {fallback} if there is none, and size() tells how many there are."
    doc += f" At most {limit} items are kept; further ones are ignored." if bounded else ""
    store = (
        (f"if len(self.items) < {limit}:", "    self.items.append(item)") if bounded else ("self.items.append(item)",)
    )
    methods = (
        *_init("", "self.items = []"),
        *_method(f"{put}(self, item)", *store),
        *_method(
            f"{take}(self)",
            "if not self.items:",
            f"    return {fallback}",
            f"return self.items.pop({'' if last else '0'})",
        ),
        *_method("size(self)", "return len(self.items)"),
    )
    fill = tuple(f"obj.{put}({rng.randint(0, 9)})" for _ in range(limit + 1))
    scripts = (
        (f"obj = {name}()", f"obj.{take}()"),
        (f"obj = {name}()", f"obj.{put}(3)", f"obj.{put}(8)", f"obj.{take}()"),
        (f"obj = {name}()", *fill, "obj.size()"),
        (f"obj = {name}()", *fill, f"obj.{take}()", f"obj.{take}()"),
    )
    return ClassDraft(name, doc, methods, scripts)


def _account(rng: random.Random) -> ClassDraft:
    name = pick(rng, ("Account", "Wallet", "Purse", "Tank", "Battery", "Store"))
    put, take, what = rng.choice(
        (
            ("deposit", "withdraw", "balance"),
            ("add", "spend", "amount"),
            ("fill", "drain", "level"),
            ("charge", "use", "energy"),
        )
    )
    fee, least = rng.randint(0, 4), rng.choice((0, 0, 5, -10))
    doc = f"Starts with a given {what}. {put}(x) adds x; {take}(x) subtracts x{f' plus a fee of {fee}' if fee else ''} and returns True, or changes nothing and returns False if the {what} would fall below {least}."
    cost = f"x + {fee}" if fee else "x"
    methods = (
        *_init(f", {what}", f"self.{what} = {what}"),
        *_method(f"{put}(self, x)", f"self.{what} += x"),
        *_method(
            f"{take}(self, x)",
            f"if self.{what} - {'(' + cost + ')' if fee else cost} < {least}:",
            "    return False",
            f"self.{what} -= {cost}",
            "return True",
        ),
    )
    start = rng.randint(10, 30)
    scripts = (
        (f"obj = {name}({start})", f"obj.{put}(5)", f"obj.{what}"),
        (f"obj = {name}({start})", f"obj.{take}(7)"),
        (f"obj = {name}({start})", f"obj.{take}(7)", f"obj.{what}"),
        (f"obj = {name}({start})", f"obj.{take}({start + 30})"),
        (f"obj = {name}({start})", f"obj.{take}({start + 30})", f"obj.{what}"),
    )
    return ClassDraft(name, doc, methods, scripts)


def _statistic(rng: random.Random) -> ClassDraft:
    name = pick(rng, ("Stats", "Recorder", "Log", "Scores", "Series"))
    add = pick(rng, ("add", "record", "put", "note"))
    k = rng.randint(2, 9)
    rules = (
        ("total", "return sum(self.values)", "total() returns their sum"),
        ("largest", "return max(self.values, default=0)", "largest() returns the largest, or 0 if there is none"),
        ("smallest", "return min(self.values, default=0)", "smallest() returns the smallest, or 0 if there is none"),
        ("count", "return len(self.values)", "count() tells how many there are"),
        ("above", f"return len([x for x in self.values if x > {k}])", f"above() tells how many are greater than {k}"),
        ("evens", "return [x for x in self.values if x % 2 == 0]", "evens() returns a list of the even ones"),
        ("last", f"return self.values[-{k % 3 + 1}:]", f"last() returns a list of the last {k % 3 + 1}"),
        (
            "scaled",
            f"return [x * {k} for x in self.values]",
            f"scaled() returns a list of them, each multiplied by {k}",
        ),
    )
    one, two = rng.sample(rules, 2)
    doc = f"Collects numbers with {add}(x). {one[2]}; {two[2]}."
    methods = (
        *_init("", "self.values = []"),
        *_method(f"{add}(self, x)", "self.values.append(x)"),
        *_method(f"{one[0]}(self)", one[1]),
        *_method(f"{two[0]}(self)", two[1]),
    )
    fill = tuple(f"obj.{add}({rng.randint(-5, 15)})" for _ in range(4))
    scripts = tuple(
        (f"obj = {name}()", *steps, f"obj.{rule[0]}()") for rule in (one, two) for steps in ((), fill, fill[:2])
    )
    return ClassDraft(name, doc, methods, scripts)
