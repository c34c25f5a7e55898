"""Texts: characters, shapes, words."""

import random
from dataclasses import dataclass

from evalkit.records import Level
from synth.teacher.parts import LETTERS, TEXT_NAMES, Draft, Param, a_text, constant, pick, some_words


@dataclass(frozen=True)
class Part:
    """One meaning: words, code, and a word for names."""

    words: str
    code: str
    tag: str


def characters(rng: random.Random) -> Part:
    """A kind of character `c`."""
    a = rng.choice(LETTERS)
    choices = (
        Part("vowels", "c in 'aeiouAEIOU'", "vowels"),
        Part("digits", "c.isdigit()", "digits"),
        Part("letters", "c.isalpha()", "letters"),
        Part("upper-case letters", "c.isupper()", "uppercase"),
        Part("lower-case letters", "c.islower()", "lowercase"),
        Part("spaces", "c == ' '", "spaces"),
        Part(f"characters equal to '{a}'", f"c == '{a}'", f"equal_{a}"),
        Part(f"characters other than '{a}'", f"c != '{a}'", f"not_{a}"),
    )
    return choices[rng.randrange(len(choices))]


def shape(rng: random.Random) -> Part:
    """A change of a text `{s}`."""
    k = constant(rng) % 4 + 2
    a, b = rng.sample(LETTERS, 2)
    choices = (
        Part("{s} in upper case", "{s}.upper()", "upper"),
        Part("{s} in lower case", "{s}.lower()", "lower"),
        Part("{s} reversed", "{s}[::-1]", "reversed"),
        Part(f"{{s}} with '{a}' replaced by '{b}'", f"{{s}}.replace('{a}', '{b}')", f"replace_{a}_{b}"),
        Part(f"{{s}} without '{a}'", f"{{s}}.replace('{a}', '')", f"without_{a}"),
        Part(f"the first {k} characters of {{s}}", f"{{s}}[:{k}]", f"first_{k}"),
        Part(f"the last {k} characters of {{s}}", f"{{s}}[-{k}:]", f"last_{k}"),
        Part(f"{{s}} without its first {k} characters", f"{{s}}[{k}:]", f"skip_{k}"),
        Part(f"{{s}} repeated {k} times", f"{{s}} * {k}", f"repeat_{k}"),
        Part(f"{{s}} followed by '{a}'", f"{{s}} + '{a}'", f"add_{a}"),
    )
    return choices[rng.randrange(len(choices))]


def wordy(rng: random.Random) -> Part:
    """A condition on a word `w`."""
    k, a = constant(rng) % 5 + 2, rng.choice(LETTERS)
    choices = (
        Part(f"that are longer than {k} letters", f"len(w) > {k}", f"longer_than_{k}"),
        Part(f"that are shorter than {k} letters", f"len(w) < {k}", f"shorter_than_{k}"),
        Part(f"that start with '{a}'", f"w.startswith('{a}')", f"start_{a}"),
        Part(f"that end with '{a}'", f"w.endswith('{a}')", f"end_{a}"),
        Part(f"that contain '{a}'", f"'{a}' in w", f"with_{a}"),
    )
    return choices[rng.randrange(len(choices))]


def strings(rng: random.Random, level: Level) -> Draft:
    """One change or count; two in turn; words that are kept, changed and joined."""
    if level is Level.EASY:
        return rng.choice((_shaped, _of_characters))(rng)
    if level is Level.MEDIUM:
        return rng.choice((_two_shapes, _kept_shaped, _of_words, _compared))(rng)
    return _words_shaped(rng)


def _text(rng: random.Random) -> tuple[str, Param]:
    name = pick(rng, TEXT_NAMES)
    return name, Param(name, "str", a_text)


def _shaped(rng: random.Random) -> Draft:
    (s, param), one = _text(rng), shape(rng)
    names = (one.tag, f"{one.tag}_text", f"{one.tag}_string")
    return Draft(one.words.format(s=s), names, (param,), "str", (f"return {one.code.format(s=s)}",))


def _of_characters(rng: random.Random) -> Draft:
    (s, param), which = _text(rng), characters(rng)
    kind = rng.randrange(3)
    if kind == 0:
        noun = pick(rng, ("the number of {c} in {s}", "how many {c} there are in {s}", "the count of {c} in {s}"))
        names = (f"count_{which.tag}", f"number_of_{which.tag}", f"{which.tag}_count")
        return Draft(noun.format(c=which.words, s=s), names, (param,), "int", (f"return len([c for c in {s} if {which.code}])",))  # fmt: skip
    if kind == 1:
        names = (f"only_{which.tag}", f"keep_{which.tag}", f"extract_{which.tag}")
        return Draft(f"the {which.words} of {s} joined together", names, (param,), "str", (f"return ''.join(c for c in {s} if {which.code})",))  # fmt: skip
    noun, code, tag = rng.choice(((f"{s} contains any {which.words}", "any", "has"), (f"all characters of {s} are {which.words}", "all", "all")))  # fmt: skip
    return Draft(noun, (f"{tag}_{which.tag}", f"check_{which.tag}"), (param,), "bool", (f"return {code}({which.code} for c in {s})",))  # fmt: skip


