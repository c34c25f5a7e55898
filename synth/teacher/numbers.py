"""Formulas, loops and number theory."""

import random

from evalkit.records import Level
from synth.teacher.parts import (
    INT_NAMES,
    PAIR_NAMES,
    Condition,
    Draft,
    Formula,
    Param,
    Source,
    an_int,
    condition,
    constant,
    formula,
    pick,
    summary,
)

_JOINED = (
    ("the sum of {a} and {b}", "{a} + {b}", "sum"),
    ("the difference of {a} and {b}", "{a} - {b}", "difference"),
    ("the product of {a} and {b}", "{a} * {b}", "product"),
    ("the larger of {a} and {b}", "max({a}, {b})", "larger"),
    ("the smaller of {a} and {b}", "min({a}, {b})", "smaller"),
)


def arithmetic(rng: random.Random, level: Level) -> Draft:
    """A formula of one number; of two, then changed; of two that are changed before they are joined."""
    changed = formula(rng)
    if level is Level.EASY and rng.random() < 0.4:
        n = pick(rng, INT_NAMES)
        own = (changed.tag, f"{changed.tag}_number", f"number_{changed.tag}")
        return Draft(changed.one.format(of=n), own, (Param(n, "int", an_int()),), "int", (f"return {changed.of(n)}",))
    one, two = a_pair(rng)
    said, code, tag = _JOINED[rng.randrange(len(_JOINED))]
    names: tuple[str, ...]
    a, b = one.name, two.name
    if level is Level.EASY:
        names = (tag, f"{tag}_of_two", f"{tag}_of_numbers")
        return Draft(said.format(a=a, b=b), names, (one, two), "int", (f"return {code.format(a=a, b=b)}",))
    if level is Level.MEDIUM:
        whole = code.format(a=a, b=b) if code.startswith("m") else f"({code.format(a=a, b=b)})"
        expression = f"abs{whole}" if changed.tag == "absolute" and whole[0] == "(" else changed.of(whole)
        noun = changed.one.format(of=said.format(a=a, b=b) + ("" if changed.one.startswith("the") else ","))
        names = (f"{tag}_{changed.tag}", f"{changed.tag}_{tag}", f"{changed.tag}_of_{tag}")
        return Draft(noun, names, (one, two), "int", (f"return {expression}",))
    left, right = formula(rng, operand=True), formula(rng, operand=True)
    noun = said.format(a=left.one.format(of=a), b=right.one.format(of=b))
    halves = (left.of(a), right.of(b)) if code.startswith("m") else (f"({left.of(a)})", f"({right.of(b)})")
    expression = code.format(a=halves[0], b=halves[1])
    names = (f"{tag}_{left.tag}_{right.tag}", f"{tag}_of_{left.tag}_and_{right.tag}")
    return Draft(noun, names, (one, two), "int", (f"return {expression}",))


def a_pair(rng: random.Random, low: int = -20, high: int = 40) -> tuple[Param, Param]:
    a, b = PAIR_NAMES[rng.randrange(len(PAIR_NAMES))]
    return Param(a, "int", an_int(low, high)), Param(b, "int", an_int(low, high))


_GROWING = (
    ("the sum of", "total = 0", "total += {term}", "total", "int", "sum"),
    ("the product of", "product = 1", "product *= {term}", "product", "int", "product"),
    ("a list of", "result = []", "result.append({term})", "result", "list[int]", "list"),
)


def loops(rng: random.Random, level: Level) -> Draft:
    """Explicit loops over a range or over digits: some kept, or changed, or both."""
    n = pick(rng, INT_NAMES)
    kept: Condition | None = condition(rng, natural=True)
    changed: Formula | None = formula(rng, natural=True)
    if level is not Level.HARD:
        which = rng.randrange(2 if level is Level.MEDIUM else 3)
        kept, changed = (kept if which == 0 else None), (changed if which == 1 else None)
    digits = rng.random() < 0.4
    param = Param(n, "int", an_int(0, 99999) if digits else an_int(0, 12))
    low = rng.choice((1, 1, 1, 0, 2))
    head = (f"while {n} > 0:", f"    x = {n} % 10") if digits else (f"for x in range({low}, {n} + 1):",)
    last = (f"    {n} = {n} // 10",) if digits else ()
    things, where = ("digits", f"of {n}") if digits else ("numbers", f"from {low} to {n}")
    said = kept.things.format(things=things) if kept else things
    tag = "_".join(part.tag for part in (changed, kept) if part) or "all"
    guard = (f"    if {kept.code}:",) if kept else ()
    pad = "        " if kept else "    "
    if level is not Level.HARD and kept and rng.random() < 0.4:
        noun = pick(rng, (f"the number of {said} {where}", f"how many {said} there are {where}"))
        body = ("count = 0", *head, *guard, f"{pad}count += 1", *last, "return count")
        return Draft(noun, (f"count_{tag}", f"count_{tag}_{things}"), (param,), "int", body)
    words, start, step, result, returns, name = _GROWING[rng.randrange(2 if digits else 3)]
    of = changed.many.format(of=f"the {said} {where}") if changed else f"the {said} {where}"
    body = (start, *head, *guard, pad + step.format(term=changed.code if changed else "x"), *last, f"return {result}")
    return Draft(
        f"{words} {of}", (f"{name}_{tag}", f"{name}_of_{tag}", f"{name}_{tag}_{things}"), (param,), returns, body
    )


