"""Arithmetic, and loops over numbers and their digits."""

import random

from evalkit.records import Level
from synth.teacher.parts import INT_NAMES, LOOP_INT_NAMES, PAIR_NAMES, Draft, Param, an_int, mapping, pick, predicate


def arithmetic(rng: random.Random, level: Level) -> Draft:
    """Formulas of one, two or three numbers."""
    if level is Level.EASY:
        return _one_number(rng) if rng.random() < 0.35 else _two_numbers(rng)
    if level is Level.MEDIUM:
        return _scaled(rng) if rng.random() < 0.6 else _three_numbers(rng)
    return _mixed(rng)


def a_pair(rng: random.Random, low: int = -20, high: int = 40) -> tuple[Param, Param]:
    a, b = PAIR_NAMES[rng.randrange(len(PAIR_NAMES))]
    return Param(a, "int", an_int(low, high)), Param(b, "int", an_int(low, high))


def _one_number(rng: random.Random) -> Draft:
    n, k = pick(rng, INT_NAMES), rng.randint(2, 30)
    choices = (
        (f"the square of {n}", f"{n} * {n}", ("square", "squared")),
        (f"the cube of {n}", f"{n} ** 3", ("cube", "cubed")),
        (f"{n} plus {k}", f"{n} + {k}", (f"add_{k}", "increase")),
        (f"{n} minus {k}", f"{n} - {k}", (f"subtract_{k}", "decrease")),
        (f"{n} times {k}", f"{n} * {k}", (f"times_{k}", "scale")),
        (f"the last digit of the absolute value of {n}", f"abs({n}) % 10", ("last_digit", "ones_digit")),
        (f"the remainder of {n} divided by {k}", f"{n} % {k}", (f"mod_{k}", "remainder")),
        (f"{n} divided by {k}, rounded down", f"{n} // {k}", (f"div_{k}", "quotient")),
        (f"the absolute value of {n} plus {k}", f"abs({n}) + {k}", ("abs_plus", f"abs_plus_{k}")),
        (f"the negative of {n}", f"-{n}", ("negate", "negative", "opposite")),
        (f"{n} to the power of {k % 4 + 2}", f"{n} ** {k % 4 + 2}", ("power", f"power_{k % 4 + 2}")),
    )
    noun, code, names = choices[rng.randrange(len(choices))]
    return Draft(noun, names, (Param(n, "int", an_int()),), "int", (f"return {code}",))


_TWO = (
    ("the sum of {a} and {b}", "{a} + {b}", ("add", "plus", "total")),
    ("the difference of {a} and {b}", "{a} - {b}", ("subtract", "difference", "minus")),
    ("the product of {a} and {b}", "{a} * {b}", ("multiply", "product", "times")),
    ("the sum of the squares of {a} and {b}", "{a} * {a} + {b} * {b}", ("sum_of_squares", "squares_sum")),
    (
        "the difference of the squares of {a} and {b}",
        "{a} * {a} - {b} * {b}",
        ("difference_of_squares", "squares_diff"),
    ),
    ("the square of the sum of {a} and {b}", "({a} + {b}) ** 2", ("square_of_sum", "sum_squared")),
    ("the square of the difference of {a} and {b}", "({a} - {b}) ** 2", ("square_of_difference", "diff_squared")),
    ("the average of {a} and {b}", "({a} + {b}) / 2", ("average_of_two", "mean_of_two", "midpoint")),
    ("the larger of {a} and {b}", "max({a}, {b})", ("larger", "max_of_two", "bigger")),
    ("the smaller of {a} and {b}", "min({a}, {b})", ("smaller", "min_of_two", "lesser")),
    ("the distance between {a} and {b}", "abs({a} - {b})", ("distance", "gap")),
    ("the sum of the absolute values of {a} and {b}", "abs({a}) + abs({b})", ("abs_sum", "sum_of_absolutes")),
    ("twice {a} plus {b}", "2 * {a} + {b}", ("double_plus", "twice_plus")),
    ("{a} plus twice {b}", "{a} + 2 * {b}", ("plus_double", "plus_twice")),
    ("the product of {a} and {b} plus their sum", "{a} * {b} + {a} + {b}", ("product_plus_sum",)),
)


