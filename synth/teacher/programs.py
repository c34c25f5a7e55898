"""Conditions, files, errors and classes."""

import random

from evalkit.records import Level
from synth.teacher.parts import INT_NAMES, LIST_NAMES, Draft, Param, a_list, an_int, mapping, pick, predicate, singular

_LABELS = (("low", "medium", "high"), ("small", "middle", "large"), ("cold", "warm", "hot"), ("bad", "fair", "good"), ("short", "normal", "long"))  # fmt: skip
_SINGLE = {"even": "even", "odd": "odd", "positive": "positive", "negative": "negative", "nonzero": "not zero"}


def _said(tag: str, code: str) -> str:
    """A condition on one number, as a predicate of a sentence."""
    if tag in _SINGLE:
        return _SINGLE[tag]
    name, _, k = tag.rpartition("_")
    words = {"above": "greater than", "below": "less than", "at_least": "at least", "divisible_by": "divisible by", "multiples_of": "a multiple of", "not_divisible_by": "not divisible by", "not": "different from"}  # fmt: skip
    return f"{words[name]} {k}"


def logic(rng: random.Random, level: Level) -> Draft:
    """One condition, two joined, or a choice between several answers."""
    n = pick(rng, INT_NAMES)
    param = Param(n, "int", an_int())
    one, two = predicate(rng), predicate(rng)
    while two.tag == one.tag:
        two = predicate(rng)
    first, second = one.code.replace("x", n), two.code.replace("x", n)
    said, also_said = _said(one.tag, one.code), _said(two.tag, two.code)
    if level is Level.EASY:
        if rng.random() < 0.5:
            noun = f"{n} is {said}"
            return Draft(noun, (f"is_{one.tag}", f"check_{one.tag}"), (param,), "bool", (f"return {first}",))
        yes, no = rng.choice(
            (("yes", "no"), ("big", "small"), ("good", "bad"), ("A", "B"), ("left", "right"), ("on", "off"))
        )
        body = (f"if {first}:", f"    return '{yes}'", f"return '{no}'")
        return Draft(
            f"'{yes}' if {n} is {said}, otherwise '{no}'", ("label", "choose", "decide", "pick"), (param,), "str", body
        )
    if level is Level.MEDIUM:
        return _joined(rng, param, (first, said), (second, also_said), (one.tag, two.tag))
    return rng.choice((_ranges, _branches, _clamped))(rng, param, (first, said), (second, also_said))


def _joined(
    rng: random.Random, param: Param, one: tuple[str, str], two: tuple[str, str], tags: tuple[str, str]
) -> Draft:
    n = param.name
    choices = (
        (f"{n} is {one[1]} and {two[1]}", f"{one[0]} and {two[0]}", f"{tags[0]}_and_{tags[1]}"),
        (f"{n} is {one[1]} or {two[1]}", f"{one[0]} or {two[0]}", f"{tags[0]}_or_{tags[1]}"),
        (f"{n} is {one[1]} but not {two[1]}", f"{one[0]} and not ({two[0]})", f"{tags[0]}_not_{tags[1]}"),
        (f"{n} is neither {one[1]} nor {two[1]}", f"not ({one[0]} or {two[0]})", f"neither_{tags[0]}_{tags[1]}"),
        (
            f"{n} is either {one[1]} or {two[1]}, but not both",
            f"({one[0]}) != ({two[0]})",
            f"either_{tags[0]}_{tags[1]}",
        ),
    )
    noun, code, tag = choices[rng.randrange(len(choices))]
    return Draft(noun, (tag, f"is_{tag}"), (param,), "bool", (f"return {code}",))


def _ranges(rng: random.Random, param: Param, one: tuple[str, str], two: tuple[str, str]) -> Draft:
    low, high = sorted(rng.sample(range(0, 30), 2))
    a, b, c = rng.choice(_LABELS)
    n = param.name
    noun = f"'{a}' if {n} is less than {low}, '{b}' if it is less than {high}, and '{c}' otherwise"
    body = (f"if {n} < {low}:", f"    return '{a}'", f"if {n} < {high}:", f"    return '{b}'", f"return '{c}'")
    return Draft(noun, ("classify", "grade", "category", "level", "bucket"), (param,), "str", body)


def _branches(rng: random.Random, param: Param, one: tuple[str, str], two: tuple[str, str]) -> Draft:
    n = param.name
    j, k = rng.randint(2, 9), rng.randint(2, 9)
    body: tuple[str, ...]
    noun = f"{n} times {j} if {n} is {one[1]}, {n} plus {k} if it is {two[1]}, and {n} itself otherwise"
    body = (f"if {one[0]}:", f"    return {n} * {j}", f"if {two[0]}:", f"    return {n} + {k}", f"return {n}")
    if rng.random() < 0.4:
        words = rng.sample(("ping", "pong", "tic", "tac", "red", "blue", "foo", "bar"), 2)
        noun = f"'{words[0]}' if {n} is {one[1]}, '{words[1]}' if it is {two[1]}, and {n} as a string otherwise"
        body = (
            f"if {one[0]}:",
            f"    return '{words[0]}'",
            f"if {two[0]}:",
            f"    return '{words[1]}'",
            f"return str({n})",
        )
        return Draft(noun, ("say", "word_for", "translate", "label"), (param,), "str", body)
    return Draft(noun, ("transform", "adjust", "change", "step"), (param,), "int", body)


