"""Lists of numbers and words: keep, change, reduce, arrange; dictionaries and sets made of them."""

import random

from evalkit.records import Level
from synth.teacher.parts import LIST_NAMES, Draft, Param, Part, a_list, mapping, pick, predicate, some_words


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
    singular = (
        changed.words.replace("the squares of", "the square of")
        .replace("the cubes of", "the cube of")
        .replace("the doubles of", "the double of")
        .replace("the absolute values of", "the absolute value of")
        .replace("the negatives of", "the negative of")
        .replace("the remainders of", "the remainder of")
    )
    choices = (
        (
            f"a dictionary that maps each of the {things} in {name} to how often it appears there",
            f"{{x: {name}.count(x) for x in {name}{only}}}",
            "count",
        ),
        (
            f"a dictionary that maps each of the {things} in {name} to {singular.format(of='it')}",
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