def _two_shapes(rng: random.Random) -> Draft:
    (s, param), one, two = _text(rng), shape(rng), shape(rng)
    names = (f"{one.tag}_{two.tag}", f"{one.tag}_then_{two.tag}")
    body = (f"result = {one.code.format(s=s)}", f"return {two.code.format(s='result')}")
    return Draft(f"{one.words.format(s=s)}, then {two.words.format(s='the result')}", names, (param,), "str", body)


def _kept_shaped(rng: random.Random) -> Draft:
    (s, param), which, one = _text(rng), characters(rng), shape(rng)
    names = (f"{which.tag}_{one.tag}", f"{which.tag}_then_{one.tag}")
    body = (f"result = ''.join(c for c in {s} if {which.code})", f"return {one.code.format(s='result')}")
    noun = f"the {which.words} of {s} joined together, then {one.words.format(s='the result')}"
    return Draft(noun, names, (param,), "str", body)


def _compared(rng: random.Random) -> Draft:
    (s, param), which, k = _text(rng), characters(rng), constant(rng)
    noun, sign, tag = rng.choice(((f"{s} has more than {k} {which.words}", ">", "many"), (f"{s} has exactly {k} {which.words}", "==", f"exactly_{k}"), (f"{s} has fewer than {k} {which.words}", "<", "few")))  # fmt: skip
    code = f"len([c for c in {s} if {which.code}]) {sign} {k}"
    return Draft(noun, (f"{tag}_{which.tag}", f"has_{tag}_{which.tag}"), (param,), "bool", (f"return {code}",))


def _source(rng: random.Random) -> tuple[str, str, Param]:
    """`(what is kept of, code, parameter)`: a list of words or a text that is split."""
    if rng.random() < 0.5:
        name = pick(rng, ("words", "names", "strings"))
        return f"in {name}", name, Param(name, "list[str]", some_words)
    s, param = _text(rng)
    return f"of {s}", f"{s}.split()", param


def _of_words(rng: random.Random) -> Draft:
    (where, items, param), kept, one = _source(rng), wordy(rng), shape(rng)
    kind = rng.randrange(3)
    if kind == 0:
        noun = pick(rng, ("the number of words {w} {c}", "how many words {w} there are {c}")).format(
            w=where, c=kept.words
        )
        return Draft(noun, (f"count_{kept.tag}", f"count_words_{kept.tag}"), (param,), "int", (f"return len([w for w in {items} if {kept.code}])",))  # fmt: skip
    if kind == 1:
        return Draft(f"a list of the words {where} {kept.words}", (f"words_{kept.tag}", f"keep_{kept.tag}"), (param,), "list[str]", (f"return [w for w in {items} if {kept.code}]",))  # fmt: skip
    code = f"return [{one.code.format(s='w')} for w in {items}]"
    return Draft(_each(one, where), (f"{one.tag}_words", f"{one.tag}_each"), (param,), "list[str]", (code,))


def _each(one: Part, which: str) -> str:
    """A list of changed words."""
    if one.words.startswith("{s}"):
        return f"a list of the words {which}, each{one.words.removeprefix('{s}')}"
    return f"a list of the words {which}, of each only {one.words.removesuffix(' of {s}')}"


def _words_shaped(rng: random.Random) -> Draft:
    (where, items, param), kept, one = _source(rng), wordy(rng), shape(rng)
    words, code = _each(one, f"{where} {kept.words}"), f"{one.code.format(s='w')} for w in {items} if {kept.code}"
    names = (f"{one.tag}_{kept.tag}", f"{one.tag}_words_{kept.tag}")
    if rng.random() < 0.5:
        return Draft(words, names, (param,), "list[str]", (f"return [{code}]",))
    joint, said = rng.choice(((" ", "by spaces"), ("-", "by hyphens"), ("", "together")))
    return Draft(f"{words.removeprefix('a list of ')}, joined {said}", (f"join_{names[0]}", *names), (param,), "str", (f"return {joint!r}.join({code})",))  # fmt: skip