def _clamped(rng: random.Random, param: Param, one: tuple[str, str], two: tuple[str, str]) -> Draft:
    n = param.name
    low, high = sorted(rng.sample(range(-5, 30), 2))
    body: tuple[str, ...]
    kind = rng.randrange(3)
    if kind == 0:
        body = (f"return max({low}, min({n}, {high}))",)
        return Draft(
            f"{n} limited to the range from {low} to {high}", ("clamp", "limit", "bound"), (param,), "int", body
        )
    if kind == 1:
        return Draft(
            f"{n} is between {low} and {high}, both included",
            ("in_range", "between", "within"),
            (param,),
            "bool",
            (f"return {low} <= {n} <= {high}",),
        )
    body = (f"if {n} > {high}:", f"    return {n} - {high}", f"if {n} < {low}:", f"    return {low} - {n}", "return 0")
    return Draft(
        f"how far {n} is outside the range from {low} to {high}, or 0 if it is inside",
        ("outside", "excess", "overflow"),
        (param,),
        "int",
        body,
    )


def _lines(rng: random.Random) -> str:
    return "".join(f"{rng.randint(-9, 20)}\n" for _ in range(rng.randint(1, 6)))


def file_io(rng: random.Random, level: Level) -> Draft:
    """Numbers in a file, one per line: read, keep, change; or written and read back."""
    path = pick(rng, ("path", "filename", "file", "name"))
    kept, changed = predicate(rng), mapping(rng)
    fixtures = tuple((f"input{i}.txt", _lines(rng)) for i in range(4))
    param = Param(path, "str", lambda r: f"input{r.randrange(4)}.txt")
    read = (f"with open({path}) as f:", "    nums = [int(line) for line in f]")
    where = rng.choice(("in the file {p}", "in the file at {p}", "stored in the file {p}")).format(p=path)
    also = rng.choice(
        (
            "The file has one number per line.",
            "Each line of the file holds one integer.",
            "There is one integer on each line.",
        )
    )
    things = kept.words.format(things="numbers") if level is not Level.EASY else "numbers"
    only = f" if {kept.code}" if level is not Level.EASY else ""
    words = f"the {things} {where}"
    term = "x"
    if level is Level.HARD:
        words, term = changed.words.format(of=words), changed.code
    tag = (
        "_".join(part for part in (changed.tag if level is Level.HARD else "", kept.tag if only else "") if part)
        or "file"
    )
    source = "nums" if level is Level.EASY else f"{term} for x in nums{only}"
    whole = "nums" if level is Level.EASY else f"[{source}]"
    choices = [
        (f"the sum of {words}", f"return sum({source})", "int", f"sum_{tag}"),
        (
            f"the number of {things} {where}",
            f"return len({whole if level is not Level.HARD else f'[x for x in nums{only}]'})",
            "int",
            f"count_{tag}",
        ),
        (
            f"the largest of {words}, or 0 if there are none",
            f"return max({'nums' if level is Level.EASY else f'({source})'}, default=0)",
            "int",
            f"largest_{tag}",
        ),
        (
            f"the smallest of {words}, or 0 if there are none",
            f"return min({'nums' if level is Level.EASY else f'({source})'}, default=0)",
            "int",
            f"smallest_{tag}",
        ),
        (f"a sorted list of {words}", f"return sorted({source})", "list[int]", f"sorted_{tag}"),
        (f"a list of {words} in reverse order", f"return {whole}[::-1]", "list[int]", f"reversed_{tag}"),
    ]
    noun, code, returns, name = choices[rng.randrange(len(choices))]
    return Draft(
        noun, (name, f"read_{name}", f"{name}_from_file"), (param,), returns, (*read, code), files=fixtures, also=also
    )


def error_handling(rng: random.Random, level: Level) -> Draft:
    """Fallbacks for what goes wrong, and refusals of bad input."""
    k = rng.randint(-5, 20)
    if level is Level.EASY:
        return rng.choice((_safe_division, _safe_int))(rng, k)
    if level is Level.MEDIUM:
        return rng.choice((_safe_index, _valid_only))(rng, k)
    return rng.choice((_valid_only, _refusing))(rng, k)