def _two_numbers(rng: random.Random) -> Draft:
    one, two = a_pair(rng)
    noun, code, names = _TWO[rng.randrange(len(_TWO))]
    fill = {"a": one.name, "b": two.name}
    returns = "float" if "/ 2" in code else "int"
    return Draft(noun.format(**fill), names, (one, two), returns, (f"return {code.format(**fill)}",))


def _scaled(rng: random.Random) -> Draft:
    one, two = a_pair(rng)
    noun, code, names = _TWO[rng.randrange(len(_TWO))]
    fill, k = {"a": one.name, "b": two.name}, rng.randint(2, 20)
    words, form, tag = (
        (f"{{n}}, multiplied by {k}", "({c}) * {k}", f"times_{k}"),
        (f"{{n}}, increased by {k}", "{c} + {k}", f"plus_{k}"),
        (f"{{n}}, decreased by {k}", "{c} - {k}", f"minus_{k}"),
        (f"{{n}}, modulo {k}", "({c}) % {k}", f"mod_{k}"),
    )[rng.randrange(4)]
    code = form.format(c=code.format(**fill), k=k)
    returns = "float" if "/ 2" in code else "int"
    name = f"{names[0]}_{tag}"
    return Draft(words.format(n=noun.format(**fill)), (name, names[0]), (one, two), returns, (f"return {code}",))


def _three_numbers(rng: random.Random) -> Draft:
    names = (("a", "b", "c"), ("x", "y", "z"), ("p", "q", "r"), ("first", "second", "third"))[rng.randrange(4)]
    a, b, c = names
    choices = (
        (f"the sum of {a}, {b} and {c}", f"{a} + {b} + {c}", ("sum_three", "add_three")),
        (f"the product of {a}, {b} and {c}", f"{a} * {b} * {c}", ("product_three", "multiply_three")),
        (f"the smallest of {a}, {b} and {c}", f"min({a}, {b}, {c})", ("smallest_of_three", "min_three")),
        (f"the middle one of {a}, {b} and {c}", f"sorted([{a}, {b}, {c}])[1]", ("middle_of_three", "median_three")),
        (f"the average of {a}, {b} and {c}", f"({a} + {b} + {c}) / 3", ("average_three", "mean_three")),
        (f"{a} times {b} plus {c}", f"{a} * {b} + {c}", ("multiply_add", "times_plus")),
        (f"{a} plus {b} times {c}", f"{a} + {b} * {c}", ("add_multiplied", "plus_times")),
        (f"the sum of {a} and {b}, multiplied by {c}", f"({a} + {b}) * {c}", ("sum_times", "add_then_multiply")),
        (
            f"the difference between the largest and the smallest of {a}, {b} and {c}",
            f"max({a}, {b}, {c}) - min({a}, {b}, {c})",
            ("spread_three", "range_three"),
        ),
    )
    noun, code, fitting = choices[rng.randrange(len(choices))]
    params = tuple(Param(name, "int", an_int()) for name in names)
    return Draft(noun, fitting, params, "float" if "/ 3" in code else "int", (f"return {code}",))


def _mixed(rng: random.Random) -> Draft:
    one, two = a_pair(rng)
    a, b = one.name, two.name
    j, k = rng.randint(2, 9), rng.randint(2, 12)
    choices = (
        (f"{j} times {a} plus {k} times {b}", f"{j} * {a} + {k} * {b}", ("weighted_sum", "linear")),
        (f"{j} times {a} minus {k} times {b}", f"{j} * {a} - {k} * {b}", ("weighted_difference", "linear_diff")),
        (f"the square of {a} plus {j} times {b}", f"{a} * {a} + {j} * {b}", ("square_plus_times",)),
        (f"the product of {a} plus {j} and {b} plus {k}", f"({a} + {j}) * ({b} + {k})", ("shifted_product",)),
        (f"the larger of {a} times {j} and {b} times {k}", f"max({a} * {j}, {b} * {k})", ("larger_scaled",)),
        (f"the smaller of {a} plus {j} and {b} plus {k}", f"min({a} + {j}, {b} + {k})", ("smaller_shifted",)),
        (f"the remainder of {a} times {j} plus {b} divided by {k}", f"({a} * {j} + {b}) % {k}", ("mixed_mod",)),
    )
    noun, code, names = choices[rng.randrange(len(choices))]
    return Draft(noun, names, (one, two), "int", (f"return {code}",))


