"""Conditions, files and errors."""

import random

from evalkit.records import Level
from synth.teacher.parts import (
    INT_NAMES,
    LIST_NAMES,
    PAIR_NAMES,
    Draft,
    Param,
    Source,
    a_list,
    an_int,
    condition,
    constant,
    formula,
    pick,
    summary,
)

_ANSWERS = (("yes", "no"), ("big", "small"), ("good", "bad"), ("A", "B"), ("on", "off"), ("left", "right"))


def logic(rng: random.Random, level: Level) -> Draft:
    """One condition, two joined, or a choice between several answers."""
    n = pick(rng, INT_NAMES)
    param = Param(n, "int", an_int(-12, 30))
    one, two = condition(rng), condition(rng)
    yes, no = _ANSWERS[rng.randrange(len(_ANSWERS))]
    body: tuple[str, ...]
    if level is Level.EASY:
        if rng.random() < 0.4:
            return Draft(f"{n} is {one.said}", (f"is_{one.tag}", f"check_{one.tag}"), (param,), "bool", (f"return {one.of(n)}",))  # fmt: skip
        body = (f"if {one.of(n)}:", f"    return '{yes}'", f"return '{no}'")
        return Draft(f"'{yes}' if {n} is {one.said}, otherwise '{no}'", (f"label_{one.tag}", "choose", "decide"), (param,), "str", body)  # fmt: skip
    changed, other = formula(rng), formula(rng)
    if level is Level.MEDIUM:
        if rng.random() < 0.5:
            said, joint, tag = rng.choice((("{a} and {b}", "{c} and {d}", "and"), ("{a} or {b}", "{c} or {d}", "or"), ("{a} but not {b}", "{c} and not {d}", "not")))  # fmt: skip
            code = joint.format(c=one.of(n), d=two.of(n))
            tags = (f"{one.tag}_{tag}_{two.tag}", f"is_{one.tag}_{tag}_{two.tag}")
            return Draft(f"{n} is {said.format(a=one.said, b=two.said)}", tags, (param,), "bool", (f"return {code}",))
        body = (f"if {one.of(n)}:", f"    return {changed.of(n)}", f"return {n}")
        noun = f"{changed.one.format(of=n)} if {n} is {one.said}, otherwise {n}"
        return Draft(noun, (f"{changed.tag}_if_{one.tag}", "adjust", "change"), (param,), "int", body)
    if rng.random() < 0.4:
        body = (f"if {one.of(n)}:", f"    return '{yes}'", f"if {two.of(n)}:", f"    return '{no}'", "return 'none'")
        noun = f"'{yes}' if {n} is {one.said}, '{no}' if it is {two.said}, otherwise 'none'"
        return Draft(noun, (f"label_{one.tag}_{two.tag}", "classify", "choose"), (param,), "str", body)
    body = (f"if {one.of(n)}:", f"    return {changed.of(n)}", f"return {other.of(n)}")
    noun = f"{changed.one.format(of=n)} if {n} is {one.said}, otherwise {other.one.format(of=n)}"
    return Draft(noun, (f"{changed.tag}_or_{other.tag}", "transform", "change"), (param,), "int", body)


def file_io(rng: random.Random, level: Level) -> Draft:
    """Numbers in a file, one per line: kept, changed, reduced."""
    path = pick(rng, ("path", "filename", "file"))
    fixtures = tuple((f"input{i}.txt", "".join(f"{rng.randint(-9, 20)}\n" for _ in range(size))) for i, size in enumerate((6, 5, 3, 0)))  # fmt: skip
    phrase = summary(
        rng, Source("numbers", pick(rng, ("in the file {p}", "in the file at {p}")).format(p=path), "nums"), level
    )
    body = (f"with open({path}) as f:", "    nums = [int(line) for line in f]", f"return {phrase.code}")
    names = tuple(f"{name}_{end}" for name, end in zip(phrase.names, ("file", "in_file", "from_file", "numbers"), strict=False))  # fmt: skip
    param = Param(path, "str", lambda r: f"input{r.randrange(4)}.txt")
    also = pick(rng, ("The file has one number per line.", "There is one number on each line."))
    return Draft(phrase.noun, names, (param,), phrase.returns, body, files=fixtures, also=also)


def error_handling(rng: random.Random, level: Level) -> Draft:
    """Fallbacks for what goes wrong, refusals of bad input, bad items that are skipped."""
    if level is Level.EASY:
        return rng.choice((_division, _number, _index))(rng)
    if level is Level.MEDIUM:
        return rng.choice((_refusing, _skipping))(rng, level)
    return _skipping(rng, level)