def _safe_division(rng: random.Random, k: int) -> Draft:
    a, b = rng.choice((("a", "b"), ("x", "y"), ("m", "n"), ("top", "bottom"), ("num", "den")))
    sign, words, tag = rng.choice(
        (
            ("//", "{a} divided by {b}, rounded down", "divide"),
            ("%", "the remainder of {a} divided by {b}", "remainder"),
            ("/", "{a} divided by {b}", "quotient"),
        )
    )
    fallback, said = rng.choice((("None", "None"), (str(k), str(k)), ("0", "0")))
    body = ("try:", f"    return {a} {sign} {b}", "except ZeroDivisionError:", f"    return {fallback}")
    params = (Param(a, "int", an_int()), Param(b, "int", lambda r: r.choice((0, 0, r.randint(-9, 9), r.randint(1, 9)))))
    returns = "float | None" if sign == "/" else "int | None"
    return Draft(
        words.format(a=a, b=b),
        (f"safe_{tag}", f"{tag}_or_default"),
        params,
        returns,
        body,
        also=f"Return {said} if {b} is zero.",
    )


def _number_text(rng: random.Random) -> object:
    return rng.choice((str(rng.randint(-50, 99)), "abc", "", "12x", f" {rng.randint(0, 9)} ", str(rng.randint(0, 9))))


def _safe_int(rng: random.Random, k: int) -> Draft:
    s = pick(rng, ("s", "text", "value", "string", "raw"))
    changed = mapping(rng)
    fallback = rng.choice((str(k), "0", "None", "-1"))
    plain = rng.random() < 0.3
    words = f"{s} converted to an integer" if plain else singular(changed.words).format(of=f"the integer in {s}")
    code = f"int({s})" if plain else None
    body = (
        ("try:", f"    return {code}", "except ValueError:", f"    return {fallback}")
        if code
        else ("try:", f"    x = int({s})", "except ValueError:", f"    return {fallback}", f"return {changed.code}")
    )
    return Draft(
        words,
        ("parse_int", "to_int", "read_number", "safe_int"),
        (Param(s, "str", _number_text),),
        "int | None",
        body,
        also=f"Return {fallback} if {s} is not a number.",
    )


def _safe_index(rng: random.Random, k: int) -> Draft:
    name, i = pick(rng, LIST_NAMES[:8]), pick(rng, ("i", "index", "pos", "position"))
    factor = rng.randint(2, 9)
    fallback = rng.choice((str(k), "None", "0"))
    sign, words = rng.choice(
        (
            (f" * {factor}", f", multiplied by {factor}"),
            (f" + {factor}", f", plus {factor}"),
            ("", ""),
            (f" - {factor}", f", minus {factor}"),
        )
    )
    body = ("try:", f"    return {name}[{i}]{sign}", "except IndexError:", f"    return {fallback}")
    params = (Param(name, "list[int]", a_list()), Param(i, "int", an_int(0, 7)))
    return Draft(
        f"the number at index {i} of {name}{words}",
        ("safe_get", "get_or_default", "item_at"),
        params,
        "int | None",
        body,
        also=f"Return {fallback} if there is no such index.",
    )


def _valid_only(rng: random.Random, k: int) -> Draft:
    name = rng.choice(("texts", "strings", "parts", "tokens", "items", "fields"))
    kept, changed = predicate(rng), mapping(rng)
    things = kept.words.format(things="numbers")
    kind = rng.randrange(3)
    step = ("total += x", "total += 1", "result.append(x)")[kind]
    start, end = (("total = 0", "return total"), ("total = 0", "return total"), ("result = []", "return result"))[kind]
    filtered = rng.random() < 0.6
    body = (start, f"for s in {name}:", "    try:", "        x = int(s)", "    except ValueError:", "        continue", *((f"    if {kept.code}:", f"        {step}") if filtered else (f"    {step.replace('x', changed.code) if kind != 1 else step}",)), end)  # fmt: skip
    what = (
        f"the {things} in {name}"
        if filtered
        else (
            changed.words.format(of=f"the numbers in {name}")
            if kind != 1
            else f"the strings in {name} that are numbers"
        )
    )
    noun = (f"the sum of {what}", f"the number of {what.removeprefix('the ')}", f"a list of {what}")[kind]
    make = lambda r: [_number_text(r) for _ in range(r.randint(0, 5))]  # noqa: E731  # one draw, used here only
    return Draft(
        noun,
        (f"valid_{('sum', 'count', 'numbers')[kind]}", "parse_all", f"safe_{('sum', 'count', 'list')[kind]}"),
        (Param(name, "list[str]", make),),
        "list[int]" if kind == 2 else "int",
        body,
        also="Strings that are not numbers are skipped.",
    )


def _refusing(rng: random.Random, k: int) -> Draft:
    n = pick(rng, INT_NAMES)
    changed = mapping(rng)
    limit = rng.randint(0, 9)
    words = singular(changed.words).format(of=n)
    body = (f"if {n} < {limit}:", "    raise ValueError", f"return {changed.code.replace('x', n)}")
    return Draft(
        words,
        ("checked", "strict", f"checked_{changed.tag}"),
        (Param(n, "int", an_int(limit, 60)),),
        "int",
        body,
        also=f"Raise a ValueError if {n} is less than {limit}.",
        raises=f"({limit - 1 - rng.randrange(5)})",
    )
