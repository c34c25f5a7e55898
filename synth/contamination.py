"""No kept row may solve a task of an evaluation suite.

Two methods. `ast`: the row's normalised solution equals the task's; one-expression bodies such as `return a + b` count
like any other, so the simplest programs are lost to training where a suite asks for them. `behaviour`: the row passes
all of the task's tests; it is asked for its answers to all assertions of all tasks with as many arguments, in one
execution, and a call that takes more than 20 ms of CPU time counts as not answered. A row that gets lost in one of them
all the same is asked for each task apart. One that reads fixtures solves none. Rows of one normalised solution behave
alike and are checked once.
"""

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from evalkit.console import progress
from evalkit.normal_form import normal_form
from evalkit.parsing import parse
from evalkit.records import Outcome, Problem, Record
from evalkit.runs import append_jsonl, read_jsonl
from evalkit.sandbox import Job, Limits, Sandbox
from evalkit.suites import load_suite
from synth.proof import run_all

BATCH = 64
LIMITS = Limits(cpu=1.0, wall=4.0)
"""Of one probe."""


class Clean(Record):
    """What one row was checked against; `match` names the task it solves, if any, and `method` how that was found."""

    id: str
    form: str
    suites: tuple[str, ...]
    methods: tuple[str, ...] = ("ast", "behaviour")
    match: str = ""
    method: str = ""


def decontaminate(
    problems: Sequence[Problem], suites: Sequence[str], journal: Path, sandbox: Sandbox
) -> dict[str, Clean]:
    """The finding for every row, by id. Findings in `journal` are kept, unless they were made against other suites."""
    tasks = [_prepare(task) for name in suites for task in load_suite(name)]
    known = read_jsonl(journal, Clean, torn_tail=True) if journal.exists() else []
    by_form = {finding.form: finding for finding in known if finding.suites == tuple(suites)}
    forms = {problem.id: normal_form(problem.solution or "") for problem in problems}
    fresh = {forms[problem.id]: problem for problem in reversed(problems) if forms[problem.id] not in by_form}
    with progress(len(fresh), "checking for contamination") as tick:
        rows = list(fresh.items())
        for start in range(0, len(rows), BATCH):
            found = list(_check(dict(rows[start : start + BATCH]), tasks, tuple(suites), sandbox))
            append_jsonl(journal, found)
            by_form |= {finding.form: finding for finding in found}
            tick(len(found))
    return {id: by_form[form].model_copy(update={"id": id}) for id, form in forms.items()}


@dataclass(frozen=True)
class _Task:
    """A task of a suite, prepared once."""

    id: str
    form: str
    arity: int | None
    tests: tuple[str, ...]
    """Its assertions, on a function called ASKED: the same for every row, so that they are read once."""


ASKED = "potstill_asked"
"""The name under which every row's function is asked."""


def _prepare(task: Problem) -> _Task:
    tests = tuple(rename(test, task.entry_point, ASKED) for test in task.tests)
    return _Task(task.id, normal_form(task.solution or ""), arity(task), tests)


def _check(
    rows: dict[str, Problem], tasks: Sequence[_Task], suites: tuple[str, ...], sandbox: Sandbox
) -> Iterator[Clean]:
    arities = {form: arity(problem) for form, problem in rows.items()}
    fitting = {
        form: [task for task in tasks if number is not None and task.arity == number]
        for form, number in arities.items()
    }
    jobs = [_probe(form, row, fitting[form]) for form, row in rows.items() if fitting[form] and not row.files]
    verdicts = run_all(sandbox, jobs)
    lost = [form for form, verdict in verdicts.items() if verdict.outcome not in _WHOLE]
    apart = {f"{form} {task.id}": (form, task) for form in lost for task in fitting[form]}
    again = run_all(sandbox, [_probe(id, rows[form], [task]) for id, (form, task) in apart.items()])
    solved = {form: _solved(verdict.held, fitting[form]) for form, verdict in verdicts.items()}
    solved |= {form: task.id for id, (form, task) in apart.items() if _solved(again[id].held, [task])}
    by_form = {task.form: task.id for task in tasks}
    for form, problem in rows.items():
        match, method = by_form.get(form, ""), "ast"
        if not match:
            match, method = solved.get(form, ""), "behaviour"
        yield Clean(id=problem.id, form=form, suites=suites, match=match, method=method if match else "")


_WHOLE = (Outcome.PASSED, Outcome.WRONG, Outcome.SYNTAX_ERROR, Outcome.NO_ENTRY_POINT)
"""Ends of a probe that hide nothing. After any other, one call may have taken the answers to the rest with it."""


def _probe(id: str, row: Problem, tasks: Sequence[_Task]) -> Job:
    """All assertions of these tasks, asked of the row's function."""
    return Job(
        id=id,
        program=f"{row.solution}\n{ASKED} = {row.entry_point}\n",
        entry_point=ASKED,
        tests=tuple(test for task in tasks for test in task.tests),
        imports=row.imports,
        any_of=True,
        limits=LIMITS,
    )


def _solved(held: Sequence[int], tasks: Sequence[_Task]) -> str:
    """The first task all of whose assertions held."""
    start, found = 0, set(held)
    for task in tasks:
        if task.tests and found.issuperset(range(start, start + len(task.tests))):
            return task.id
        start += len(task.tests)
    return ""


def arity(problem: Problem) -> int | None:
    """Number of parameters of the entry point; None where it is a class."""
    for node in parse(problem.solution or "").body:
        if isinstance(node, ast.FunctionDef) and node.name == problem.entry_point:
            return len(node.args.posonlyargs) + len(node.args.args) + len(node.args.kwonlyargs)
    return None


def rename(test: str, old: str, new: str) -> str:
    """An assertion with its function called by another name."""
    tree = parse(test)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == old:
            node.id = new
    return ast.unparse(tree)
