"""Lists of numbers and words: keep, change, reduce, arrange."""

import random

from evalkit.records import Level
from synth.teacher.parts import LIST_NAMES, Draft, Param, Part, a_list, mapping, pick, predicate


def lists(rng: random.Random, level: Level) -> Draft:
    """Keep some numbers, change them, reduce or arrange them: one, two or three of these."""
    if level is Level.EASY:
        return rng.choice((_reduce, _keep, _change, _arrange, _position))(rng, None, None)
    if level is Level.MEDIUM:
        kept, changed = predicate(rng), mapping(rng)
        return rng.choice(
            (
                lambda: _reduce(rng, kept, None),
                lambda: _reduce(rng, None, changed),
                lambda: _keep(rng, kept, changed),
                lambda: _arrange(rng, kept, None),
                lambda: _position(rng, kept, None),
            )
        )()
    kept, changed = predicate(rng), mapping(rng)
    return rng.choice((_reduce, _arrange))(rng, kept, changed)


def _source(rng: random.Random, kept: Part | None, changed: Part | None) -> tuple[str, str, str]:
    """`(parameter, words, comprehension)` of the numbers that are worked on."""
    name = pick(rng, LIST_NAMES)
    things = kept.words.format(things="numbers") if kept else "numbers"
    words = f"the {things} in {name}"
    words = changed.words.format(of=words) if changed else words
    code = f"{changed.code if changed else 'x'} for x in {name}"
    return name, words, code + (f" if {kept.code}" if kept else "")


def _tag(*parts: Part | None) -> str:
    return "_".join(part.tag for part in parts if part)


def _reduce(rng: random.Random, kept: Part | None, changed: Part | None) -> Draft:
    name, words, code = _source(rng, kept, changed)
    plain = kept is None and changed is None
    tag = _tag(changed, kept) or "list"
    param = Param(name, "list[int]", a_list())
    whole = name if plain else f"[{code}]"
    body: tuple[str, ...]
    kind = rng.randrange(6)
    if kind == 0:
        total = f"sum({name})" if plain else f"sum({code})"
        return Draft(
            f"the sum of {words}",
            (f"sum_{tag}", f"total_{tag}", f"sum_of_{tag}"),
            (param,),
            "int",
            (f"return {total}",),
        )
    if kind == 1:
        head = f"for x in {name}:"
        step = f"result *= {changed.code if changed else 'x'}"
        body = (head, f"    if {kept.code}:", f"        {step}") if kept else (head, f"    {step}")
        noun = f"the product of {words}"
        return Draft(
            noun, (f"product_{tag}", f"multiply_{tag}"), (param,), "int", ("result = 1", *body, "return result")
        )
    if kind == 2 and kept:
        things = kept.words.format(things="numbers")
        noun = rng.choice(
            (
                f"the number of {things} in {name}",
                f"how many {things} there are in {name}",
                f"the count of {things} in {name}",
            )
        )
        return Draft(
            noun,
            (f"count_{_tag(kept)}", f"how_many_{_tag(kept)}"),
            (param,),
            "int",
            (f"return len([x for x in {name} if {kept.code}])",),
        )
    end, word = rng.choice(
        (("max", "largest"), ("min", "smallest"), ("max", "biggest"), ("max", "maximum"), ("min", "minimum"))
    )
    if kind in (2, 3):
        also = f"Return 0 if there {'are none' if kept else 'is none'}."
        body = (f"return {end}({whole if plain else '(' + code + ')'}, default=0)".replace("((", "((", 1),)
        return Draft(f"the {word} of {words}", (f"{word}_{tag}", f"{end}_{tag}"), (param,), "int", body, also=also)
    if kind == 4:
        also = "Return 0 for an empty list." if plain else "Return 0 if there are none."
        body = (
            (f"if not {name}:", "    return 0", f"return sum({name}) / len({name})")
            if plain
            else (f"kept = [{code}]", "if not kept:", "    return 0", "return sum(kept) / len(kept)")
        )
        return Draft(
            f"the {rng.choice(('average', 'mean'))} of {words}",
            (f"average_{tag}", f"mean_{tag}"),
            (param,),
            "float",
            body,
            also=also,
        )
    also = "Return 0 if there are none."
    body = (f"kept = {whole}", "if not kept:", "    return 0", "return max(kept) - min(kept)")
    return Draft(
        f"the difference between the largest and the smallest of {words}",
        (f"range_{tag}", f"spread_{tag}"),
        (param,),
        "int",
        body,
        also=also,
    )


def _keep(rng: random.Random, kept: Part | None, changed: Part | None) -> Draft:
    kept = kept or predicate(rng)
    name, words, code = _source(rng, kept, changed)
    verb = rng.choice(("a list of", "a new list with", "the list of", "a list with only", "a list containing"))
    noun = f"{verb} {words}"
    tag = _tag(changed, kept)
    return Draft(
        noun,
        (f"filter_{tag}", f"only_{tag}", f"keep_{tag}", f"select_{tag}"),
        (Param(name, "list[int]", a_list()),),
        "list[int]",
        (f"return [{code}]",),
    )