def algorithms(rng: random.Random, level: Level) -> Draft:
    """Divisors, primes, common divisors, sequences, repeated steps."""
    if level is Level.EASY:
        return rng.choice((_divisors, _sequence, _steps))(rng, level)
    if level is Level.MEDIUM:
        return rng.choice((_divisors, _divisors, _primes, _steps, _next))(rng, level)
    return rng.choice((_divisors, _divisors, _primes, _common))(rng, level)


def _divisors(rng: random.Random, level: Level) -> Draft:
    n = pick(rng, INT_NAMES)
    source = Source("divisors", f"of {n}", f"range(1, {n} + 1)", f"{n} % x == 0")
    phrase = summary(rng, source, level, orders=False, natural=True)
    names = tuple(f"{name}_divisors".replace("_divisors_divisors", "_divisors") for name in phrase.names)
    return Draft(phrase.noun, names, (Param(n, "int", an_int(1, 60)),), phrase.returns, (f"return {phrase.code}",))


def _primes(rng: random.Random, level: Level) -> Draft:
    n, low = pick(rng, INT_NAMES), constant(rng)
    source = Source(
        "prime numbers", f"from {low} to {n}", f"range({low}, {n} + 1)", "all(x % d != 0 for d in range(2, x))"
    )
    phrase = summary(rng, source, Level.EASY if level is Level.MEDIUM else Level.MEDIUM, orders=False, natural=True)
    names = tuple(f"{name.replace('_prime numbers', '')}_primes" for name in phrase.names)
    return Draft(phrase.noun, names, (Param(n, "int", an_int(5, 50)),), phrase.returns, (f"return {phrase.code}",))


def _sequence(rng: random.Random, level: Level) -> Draft:
    n, a, b = pick(rng, INT_NAMES), rng.randint(1, 9), constant(rng)
    param = Param(n, "int", an_int(0, 12))
    if rng.random() < 0.5:
        noun = f"the number at position {n} of the sequence that starts with {a} and {b}, where each number is the sum of the two before it"
        body = (f"a, b = {a}, {b}", f"for _ in range({n}):", "    a, b = b, a + b", "return a")
        names = ("sequence", "nth_term", f"sequence_from_{a}_{b}")
        return Draft(noun, names, (param,), "int", body, also="Positions start at 0.")
    noun = f"a list of {n} numbers that starts with {a} and grows by {b}"
    names = ("progression", "arithmetic_sequence", f"grow_by_{b}")
    return Draft(noun, names, (param,), "list[int]", (f"return [{a} + {b} * x for x in range({n})]",))


def _steps(rng: random.Random, level: Level) -> Draft:
    n, k, goal = pick(rng, INT_NAMES), constant(rng), 10 * constant(rng)
    noun, head, change, name = (
        (f"how many times {n} can be divided by {k} (rounding down) before it is less than {k}", f"while {n} >= {k}:", f"{n} = {n} // {k}", f"divisions_by_{k}"),
        (f"how many times {n} must be multiplied by {k} to reach at least {goal}", f"while {n} < {goal}:", f"{n} = {n} * {k}", f"steps_to_{goal}"),
        (f"how many times {k} divides {n} without remainder", f"while {n} % {k} == 0:", f"{n} = {n} // {k}", f"factor_{k}_count"),
    )[rng.randrange(3)]  # fmt: skip
    body = ("count = 0", head, f"    {change}", "    count += 1", "return count")
    make = (lambda r: r.randint(1, 9) * k ** r.randint(0, 3)) if name.startswith("factor") else an_int(1, 99)
    return Draft(noun, (name, "count_steps", "how_often"), (Param(n, "int", make),), "int", body)


def _next(rng: random.Random, level: Level) -> Draft:
    n, k = pick(rng, INT_NAMES), constant(rng)
    said, code = rng.choice(((f"number divisible by {k}", f"x % {k} == 0"), (f"number whose square is above {k} times {n}", f"x ** 2 > {k} * {n}"), (f"number not divisible by {k}", f"x % {k} != 0")))  # fmt: skip
    start = f"x = {n} + 1" if "square" not in said else "x = 1"
    noun = f"the smallest {said} that is greater than {n}" if "square" not in said else f"the smallest positive {said}"
    body = (start, f"while not ({code}):", "    x += 1", "return x")
    return Draft(noun, ("next_number", "smallest_number", "search"), (Param(n, "int", an_int(1, 60)),), "int", body)


def _common(rng: random.Random, level: Level) -> Draft:
    one, two = a_pair(rng, 1, 40)
    a, b, changed = one.name, two.name, formula(rng, natural=True)
    noun = f"the greatest common divisor of {a} and {b}"
    noun = changed.one.format(of=noun if changed.one.startswith("the") else f"{noun},")
    body = (f"while {b}:", f"    {a}, {b} = {b}, {a} % {b}", f"return {changed.of(a)}")
    return Draft(noun, (f"gcd_{changed.tag}", f"{changed.tag}_gcd", "common_divisor"), (one, two), "int", body)
