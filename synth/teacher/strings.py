"""Texts: characters, words, shapes."""

import random

from evalkit.records import Level
from synth.teacher.parts import TEXT_NAMES, Draft, Param, Part, a_text, pick, some_words

LETTERS = "abcdeghilmnoprstuw"


def _characters(rng: random.Random) -> Part:
    a, b = rng.sample(LETTERS, 2)
    choices = (
        Part("vowels", "c in 'aeiouAEIOU'", "vowels"),
        Part("consonants", "c.isalpha() and c not in 'aeiouAEIOU'", "consonants"),
        Part("digits", "c.isdigit()", "digits"),
        Part("letters", "c.isalpha()", "letters"),
        Part("upper-case letters", "c.isupper()", "uppercase"),
        Part("lower-case letters", "c.islower()", "lowercase"),
        Part("spaces", "c == ' '", "spaces"),
        Part(f"characters equal to '{a}'", f"c == '{a}'", f"char_{a}"),
        Part(f"characters other than '{a}'", f"c != '{a}'", f"not_{a}"),
        Part(f"characters that are '{a}' or '{b}'", f"c in '{a}{b}'", f"{a}_or_{b}"),
        Part(f"letters that come before '{a}' in lower case", f"c.isalpha() and c.lower() < '{a}'", f"before_{a}"),
        Part(f"letters that come after '{a}' in lower case", f"c.isalpha() and c.lower() > '{a}'", f"after_{a}"),
    )
    return choices[rng.randrange(len(choices))]


def _shape(rng: random.Random) -> Part:
    """A change of a whole text `{s}`: words and code."""
    k = rng.randint(2, 5)
    a, b = rng.sample(LETTERS, 2)
    choices = (
        Part("{s} in upper case", "{s}.upper()", "upper"),
        Part("{s} in lower case", "{s}.lower()", "lower"),
        Part("{s} reversed", "{s}[::-1]", "reversed"),
        Part("{s} with upper and lower case swapped", "{s}.swapcase()", "swapcase"),
        Part("{s} without its spaces", "{s}.replace(' ', '')", "no_spaces"),
        Part(f"{{s}} with every '{a}' replaced by '{b}'", f"{{s}}.replace('{a}', '{b}')", f"replace_{a}_{b}"),
        Part(f"{{s}} without the character '{a}'", f"{{s}}.replace('{a}', '')", f"without_{a}"),
        Part(f"the first {k} characters of {{s}}", f"{{s}}[:{k}]", f"first_{k}"),
        Part(f"the last {k} characters of {{s}}", f"{{s}}[-{k}:]", f"last_{k}"),
        Part(f"{{s}} repeated {k} times", f"{{s}} * {k}", f"repeat_{k}"),
        Part(f"{{s}} without its first {k} characters", f"{{s}}[{k}:]", f"drop_{k}"),
        Part("every second character of {s}", "{s}[::2]", "every_second"),
        Part(f"{{s}} followed by '{a * k}'", f"{{s}} + '{a * k}'", f"append_{a}"),
        Part(f"'{a}{b}' followed by {{s}}", f"'{a}{b}' + {{s}}", f"prepend_{a}{b}"),
    )
    return choices[rng.randrange(len(choices))]


def strings(rng: random.Random, level: Level) -> Draft:
    """One change or count, two in turn, or characters and words together."""
    name = pick(rng, TEXT_NAMES)
    param = Param(name, "str", a_text)
    if level is Level.EASY:
        return rng.choice((_whole, _counted, _kept, _words))(rng, param)
    if level is Level.MEDIUM:
        return rng.choice((_two_shapes, _words, _compared, _kept_shaped))(rng, param)
    return rng.choice((_two_shapes, _word_filter, _kept_shaped, _compared))(rng, param)


def _whole(rng: random.Random, param: Param) -> Draft:
    shape = _shape(rng)
    noun = shape.words.format(s=param.name)
    return Draft(
        noun,
        (shape.tag, f"{shape.tag}_text", f"{shape.tag}_string"),
        (param,),
        "str",
        (f"return {shape.code.format(s=param.name)}",),
    )