def loops(rng: random.Random, level: Level) -> Draft:
    """Explicit loops: over a range, or over the digits of a number."""
    if rng.random() < 0.35:
        return _digits(rng, level)
    n = pick(rng, ("n", "limit", "top", "number", "k", "end"))
    param = Param(n, "int", an_int(0, 25))
    condition = predicate(rng, positive_only=True) if level is not Level.EASY else None
    formula = mapping(rng) if level is Level.HARD or (level is Level.MEDIUM and rng.random() < 0.4) else None
    low = rng.choice((1, 1, 1, 0, 2, 3, 5))
    things = condition.words.format(things="numbers") if condition else "whole numbers"
    span = f"from {low} to {n}"
    what = formula.words.format(of=f"the {things} {span}") if formula else f"the {things} {span}"
    term = formula.code if formula else "x"
    tag = "_".join(part.tag for part in (formula, condition) if part) or "numbers"
    guard = f"    if {condition.code}:" if condition else ""
    pad = "        " if condition else "    "
    kind = rng.randrange(4) if level is not Level.EASY else rng.choice((0, 1, 3))
    head = (f"for x in range({low}, {n} + 1):", *((guard,) if guard else ()))
    if kind == 0:
        body = ("total = 0", *head, f"{pad}total += {term}", "return total")
        return Draft(f"the sum of {what}", (f"sum_{tag}", f"total_{tag}", f"sum_of_{tag}"), (param,), "int", body)
    if kind == 1:
        small = Param(n, "int", an_int(0, 9))
        body = ("result = 1", *head, f"{pad}result *= {term}", "return result")
        return Draft(f"the product of {what}", (f"product_{tag}", f"product_of_{tag}"), (small,), "int", body)
    if kind == 2:
        body = (
            "count = 0",
            f"for x in range({low}, {n} + 1):",
            guard or "    if x:",
            "        count += 1",
            "return count",
        )
        noun = f"how many {things} there are {span}"
        return Draft(noun, (f"count_{tag}", f"how_many_{tag}"), (param,), "int", body)
    body = ("result = []", *head, f"{pad}result.append({term})", "return result")
    return Draft(f"a list of {what}", (f"list_{tag}", f"collect_{tag}", f"{tag}_up_to"), (param,), "list[int]", body)


def _digits(rng: random.Random, level: Level) -> Draft:
    n = pick(rng, LOOP_INT_NAMES)
    param = Param(n, "int", an_int(0, 99999))
    condition = predicate(rng, positive_only=True) if level is not Level.EASY else None
    things = condition.words.format(things="digits") if condition else "digits"
    if condition and condition.words.startswith("multiples"):
        things = f"digits that are {condition.words}"
    tag = f"{condition.tag}_digits" if condition else "digits"
    guard = (f"    if {condition.code}:",) if condition else ()
    pad = "        " if condition else "    "
    term, words = ("x", "the {t}") if level is not Level.HARD else rng.choice((("x * x", "the squares of the {t}"), ("x * 2", "the doubles of the {t}"), ("x ** 3", "the cubes of the {t}"), ("x + 1", "the {t}, each increased by 1,")))  # fmt: skip
    kind = rng.randrange(3)
    loop = (f"while {n} > 0:", f"    x = {n} % 10", *guard)
    step = f"    {n} //= 10"
    of = words.format(t=things)
    if kind == 0:
        body = ("total = 0", *loop, f"{pad}total += {term}", step, "return total")
        return Draft(f"the sum of {of} of {n}", (f"sum_{tag}", f"{tag}_sum"), (param,), "int", body)
    if kind == 1:
        body = ("count = 0", *loop, f"{pad}count += 1", step, "return count")
        return Draft(f"the number of {things} of {n}", (f"count_{tag}", f"{tag}_count"), (param,), "int", body)
    body = ("result = 1", *loop, f"{pad}result *= {term}", step, "return result")
    return Draft(f"the product of {of} of {n}", (f"product_{tag}", f"{tag}_product"), (param,), "int", body)
