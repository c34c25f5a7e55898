"""Divisors, sequences, primes, common divisors, searches."""

import random

from evalkit.records import Level
from synth.teacher.numbers import a_pair
from synth.teacher.parts import LOOP_INT_NAMES, Draft, Param, an_int, pick, predicate


def algorithms(rng: random.Random, level: Level) -> Draft:
    """Divisors, sequences, searches."""
    n, k = pick(rng, LOOP_INT_NAMES), rng.randint(2, 12)
    natural = Param(n, "int", an_int(1, 60))
    makers = {
        Level.EASY: (_divisors, _sequence),
        Level.MEDIUM: (_divisors, _sequence, _steps),
        Level.HARD: (_search, _primes, _steps, _common),
    }
    return rng.choice(makers[level])(rng, natural, k)


def _divisors(rng: random.Random, param: Param, k: int) -> Draft:
    n = param.name
    condition = predicate(rng, positive_only=True)
    extra = rng.random() < 0.7
    things = condition.words.format(things="divisors") if extra else "divisors"
    if extra and things.startswith("multiples"):
        things = f"divisors that are {things}"
    tag = f"{condition.tag}_divisors" if extra else "divisors"
    test = f"{n} % x == 0 and {condition.code}" if extra else f"{n} % x == 0"
    span = f"range(1, {n} + 1)"
    choices = (
        (f"the number of {things} of {n}", f"return len([x for x in {span} if {test}])", "int", f"count_{tag}"),
        (f"the sum of the {things} of {n}", f"return sum(x for x in {span} if {test})", "int", f"sum_{tag}"),
        (f"the list of {things} of {n} in ascending order", f"return [x for x in {span} if {test}]", "list[int]", tag),
        (
            f"the list of {things} of {n} that are smaller than {n}",
            f"return [x for x in range(1, {n}) if {test}]",
            "list[int]",
            f"proper_{tag}",
        ),
        (
            f"{n} has more than {k} {things}",
            f"return len([x for x in {span} if {test}]) > {k}",
            "bool",
            f"has_many_{tag}",
        ),
    )
    noun, code, returns, name = choices[rng.randrange(len(choices))]
    return Draft(noun, (name, f"{name}_of"), (param,), returns, (code,))


def _sequence(rng: random.Random, param: Param, k: int) -> Draft:
    n = param.name
    short = Param(n, "int", an_int(0, 12))
    a, b = rng.randint(1, 9), rng.randint(2, 9)
    body: tuple[str, ...]
    kind = rng.randrange(4)
    if kind == 0:
        noun = f"the number at position {n} of the sequence that starts with {a} and {b}, where each number is the sum of the two before it"
        body = (f"a, b = {a}, {b}", f"for _ in range({n}):", "    a, b = b, a + b", "return a")
        return Draft(
            noun, ("sequence", "nth_term", "sum_sequence"), (short,), "int", body, also="Positions start at 0."
        )
    if kind == 1:
        noun = f"a list of the first {n} numbers of the sequence that starts with {a} and {b}, where each number is the sum of the two before it"
        body = (
            f"a, b = {a}, {b}",
            "result = []",
            f"for _ in range({n}):",
            "    result.append(a)",
            "    a, b = b, a + b",
            "return result",
        )
        return Draft(noun, ("sequence_list", "first_terms"), (short,), "list[int]", body)
    if kind == 2:
        noun = f"a list of the first {n} powers of {b}, starting with 1"
        return Draft(
            noun, (f"powers_of_{b}", "first_powers"), (short,), "list[int]", (f"return [{b} ** x for x in range({n})]",)
        )
    noun = f"a list of {n} numbers that starts with {a} and grows by {b}"
    return Draft(
        noun,
        ("arithmetic_sequence", "progression"),
        (short,),
        "list[int]",
        (f"return [{a} + {b} * x for x in range({n})]",),
    )


def _steps(rng: random.Random, param: Param, k: int) -> Draft:
    n = param.name
    k, goal = rng.randint(2, 9), rng.randint(50, 500)
    body: tuple[str, ...]
    kind = rng.randrange(3)
    if kind == 0:
        body = ("count = 0", f"while {n} >= {k}:", f"    {n} //= {k}", "    count += 1", "return count")
        return Draft(
            f"how many times {n} can be divided by {k} (rounding down) before it is less than {k}",
            (f"divisions_by_{k}", "count_divisions"),
            (param,),
            "int",
            body,
        )
    if kind == 1:
        body = ("count = 0", f"while {n} < {goal}:", f"    {n} *= {k}", "    count += 1", "return count")
        return Draft(
            f"how many times {n} must be multiplied by {k} to reach at least {goal}",
            ("multiplications_needed", f"steps_to_{goal}"),
            (param,),
            "int",
            body,
        )
    body = ("count = 0", f"while {n} % {k} == 0:", f"    {n} //= {k}", "    count += 1", "return count")
    return Draft(
        f"how many times {k} divides {n} without remainder",
        (f"factor_{k}_count", "multiplicity"),
        (param,),
        "int",
        body,
    )


