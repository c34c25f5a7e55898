"""The prompting contract: how a problem is shown to a model and how its answer becomes a program.

One named contract is carried by dataset, checkpoint and run: what a student was trained on is what it is asked with.
The prompt is source text without a trailing newline; the completion begins with that newline. Both are tokenized apart
(`boundary`), in training and at generation: a tokenizer that merges "\\n" with the indent behind it would otherwise
train on tokens that generation never produces (a probe that did so learned to stop at every prompt's end).
"""

import ast
import re
from typing import Literal

from evalkit.parsing import parse
from evalkit.records import Language, Problem, Record

TOP_LEVEL = (
    "\ndef ",
    "\nclass ",
    "\n@",
    "\nif ",
    "\nfor ",
    "\nprint(",
    "\nassert ",
    "\nimport ",
    "\nfrom ",
    "\n#",
    "\n```",
    '\n"""',
)
"""Where a function or class body has ended: the next statement at the margin."""


class Prompting(Record):
    """Template, stop rule, tokenization boundary and extraction, as one named contract."""

    template: Literal["completion"] = "completion"
    """The prompt is the problem's own source text, to be continued."""
    stop: tuple[str, ...] = TOP_LEVEL
    boundary: Literal["separate"] = "separate"
    """Prompt and completion are tokenized apart and their ids concatenated."""
    extraction: Literal["continuation"] = "continuation"
    """The program is the prompt followed by the completion up to the first stop string."""

    def render(self, problem: Problem) -> str:
        """What the model is given."""
        return problem.prompt.rstrip()

    def stops(self, problem: Problem) -> tuple[str, ...]:
        """What ends a completion of this problem: nothing that could be part of another language's body."""
        return self.stop if problem.language is Language.PYTHON else ()

    def truncate(self, text: str) -> tuple[str, bool]:
        """The completion up to the first stop string, and whether one was found."""
        cuts = [at for stop in self.stop if (at := text.find(stop)) >= 0]
        return (text[: min(cuts)], True) if cuts else (text, False)

    def program(self, problem: Problem, completion: str) -> str:
        """The complete program of a completion. Of a language with braces, up to the one that closes the function."""
        if problem.language is not Language.PYTHON:
            body = completion.removeprefix("\n")
            closed = re.search(r"^\}.*\n?", body, re.MULTILINE)
            return f"{self.render(problem)}\n{body[: closed.end()] if closed else body}"
        text = completion if completion.startswith("\n") or not completion.strip() else "\n" + completion
        return self.render(problem) + self.truncate(text)[0].rstrip() + "\n"

    def split_solution(self, problem: Problem) -> tuple[str, str]:
        """`(prompt, completion)` of the problem's own solution: what a student is trained on.

        Raises ValueError where the solution does not continue the prompt, or where the stop rule would cut it.
        """
        prompt = self.render(problem)
        solution = (problem.solution or "").rstrip()
        if solution.startswith(prompt + "\n"):
            completion = solution[len(prompt) :]
        else:
            completion = "\n" + body_source(solution, problem.entry_point)
        if self.truncate(completion)[1]:
            raise ValueError("the solution goes on after the body that the prompt opens")
        return prompt, completion


def body_source(program: str, entry_point: str) -> str:
    """Source of the entry point's body without its docstring, nothing behind it. ValueError where there is none."""
    try:
        tree = parse(program)
    except SyntaxError as error:
        raise ValueError(f"the solution is not Python: {error.msg}") from error
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == entry_point:
            body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
            if not body or node is not tree.body[-1]:
                raise ValueError("the solution has no body of its own that ends it")
            first = min([body[0].lineno, *(d.lineno for d in getattr(body[0], "decorator_list", ()))])
            if body is not node.body:  # what stands between the docstring and the first statement, comments too
                first = min(first, (node.body[0].end_lineno or first) + 1)
            return "\n".join(program.splitlines()[first - 1 :])
    raise ValueError(f"the solution defines no {entry_point!r}")


PROMPTING = Prompting()
"""The contract that everything here is trained and asked with."""