def _counted(rng: random.Random, param: Param) -> Draft:
    which = _characters(rng)
    noun = rng.choice(("the number of {c} in {s}", "how many {c} there are in {s}", "the count of {c} in {s}")).format(
        c=which.words, s=param.name
    )
    return Draft(
        noun,
        (f"count_{which.tag}", f"number_of_{which.tag}", f"{which.tag}_count"),
        (param,),
        "int",
        (f"return len([c for c in {param.name} if {which.code}])",),
    )


def _kept(rng: random.Random, param: Param) -> Draft:
    which = _characters(rng)
    if rng.random() < 0.4:
        noun = f"{param.name} without its {which.words}"
        return Draft(
            noun,
            (f"remove_{which.tag}", f"strip_{which.tag}"),
            (param,),
            "str",
            (f"return ''.join(c for c in {param.name} if not ({which.code}))",),
        )
    noun = f"{rng.choice(('a string of the', 'only the', 'the'))} {which.words} of {param.name}"
    return Draft(
        noun,
        (f"only_{which.tag}", f"keep_{which.tag}", f"extract_{which.tag}"),
        (param,),
        "str",
        (f"return ''.join(c for c in {param.name} if {which.code})",),
    )


def _two_shapes(rng: random.Random, param: Param) -> Draft:
    one, two = _shape(rng), _shape(rng)
    while two.tag == one.tag:
        two = _shape(rng)
    inner = one.words.format(s=param.name)
    noun = f"{inner}, then of that {two.words.format(s='the result')}".replace(
        "then of that the result", "then the result"
    )
    code = (f"result = {one.code.format(s=param.name)}", f"return {two.code.format(s='result')}")
    return Draft(noun, (f"{one.tag}_{two.tag}", f"{two.tag}_of_{one.tag}"), (param,), "str", code)


def _kept_shaped(rng: random.Random, param: Param) -> Draft:
    which, shape = _characters(rng), _shape(rng)
    noun = f"the {which.words} of {param.name} joined together, then {shape.words.format(s='the result')}"
    code = (f"result = ''.join(c for c in {param.name} if {which.code})", f"return {shape.code.format(s='result')}")
    return Draft(noun, (f"{which.tag}_{shape.tag}", f"{shape.tag}_{which.tag}"), (param,), "str", code)


def _words(rng: random.Random, param: Param) -> Draft:
    s, k = param.name, rng.randint(2, 6)
    choices = (
        (
            f"the words of {s} in reverse order, joined by spaces",
            f"' '.join({s}.split()[::-1])",
            "str",
            "reverse_word_order",
        ),
        (f"{s} with each word reversed", f"' '.join(w[::-1] for w in {s}.split())", "str", "reverse_each_word"),
        (
            f"the first letters of the words of {s}, joined together",
            f"''.join(w[0] for w in {s}.split())",
            "str",
            "initials",
        ),
        (
            f"the last letters of the words of {s}, joined together",
            f"''.join(w[-1] for w in {s}.split())",
            "str",
            "last_letters",
        ),
        (f"a list of the lengths of the words of {s}", f"[len(w) for w in {s}.split()]", "list[int]", "word_lengths"),
        (
            f"the number of words of {s} that are longer than {k} letters",
            f"len([w for w in {s}.split() if len(w) > {k}])",
            "int",
            f"count_longer_than_{k}",
        ),
        (
            f"the number of words of {s} that are at most {k} letters long",
            f"len([w for w in {s}.split() if len(w) <= {k}])",
            "int",
            f"count_up_to_{k}",
        ),
        (
            f"the longest word of {s}, or an empty string if there is none",
            f"max({s}.split(), key=len, default='')",
            "str",
            "longest_word",
        ),
        (
            f"the shortest word of {s}, or an empty string if there is none",
            f"min({s}.split(), key=len, default='')",
            "str",
            "shortest_word",
        ),
        (f"the words of {s} joined by hyphens", f"'-'.join({s}.split())", "str", "hyphenate"),
        (
            f"the words of {s} in alphabetical order, joined by commas",
            f"','.join(sorted({s}.split()))",
            "str",
            "sorted_words",
        ),
        (
            f"{s} with the first letter of each word in upper case",
            f"' '.join(w.capitalize() for w in {s}.split())",
            "str",
            "capitalize_words",
        ),
        (f"the first {k} words of {s}, joined by spaces", f"' '.join({s}.split()[:{k}])", "str", f"first_{k}_words"),
    )
    noun, code, returns, tag = choices[rng.randrange(len(choices))]
    return Draft(noun, (tag, f"{tag}_of"), (param,), returns, (f"return {code}",))


