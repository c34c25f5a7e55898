"""Do the rows give away what the student is measured by?

Every row (or document) is held against the tasks of the benchmarks: is a task's prompt in it word for word, or its name
with its description; how many of the task's n-grams are in it; is a function of it the task's solution but for names.
A task that stands in the rows word for word is refused. Equal solutions are not: `return a + b` is nobody's secret.
"""

import gzip
import json
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from distill.preflight.findings import ANYWAY, Boundary, Finding, counted, ok, refuse, refused_by, warn
from distill.preflight.ngrams import Index, index
from distill.preflight.subject import Subject
from distill.scoring import VALIDATION
from evalkit.errors import PotstillError
from evalkit.records import Problem

TOPIC = "leakage"

ALWAYS = "mini-humaneval"
SHOWN = 3
"""Nearest examples in a finding."""

NEAR = 0.5
"""Share of a task's n-grams in one row from which they are near."""

Hit = tuple[str, str, float]
"""Row, task, share."""


def check(subject: Subject) -> Iterator[Finding]:
    suites: dict[str, Sequence[Problem]] = {}
    for name in dict.fromkeys((ALWAYS, *subject.recipe.eval.suites)):
        from evalkit.suites import load_suite

        try:
            suites[name] = load_suite(name)
        except PotstillError:
            continue  # that it is missing is a finding of its own
    for file in subject.against:
        try:
            suites[str(file)] = read_benchmark(Path(file))
        except PotstillError as error:
            yield refused_by(TOPIC, "against", error)
    if subject.material.validation:
        suites[VALIDATION] = subject.material.validation
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the programs that are parsed: "\\d" in a string that is not raw
        found = hits(subject, index(suites))
    for name, tasks in suites.items():
        yield _judge(name, len(tasks), found[name])


def read_benchmark(path: Path) -> list[Problem]:
    """A file of HumanEval, HumanEval-X (Rust), MBPP or problems of our own, told by the keys of its first line."""
    from evalkit.suites import SUITES

    keys: set[str] = set()
    try:
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
            first = json.loads(next(lines))
            keys = set(first) if isinstance(first, dict) else set()
    except (OSError, EOFError, ValueError, StopIteration):
        pass  # the reader below says what is wrong, and where
    for name, wanted in (("humaneval-rust", "declaration"), ("humaneval", "canonical_solution"), ("mbpp", "test_list")):
        if wanted in keys:
            return SUITES[name].load(name, path)
    return SUITES["heldout"].load("heldout", path)


def texts(subject: Subject) -> Iterator[tuple[str, str]]:
    """(name, text) of everything that is learned."""
    if subject.material.documents is not None:
        for number, text in enumerate(subject.material.documents.learned, 1):
            yield f"document {number}", text
        return
    for row in subject.material.rows:
        problem = row.problem
        whole = problem.solution or ""
        yield problem.id, whole if problem.prompt.strip() in whole else f"{problem.prompt}\n{whole}"


def hits(subject: Subject, tasks: Index) -> dict[str, dict[str, list[Hit]]]:
    """Suite -> how -> what was found, nearest first."""
    found: dict[str, dict[str, list[Hit]]] = {
        task.suite: {"verbatim": [], "overlap": [], "solution": []} for task in tasks.tasks
    }
    for name, text in texts(subject):
        for number, how, share in tasks.quoted(text):
            task = tasks.tasks[number]
            found[task.suite][how].append((name, task.id, share))
    for kinds in found.values():
        for kind in kinds.values():
            kind.sort(key=lambda hit: -hit[2])
    return found


def _judge(suite: str, tasks: int, found: dict[str, list[Hit]]) -> Finding:
    verbatim, solved = found["verbatim"], found["solution"]
    near = [hit for hit in found["overlap"] if hit[2] >= NEAR]
    of = {name: len({task for _, task, _ in kind}) for name, kind in (("verbatim", verbatim), ("near", near))}
    alike = len({task for _, task, _ in solved})
    facts = {
        "tasks": tasks,
        "verbatim": of["verbatim"],
        "near": of["near"],
        "same_solution": alike,
        "nearest": [list(hit) for kind in (verbatim, found["overlap"], solved) for hit in kind[:SHOWN]],
    }
    where = "the validation split" if suite == VALIDATION else suite
    if not (verbatim or near or solved):
        best = found["overlap"][:1]
        nearest = f"; nearest: {_example(best[0])}" if best else ""
        return ok(TOPIC, suite, f"none of {counted(tasks, 'task')} of {where} is among the rows{nearest}", **facts)
    parts = [
        f"{number} of {tasks} {how} ({', '.join(_example(hit) for hit in kind[:SHOWN])})"
        for number, how, kind in (
            (of["verbatim"], "word for word", verbatim),
            (of["near"], "in large part", near),
            (alike, "by solution, names aside", solved),
        )
        if number
    ]
    what = f"tasks of {where} among the rows: {'; '.join(parts)}"
    fix = "take these rows out (`synth generate` does so where its recipe says decontaminate)"
    if verbatim and suite != VALIDATION:
        why = f"the student learns the answers: its score on {suite} would be worth nothing."
        return refuse(TOPIC, suite, what, why=why, fix=f"{fix}; {ANYWAY}", boundary=Boundary.DATA, **facts)
    why = "scores on these tasks say less than they seem to."
    if suite == VALIDATION:
        why = "the checkpoint is chosen by tasks that were learned, or by tasks much like them."
    if not verbatim and not near:
        why = "short solutions coincide by chance; look at the examples."
    return warn(TOPIC, suite, what, why=why, fix=fix, **facts)


def _example(hit: Hit) -> str:
    row, task, share = hit
    return f"{row} ~ {task}" if share == 1 else f"{row} ~ {task} {share:.0%}"
