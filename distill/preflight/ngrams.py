"""Which tasks of a benchmark a text quotes: an index of hashed word n-grams, of names with their descriptions, and of
normal forms."""

import ast
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from evalkit.normal_form import normal_form
from evalkit.parsing import parse
from evalkit.records import Language, Problem

LONG, SHORT = 13, 8
"""Words of an n-gram: 13 as in Brown et al. 2020 (GPT-3, appendix C); 8 for tasks that have fewer than 13 words."""

COMMON = 3
"""An n-gram that so many tasks share is the benchmark's way of speaking, and says nothing."""

VARIED = 5
"""Different words that an n-gram has at least, numbers aside: rows of numbers coincide."""

SUBSTANTIAL = 6
"""Keywords and numbers of a solution that is not written twice by chance, under one name."""

_WORD = re.compile(r"[a-z0-9_]+")
_NAME = re.compile(r"^[ \t]*(?:async )?def (\w+)", re.MULTILINE)
_TOP = re.compile(r"^(?:async )?def .*(?:\n(?![^\s#)\]}]).*)*", re.MULTILINE)
_SKELETON = re.compile(
    r"\"\"\".*?\"\"\"|'''.*?'''|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'|#[^\n]*"
    r"|\b(return|for|while|if|elif|lambda|try|except|with|yield|raise|assert|import|not|and|or|in|is|\d+)\b",
    re.DOTALL,
)


@dataclass(frozen=True)
class Task:
    """A benchmark's task: where it comes from, its words, and the hashes of its n-grams."""

    suite: str
    id: str
    entry_point: str
    prompt: str
    """Words of the prompt, joined by single spaces."""
    description: str
    """Words of the first paragraph of its docstring or comment: what is asked, without examples."""
    grams: frozenset[int]
    substantial: bool
    """Whether its solution is more than a line that anybody would write."""


@dataclass
class Index:
    tasks: list[Task] = field(default_factory=list)
    by_gram: dict[int, list[int]] = field(default_factory=dict)
    by_name: dict[str, list[int]] = field(default_factory=dict)
    by_form: dict[str, list[int]] = field(default_factory=dict)
    skeletons: set[tuple[str, ...]] = field(default_factory=set)

    def quoted(self, text: str) -> Iterator[tuple[int, str, float]]:
        """(task, how, share): `verbatim` where prompt, or name with description or solution, stand in the text,
        `overlap` with the share of the task's n-grams that do, `solution` where a function has a task's normal form."""
        words = _WORD.findall(text.lower())
        hits: Counter[int] = Counter()
        for n in (LONG, SHORT):
            for gram in set(_hashes(words, n)) & self.by_gram.keys():
                hits.update(self.by_gram[gram])
        named = {task for name in set(_NAME.findall(text)) & self.by_name.keys() for task in self.by_name[name]}
        joined = f" {' '.join(words)} " if hits or named else ""
        for task in sorted(named | hits.keys()):
            found = self.tasks[task]
            described = bool(found.description) and f" {found.description} " in joined
            if f" {found.prompt} " in joined or (task in named and described):
                yield task, "verbatim", 1.0
            elif hits[task]:
                yield task, "overlap", hits[task] / len(found.grams)
        for task in self._solved(text):
            yield task, "verbatim" if task in named and self.tasks[task].substantial else "solution", 1.0

    def _solved(self, text: str) -> set[int]:
        """Tasks whose solution's normal form the text, or a function of it, has. Parsing is dear: what has another
        sequence of keywords and numbers is passed over."""
        found: set[int] = set()
        for piece in pieces(text):
            if skeleton(piece) in self.skeletons:
                found.update(self.by_form.get(_form(piece), ()))
        return found


def index(suites: dict[str, Sequence[Problem]]) -> Index:
    """Of all tasks of some suites."""
    made = Index()
    prepared = [(name, task, *_words_of(task)) for name, tasks in suites.items() for task in tasks]
    grams = [_telling(words) for _, _, words, _ in prepared]
    often = Counter(gram for found in grams for gram in found)
    for (name, task, words, description), found in zip(prepared, grams, strict=True):
        number = len(made.tasks)
        telling = frozenset(gram for gram in found if often[gram] < COMMON)
        text = " ".join(words)
        substantial = len(skeleton(task.solution or "")) >= SUBSTANTIAL
        made.tasks.append(Task(name, task.id, task.entry_point, text, " ".join(description), telling, substantial))
        for gram in telling:
            made.by_gram.setdefault(gram, []).append(number)
        made.by_name.setdefault(task.entry_point, []).append(number)
        if task.language is Language.PYTHON:
            for piece in pieces(task.solution or "") if task.solution else ():
                if len(piece) != len(task.solution or "") and f"def {task.entry_point}" not in piece:
                    continue
                if form := _form(piece):
                    made.by_form.setdefault(form, []).append(number)
                    made.skeletons.add(skeleton(piece))
    return made


def pieces(text: str) -> list[str]:
    """The text, and each function at its margin where it holds more than one thing."""
    functions = [match.group() for match in _TOP.finditer(text)]
    return [text, *functions] if len(functions) != 1 or functions[0].strip() != text.strip() else [text]


def skeleton(program: str) -> tuple[str, ...]:
    """Keywords and whole numbers in their order: equal for programs of one normal form, and quickly had."""
    return tuple("if" if word == "elif" else word for word in _SKELETON.findall(program) if word)


def _form(program: str) -> str:
    try:
        return normal_form(program)
    except (SyntaxError, ValueError, RecursionError):
        return ""


def _words_of(task: Problem) -> tuple[list[str], list[str]]:
    """Words of the prompt, and of the first paragraph of its description (at least five, or none)."""
    text = task.prompt
    try:
        tree = parse(f"{text}\n    pass\n")
        found = [ast.get_docstring(node) for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        description = next((doc for doc in reversed(found) if doc), "")
    except SyntaxError:
        description = "\n".join(re.findall(r"^\s*(?://|/\*|\*)(.*)", text, re.MULTILINE))
    words = _WORD.findall(description.split("\n\n")[0].split(">>>")[0].lower())
    return _WORD.findall(text.lower()), words if len(words) >= 5 else []


def _telling(words: list[str]) -> set[int]:
    n = LONG if len(words) >= LONG else SHORT
    windows = (words[i : i + n] for i in range(len(words) - n + 1))
    return {hash(tuple(window)) for window in windows if sum(not w.isdigit() for w in set(window)) >= VARIED}


def _hashes(words: list[str], n: int) -> Iterator[int]:
    return map(hash, zip(*(words[i:] for i in range(n)), strict=False))
