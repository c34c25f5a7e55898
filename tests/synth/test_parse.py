"""What an answer becomes: the very text that a student will learn is the text that is proven."""

import json

import pytest

from evalkit.prompting import PROMPTING
from evalkit.records import Level, Problem
from evalkit.sandbox import Job, Sandbox
from synth.parse import parse_answer

PROMPT = 'def root(x):\n    """The square root of x."""'


def problem(solution: str, prompt: str = PROMPT) -> Problem:
    answer = {"prompt": prompt, "entry_point": "root", "solution": solution, "tests": ["assert root(4) == 2"]}
    found = parse_answer(json.dumps(answer), id="1", category="c", level=Level.EASY, source="s")
    assert isinstance(found, Problem)
    return found


def passes(found: Problem) -> bool:
    with Sandbox() as sandbox:
        return sandbox.run(Job.of(found, found.solution or "")).passed


@pytest.mark.parametrize(
    "solution",
    [
        f"{PROMPT}\n    return x**0.5\n",
        'def root(x):\n    """Another docstring."""\n    return x**0.5\n',
        f"import math\n\n\n{PROMPT}\n    return math.sqrt(x)\n",
        "from math import sqrt\nimport math\n\ndef root(x):\n    # as told\n    return sqrt(x)\n",
    ],
)
def test_what_passes_is_what_is_learned(solution: str):
    found = problem(solution)
    prompt, completion = PROMPTING.split_solution(found)
    assert found.solution == f"{prompt}{completion}\n"
    assert PROMPT in prompt
    assert passes(found)


def test_imports_that_the_prompt_has_are_not_said_twice():
    found = problem(f"import math\n{PROMPT}\n    return math.sqrt(x)\n", prompt=f"import math\n\n\n{PROMPT}")
    assert found.prompt.count("import math") == 1


def test_a_helper_that_would_not_be_learned_fails_the_proof():
    assert not passes(problem(f"def help(x):\n    return x**0.5\n\n\n{PROMPT}\n    return help(x)\n"))