def _word_filter(rng: random.Random, param: Param) -> Draft:
    k, letter = rng.randint(2, 6), rng.choice(LETTERS)
    name = rng.choice(("words", "names", "strings", "items"))
    words = Param(name, "list[str]", some_words)
    tests = (
        (f"longer than {k} letters", f"len(w) > {k}", f"longer_than_{k}"),
        (f"exactly {k} letters long", f"len(w) == {k}", f"length_{k}"),
        (f"shorter than {k} letters", f"len(w) < {k}", f"shorter_than_{k}"),
        (f"words that start with '{letter}'", f"w.startswith('{letter}')", f"start_{letter}"),
        (f"words that end with '{letter}'", f"w.endswith('{letter}')", f"end_{letter}"),
        (f"words that contain '{letter}'", f"'{letter}' in w", f"with_{letter}"),
    )
    said, code, tag = tests[rng.randrange(len(tests))]
    which = said if said.startswith("words") else f"words that are {said}"
    shape = _shape(rng)
    each = (
        f"each as {shape.words.format(s='the word')}"
        if shape.words.startswith("{s}")
        else f"of each {shape.words.format(s='the word')}"
    )
    choices = (
        (f"a list of the {which} in {name}", f"[w for w in {name} if {code}]", "list[str]", f"keep_{tag}"),
        (f"the number of {which} in {name}", f"len([w for w in {name} if {code}])", "int", f"count_{tag}"),
        (
            f"the {which} in {name}, sorted and joined by spaces",
            f"' '.join(sorted(w for w in {name} if {code}))",
            "str",
            f"join_{tag}",
        ),
        (
            f"a list of the {which} in {name}, {each}",
            f"[{shape.code.format(s='w')} for w in {name} if {code}]",
            "list[str]",
            f"{shape.tag}_{tag}",
        ),
        (
            f"the total length of the {which} in {name}",
            f"sum(len(w) for w in {name} if {code})",
            "int",
            f"length_of_{tag}",
        ),
    )
    noun, code, returns, tag = choices[rng.randrange(len(choices))]
    return Draft(noun, (tag, f"{tag}_words"), (words,), returns, (f"return {code}",))


def _compared(rng: random.Random, param: Param) -> Draft:
    s, k, letter = param.name, rng.randint(2, 9), rng.choice(LETTERS)
    which = _characters(rng)
    choices = (
        (
            f"{s} contains more than {k} {which.words}",
            f"len([c for c in {s} if {which.code}]) > {k}",
            f"many_{which.tag}",
        ),
        (
            f"{s} contains at least one of the {which.words}".replace("at least one of the", "any"),
            f"any({which.code} for c in {s})",
            f"has_{which.tag}",
        ),
        (f"{s} consists only of {which.words}", f"all({which.code} for c in {s})", f"only_{which.tag}"),
        (f"{s} starts and ends with the same character", f"{s} != '' and {s}[0] == {s}[-1]", "same_ends"),
        (
            f"{s} starts with '{letter}' and is longer than {k} characters",
            f"{s}.startswith('{letter}') and len({s}) > {k}",
            f"starts_{letter}_long",
        ),
        (f"{s} has exactly {k} characters", f"len({s}) == {k}", f"has_length_{k}"),
        (f"{s} contains '{letter}' more than once", f"{s}.count('{letter}') > 1", f"repeats_{letter}"),
        (
            f"the first {k} characters of {s} read the same backwards",
            f"{s}[:{k}] == {s}[:{k}][::-1]",
            f"palindrome_start_{k}",
        ),
        (f"{s} without its spaces has an even length", f"len({s}.replace(' ', '')) % 2 == 0", "even_length"),
    )
    noun, code, tag = choices[rng.randrange(len(choices))]
    return Draft(noun, (tag, f"is_{tag}", f"check_{tag}"), (param,), "bool", (f"return {code}",))
