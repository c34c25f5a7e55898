"""A teacher's answer becomes a problem, or says why it does not."""

import ast
from dataclasses import dataclass

from pydantic import Field, ValidationError

from evalkit.extract import extract_json, repair_json
from evalkit.normal_form import normal_form
from evalkit.parsing import parse
from evalkit.prompting import PROMPTING
from evalkit.records import Level, Problem, Record
from synth.records import Stage


class TaskAnswer(Record):
    """The JSON object that prompts/task.j2 asks for."""

    prompt: str
    entry_point: str
    solution: str
    tests: tuple[str, ...]
    imports: str = ""
    files: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True)
class Dropped:
    stage: Stage
    reason: str


def parse_answer(text: str, *, id: str, category: str, level: Level, source: str) -> Problem | Dropped:
    """The problem in an answer. Its solution is Python, defines the entry point and continues the prompt."""
    data = extract_json(text) or repair_json(text)
    if data is None:
        return Dropped(Stage.PARSE, "no complete JSON object in the answer")
    try:
        answer = TaskAnswer.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        return Dropped(Stage.PARSE, f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}")
    if not answer.tests:
        return Dropped(Stage.PARSE, "tests: none given")
    problem = Problem(
        id=id,
        suite="synth",
        prompt=answer.prompt.rstrip("\n"),
        entry_point=answer.entry_point,
        tests=answer.tests,
        imports=answer.imports,
        files=answer.files,
        solution=answer.solution.rstrip("\n") + "\n",
        category=category,
        level=level,
        source=source,
    )
    return check_source(problem)


def check_source(problem: Problem) -> Problem | Dropped:
    """Refuse solutions that are not Python, lack the entry point, or do not continue the prompt; of the others, what a
    student will learn."""
    assert problem.solution is not None  # set just above
    try:
        tree = parse(problem.solution)
        for test in problem.tests:
            parse(test)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return Dropped(Stage.SYNTAX, f"{type(error).__name__}: {error}")
    names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    if problem.entry_point not in names:
        return Dropped(Stage.SYNTAX, f"defines no top-level {problem.entry_point!r}")
    try:
        prompt, completion = PROMPTING.split_solution(problem)
    except ValueError as error:
        return Dropped(Stage.PARSE, str(error))
    if problem.solution.startswith(prompt + "\n"):
        return problem
    return _as_learned(problem, tree, prompt, completion)


def _as_learned(problem: Problem, tree: ast.Module, prompt: str, completion: str) -> Problem:
    """A solution that writes the prompt anew, as a student will see it: the prompt and the body, nothing beside them.
    That is what must be proven. Imports that only the solution has go into the prompt; helpers that only it has are
    lost, and the proof will say so."""
    before = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    missing = [line for line in map(ast.unparse, before) if line not in prompt.splitlines()]
    if missing:
        prompt = "\n".join(missing) + "\n\n\n" + prompt
    return problem.model_copy(update={"prompt": prompt, "solution": f"{prompt}{completion}\n"})


def task_key(problem: Problem) -> str:
    """Two rows with this key are one task: the same question (white space aside) with the same normalised answer."""
    assert problem.solution is not None  # callers hold checked problems
    return f"{' '.join(problem.prompt.split())}\x00{normal_form(problem.solution)}"


def stub(problem: Problem) -> str:
    """A program with the problem's interface that does nothing: each body of the solution becomes `pass`."""
    assert problem.solution is not None  # callers hold checked problems
    tree = parse(problem.solution)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [ast.Pass()]
    return ast.unparse(tree)