def _fallback(rng: random.Random) -> str:
    return rng.choice(("None", "0", "-1"))


def _either(kind: str, fallback: str) -> str:
    return f"{kind} | None" if fallback == "None" else kind


def _division(rng: random.Random) -> Draft:
    a, b = PAIR_NAMES[rng.randrange(len(PAIR_NAMES))]
    fallback, k = _fallback(rng), constant(rng)
    said, code, tag = (
        ("{a} divided by {b} (rounded down)", "{a} // {b}", "divide"),
        ("{a} modulo {b}", "{a} % {b}", "modulo"),
        (f"{{a}} plus {k}, divided by {{b}} (rounded down)", f"({{a}} + {k}) // {{b}}", f"plus_{k}_divide"),
        (f"{{a}} times {k}, modulo {{b}}", f"{{a}} * {k} % {{b}}", f"times_{k}_modulo"),
    )[rng.randrange(4)]
    body = ("try:", f"    return {code.format(a=a, b=b)}", "except ZeroDivisionError:", f"    return {fallback}")
    params = (Param(a, "int", an_int()), Param(b, "int", lambda r: r.choice((0, r.randint(-9, 9), r.randint(1, 9)))))
    names = (f"safe_{tag}", f"{tag}_or_default")
    return Draft(
        said.format(a=a, b=b), names, params, _either("int", fallback), body, also=f"Return {fallback} if {b} is zero."
    )


def _a_number(rng: random.Random) -> str:
    return rng.choice((str(rng.randint(-20, 40)), "abc", "", "12x", str(rng.randint(0, 9)), str(rng.randint(0, 20))))


def _number(rng: random.Random) -> Draft:
    s, changed, fallback = pick(rng, ("s", "text", "value", "string")), formula(rng), _fallback(rng)
    body = ("try:", f"    x = int({s})", "except ValueError:", f"    return {fallback}", f"return {changed.code}")
    noun, also = changed.one.format(of=f"the integer in {s}"), f"Return {fallback} if {s} is not an integer."
    names = (f"parse_{changed.tag}", "read_number", f"safe_{changed.tag}")
    return Draft(noun, names, (Param(s, "str", _a_number),), _either("int", fallback), body, also=also)


def _index(rng: random.Random) -> Draft:
    name, i, changed, fallback = (
        pick(rng, LIST_NAMES),
        pick(rng, ("i", "index", "position")),
        formula(rng),
        _fallback(rng),
    )
    body = ("try:", f"    x = {name}[{i}]", "except IndexError:", f"    return {fallback}", f"return {changed.code}")
    params = (Param(name, "list[int]", a_list()), Param(i, "int", an_int(0, 6)))
    noun, also = (
        changed.one.format(of=f"the number at index {i} of {name}" + ("" if changed.one.startswith("the") else ",")),
        f"Return {fallback} if there is no such index.",
    )
    return Draft(
        noun, ("safe_get", "get_or_default", f"{changed.tag}_at"), params, _either("int", fallback), body, also=also
    )


def _refusing(rng: random.Random, level: Level) -> Draft:
    n, changed, limit = pick(rng, INT_NAMES), formula(rng), constant(rng)
    body = (f"if {n} < {limit}:", "    raise ValueError", f"return {changed.of(n)}")
    also, raises = f"Raise a ValueError if {n} is less than {limit}.", f"({limit - 1 - rng.randrange(5)})"
    names = ("checked", "strict", f"checked_{changed.tag}")
    return Draft(
        changed.one.format(of=n), names, (Param(n, "int", an_int(limit, 60)),), "int", body, also=also, raises=raises
    )


def _skipping(rng: random.Random, level: Level) -> Draft:
    name = pick(rng, ("texts", "strings", "parts", "fields"))
    phrase = summary(rng, Source("integers", f"in {name}", "numbers"), level)
    body = ("numbers = []", f"for s in {name}:", "    try:", "        numbers.append(int(s))", "    except ValueError:", "        continue", f"return {phrase.code}")  # fmt: skip
    param = Param(name, "list[str]", lambda r: [_a_number(r) for _ in range(r.randint(0, 6))])
    names = tuple(f"valid_{tag}" for tag in phrase.names)
    return Draft(phrase.noun, names, (param,), phrase.returns, body, also="Strings that are not integers are skipped.")
