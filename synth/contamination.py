"""No kept row may solve a task of an evaluation suite.

Two methods. `ast`: the row's normalised solution equals the task's; one-expression bodies such as `return a + b` count
like any other, so the simplest programs are lost to training where a suite asks for them. `behaviour`: the row passes
all of the task's tests under the task's name. A row that passes all tests passes the first, so each row is first asked
for its answers to the first assertion of every task with as many arguments, in one execution, and only rows that get one
right are run in full. Rows of one normalised solution behave alike and are checked once.
"""

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

from evalkit.console import progress
from evalkit.normal_form import normal_form
from evalkit.records import Outcome, Problem, Record
from evalkit.runs import append_jsonl, read_jsonl
from evalkit.sandbox import Job, Limits, Sandbox
from evalkit.suites import load_suite
from synth.proof import run_all

BATCH = 64
CPU = 1.0
"""Seconds for one check: training solutions are short, and one that takes longer solves nothing in time."""


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
    """The finding for every row, by id. Findings in `journal` are kept; those made against other suites are made anew."""
    tasks = [task for name in suites for task in load_suite(name)]
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


def _check(
    rows: dict[str, Problem], tasks: Sequence[Problem], suites: tuple[str, ...], sandbox: Sandbox
) -> Iterator[Clean]:
    task_forms = {normal_form(task.solution): task.id for task in tasks if task.solution}
    suspects = _probe(rows, tasks, sandbox)
    jobs = [
        Job.of(task, alias(rows[form], task), f"{form} {task.id}").model_copy(
            update={"limits": Limits(cpu=CPU), "reference": None}
        )
        for form in suspects
        for task in tasks
        if arity(task) == arity(rows[form])
    ]
    verdicts = run_all(sandbox, jobs)
    solved = {id.partition(" ")[0]: id.partition(" ")[2] for id, verdict in verdicts.items() if verdict.passed}
    for form, problem in rows.items():
        match = task_forms.get(form) or solved.get(form, "")
        method = "ast" if form in task_forms else "behaviour" if match else ""
        yield Clean(id=problem.id, form=form, suites=suites, match=match, method=method)


def _probe(rows: dict[str, Problem], tasks: Sequence[Problem], sandbox: Sandbox) -> list[str]:
    """Forms of rows that get the first assertion of some task right, or that gave no answer in time."""
    jobs = []
    for form, problem in rows.items():
        first = [
            rename(task.tests[0], task.entry_point, problem.entry_point)
            for task in tasks
            if arity(task) == arity(problem)
        ]
        if first and arity(problem) is not None:
            limits = Limits(cpu=CPU)
            jobs.append(
                Job.of(problem, problem.solution or "", form).model_copy(
                    update={"tests": tuple(first), "any_of": True, "limits": limits}
                )
            )
    wrong = {Outcome.WRONG, Outcome.NO_ENTRY_POINT}
    return [id for id, verdict in run_all(sandbox, jobs).items() if verdict.outcome not in wrong]


def arity(problem: Problem) -> int | None:
    """Number of parameters of the entry point; None where it is a class."""
    for node in ast.parse(problem.solution or "").body:
        if isinstance(node, ast.FunctionDef) and node.name == problem.entry_point:
            return len(node.args.posonlyargs) + len(node.args.args) + len(node.args.kwonlyargs)
    return None


def alias(row: Problem, task: Problem) -> str:
    """The row's program with its function under the task's name too."""
    return f"{row.solution}\n{task.entry_point} = {row.entry_point}\n"


def rename(test: str, old: str, new: str) -> str:
    """An assertion with its function called by another name."""
    tree = ast.parse(test)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == old:
            node.id = new
    return ast.unparse(tree)