def _change(rng: random.Random, kept: Part | None, changed: Part | None) -> Draft:
    changed = changed or mapping(rng)
    name, words, code = _source(rng, kept, changed)
    noun = f"{rng.choice(('a list of', 'a new list with', 'the list of'))} {words}"
    return Draft(
        noun,
        (f"map_{changed.tag}", f"{changed.tag}_list", f"{changed.tag}_all"),
        (Param(name, "list[int]", a_list()),),
        "list[int]",
        (f"return [{code}]",),
    )


def _arrange(rng: random.Random, kept: Part | None, changed: Part | None) -> Draft:
    name, words, code = _source(rng, kept, changed)
    plain = kept is None and changed is None
    tag, param, k = _tag(changed, kept), Param(name, "list[int]", a_list()), rng.randint(2, 5)
    whole = name if plain else f"[{code}]"
    choices = [
        (f"{words} sorted in ascending order", f"return sorted({name if plain else code})", "sort"),
        (f"{words} sorted in descending order", f"return sorted({whole}, reverse=True)", "sort_descending"),
        (f"{words} in reverse order", f"return {whole}[::-1]", "reverse"),
        (f"the first {k} of {words}", f"return {whole}[:{k}]", f"first_{k}"),
        (f"the last {k} of {words}", f"return {whole}[-{k}:]", f"last_{k}"),
        (
            f"{words} without duplicates, in ascending order",
            f"return sorted(set({name if plain else code}))",
            "distinct",
        ),
        (f"the {k} largest of {words}, largest first", f"return sorted({whole}, reverse=True)[:{k}]", f"top_{k}"),
        (
            f"the {k} smallest of {words}, smallest first",
            f"return sorted({name if plain else code})[:{k}]",
            f"lowest_{k}",
        ),
    ]
    if plain:
        choices += [
            (f"every second number of {name}, starting with the first", f"return {name}[::2]", "every_second"),
            (f"every number of {name} except the first {k}", f"return {name}[{k}:]", f"skip_{k}"),
            (f"{name} repeated {k} times", f"return {name} * {k}", f"repeat_{k}"),
            (f"{name} rotated to the left by {k}", f"return {name}[{k}:] + {name}[:{k}]", f"rotate_{k}"),
            (f"{name} followed by its own reverse", f"return {name} + {name}[::-1]", "mirror"),
            (
                f"the running totals of {name}",
                f"return [sum({name}[: i + 1]) for i in range(len({name}))]",
                "running_totals",
            ),
            (
                f"a list of the differences between neighbours in {name}, each number minus the one before it",
                f"return [{name}[i] - {name}[i - 1] for i in range(1, len({name}))]",
                "differences",
            ),
        ]
    noun, code, verb = choices[rng.randrange(len(choices))]
    tagged = f"{verb}_{tag}" if tag else f"{verb}_list"
    returned = noun if noun.startswith(("a list", "the ", "every")) else f"a list of {noun}"
    return Draft(returned, (tagged, verb), (param,), "list[int]", (code,))


def _position(rng: random.Random, kept: Part | None, changed: Part | None) -> Draft:
    kept = kept or predicate(rng)
    name = pick(rng, LIST_NAMES)
    param = Param(name, "list[int]", a_list())
    things = kept.words.format(things="numbers")
    single = (
        {"multiples": "multiple"}.get(things.split()[0], things)
        .replace("numbers that are", "number that is")
        .replace("numbers", "number")
    )
    single = things.replace("multiples", "multiple") if things.startswith("multiples") else single
    article = "an" if single[0] in "aeiou" else "a"
    choices = (
        (
            f"all numbers in {name} are {things.replace(' numbers', '').replace('numbers that are ', '').replace('numbers ', '')}",
            f"return all({kept.code} for x in {name})",
            "bool",
            f"all_{kept.tag}",
        ),
        (f"{name} contains {article} {single}", f"return any({kept.code} for x in {name})", "bool", f"has_{kept.tag}"),
        (f"{name} contains no {things}", f"return not any({kept.code} for x in {name})", "bool", f"no_{kept.tag}"),
        (
            f"the index of the first {single} in {name}",
            f"for i, x in enumerate({name}):\n    if {kept.code}:\n        return i\nreturn -1",
            "int",
            f"index_of_{kept.tag}",
        ),
        (
            f"the first {single} in {name}",
            f"for x in {name}:\n    if {kept.code}:\n        return x\nreturn None",
            "int | None",
            f"first_{kept.tag}",
        ),
        (
            f"a list of the positions of the {things} in {name}",
            f"return [i for i, x in enumerate({name}) if {kept.code}]",
            "list[int]",
            f"positions_of_{kept.tag}",
        ),
    )
    noun, code, returns, tag = choices[rng.randrange(len(choices))]
    also = {"int": "Return -1 if there is none.", "int | None": "Return None if there is none."}.get(returns, "")
    return Draft(
        noun,
        (tag, f"check_{tag}" if returns == "bool" else f"find_{tag}"),
        (param,),
        returns,
        tuple(code.split("\n")),
        also=also,
    )