def _search(rng: random.Random, param: Param, k: int) -> Draft:
    n = param.name
    condition = predicate(rng, positive_only=True)
    body: tuple[str, ...]
    if rng.random() < 0.5:
        clause = condition.words.format(things="number").replace("multiples", "multiple").replace("that are", "that is")
        body = (f"x = {n} + 1", f"while not ({condition.code.replace(' < ', ' > ')}):", "    x += 1", "return x")
        if " < " in condition.code or " > " in condition.code or ">=" in condition.code:
            clause, body = f"multiple of {k}", (f"x = {n} + 1", f"while not (x % {k} == 0):", "    x += 1", "return x")
        return Draft(
            f"the smallest {clause} that is greater than {n}", ("next_number", "smallest_above"), (param,), "int", body
        )
    body = ("x = 1", f"while x * x < {n} * {k}:", "    x += 1", "return x")
    return Draft(
        f"the smallest positive number whose square is at least {k} times {n}",
        ("smallest_root", "root_at_least"),
        (param,),
        "int",
        body,
    )


def _primes(rng: random.Random, param: Param, k: int) -> Draft:
    n = param.name
    test = "x > 1 and all(x % d != 0 for d in range(2, x))"
    low = rng.randint(1, 20)
    choices = (
        (
            f"a list of the prime numbers from {low} to {n}",
            f"return [x for x in range({low}, {n} + 1) if {test}]",
            "list[int]",
            "primes_between",
        ),
        (
            f"the number of prime numbers from {low} to {n}",
            f"return len([x for x in range({low}, {n} + 1) if {test}])",
            "int",
            "count_primes",
        ),
        (
            f"the sum of the prime numbers from {low} to {n}",
            f"return sum(x for x in range({low}, {n} + 1) if {test})",
            "int",
            "sum_primes",
        ),
        (
            f"a list of the numbers from {low} to {n} that are not prime",
            f"return [x for x in range({low}, {n} + 1) if not ({test})]",
            "list[int]",
            "non_primes",
        ),
        (f"{n} plus {low} is a prime number", f"x = {n} + {low}\nreturn {test}", "bool", f"is_prime_plus_{low}"),
        (
            f"{n} times {low + 1} plus 1 is a prime number",
            f"x = {n} * {low + 1} + 1\nreturn {test}",
            "bool",
            "is_prime_after",
        ),
    )
    noun, code, returns, name = choices[rng.randrange(len(choices))]
    return Draft(
        noun, (name, f"{name}_up_to" if returns != "bool" else name), (param,), returns, tuple(code.split("\n"))
    )


def _common(rng: random.Random, param: Param, k: int) -> Draft:
    one, two = a_pair(rng, 1, 40)
    while one.name == "x":  # solutions below use it themselves
        one, two = a_pair(rng, 1, 40)
    a, b = one.name, two.name
    euclid = (f"while {b}:", f"    {a}, {b} = {b}, {a} % {b}")
    choices = (
        (
            f"the greatest common divisor of {a} and {b}, multiplied by {k}",
            (*euclid, f"return {a} * {k}"),
            "int",
            f"gcd_times_{k}",
        ),
        (
            f"the greatest common divisor of {a} and {b}, plus {k}",
            (*euclid, f"return {a} + {k}"),
            "int",
            f"gcd_plus_{k}",
        ),
        (
            f"{a} and {b} have a common divisor greater than {k}",
            (*euclid, f"return {a} > {k}"),
            "bool",
            "have_common_divisor",
        ),
        (f"the greatest common divisor of {a} and {b} is {k}", (*euclid, f"return {a} == {k}"), "bool", f"gcd_is_{k}"),
        (
            f"a list of the common divisors of {a} and {b} up to {k}",
            (f"return [x for x in range(1, {k} + 1) if {a} % x == 0 and {b} % x == 0]",),
            "list[int]",
            "common_divisors",
        ),
        (
            f"the least common multiple of {a} and {b}, plus {k}",
            (f"x = {a}", f"while x % {b} != 0:", f"    x += {a}", f"return x + {k}"),
            "int",
            f"lcm_plus_{k}",
        ),
    )
    noun, body, returns, name = choices[rng.randrange(len(choices))]
    return Draft(noun, (name,), (one, two), returns, body)
