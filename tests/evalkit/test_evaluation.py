"""An evaluation: a perfect model, a mute one, a broken sandbox; denominators and no silent zero."""

import pytest

from evalkit.console import progress
from evalkit.errors import SandboxError, ToolchainMissing
from evalkit.evaluation import Row, answer, chat_program, evaluate, summarise
from evalkit.models import Generated
from evalkit.prompting import PROMPTING
from evalkit.records import Completion, Language, Method, Outcome, Problem, Tier, Verdict
from evalkit.sandbox import Sandbox
from evalkit.sandbox.languages import LANGUAGES
from evalkit.suites import load_suite

PROBLEMS = load_suite("mini-humaneval")


class Scripted:
    """Answers by a function of prompt and sample."""

    name = "scripted"

    def __init__(self, say):
        self.say = say

    def complete(self, prompts, *, n=1, max_new_tokens=128, temperature=0.0, seed=0, stop=()):
        return [[self.say(prompt, sample) for sample in range(n)] for prompt in prompts]


def said(text, **facts):
    return Generated(text=text, finish_reason="stop", tokens=3, seconds=0.1, **facts)


SOLUTIONS = {PROMPTING.render(p): PROMPTING.split_solution(p)[1] for p in PROBLEMS}


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(2) as box:
        yield box


def test_a_perfect_model_scores_one_with_doubt(sandbox):
    ticks = []
    result = evaluate(
        PROBLEMS,
        Scripted(lambda prompt, _: said(SOLUTIONS[prompt] + "\nprint('more')")),
        sandbox,
        on_progress=lambda done=1, **facts: ticks.append(facts["passed"]),
    )
    s = result.summary
    assert (s["attempted"], s["scored"], s["errored"], s["passed"], s["pass_at_1"]) == (20, 20, 0, 20, 1.0)
    assert s["pass_at_1_interval"]["low"] == pytest.approx(0.839, abs=1e-3)
    assert (s["syntax_valid"], s["repetition"], s["outcomes"]) == (1.0, 0.0, {"passed": 20})
    assert s["mode_collapse"] <= 0.1
    assert ticks == list(range(1, 21))
    assert [row.problem_id for row in result.rows] == [p.id for p in PROBLEMS]


def test_a_collapsed_model_is_seen_as_one(sandbox):
    s = evaluate(PROBLEMS, Scripted(lambda *_: said("\n    return None")), sandbox).summary
    assert (s["passed"], s["pass_at_1"], s["mode_collapse"]) == (0, 0.0, 1.0)
    assert s["pass_at_1_interval"]["high"] > 0.1


def test_several_samples_are_clustered_by_task(sandbox):
    model = Scripted(lambda prompt, sample: said(SOLUTIONS[prompt] if sample % 2 else "\n    return ("))
    s = evaluate(PROBLEMS, model, sandbox, n=4, temperature=1.0).summary
    assert (s["attempted"], s["passed"], s["pass_at_1"]) == (80, 40, 0.5)
    assert s["pass_at_k"] == {"1": 0.5, "2": pytest.approx(1 - 1 / 6)}
    assert (s["syntax_valid"], s["distinct"]) == (0.5, 0.5)


def test_errors_are_no_verdicts(sandbox):
    model = Scripted(lambda prompt, _: said("", error="gone") if "is_even" in prompt else said(SOLUTIONS[prompt]))
    result = evaluate(PROBLEMS, model, sandbox)
    s = result.summary
    assert (s["attempted"], s["scored"], s["errored"], s["passed"]) == (20, 19, 1, 19)
    assert s["errors"] == {"gone": 1}
    assert result.rows[3].verdict is None


def test_a_broken_sandbox_is_an_error_and_nothing_scored_is_none():
    class Broken:
        def run_many(self, jobs):
            for job in jobs:
                yield job, SandboxError("jail gone")

    s = evaluate(PROBLEMS[:2], Scripted(lambda *_: said("\n    pass")), Broken()).summary
    assert (s["attempted"], s["scored"], s["errored"], s["pass_at_1"], s["pass_at_k"]) == (2, 0, 2, None, {})
    assert s["syntax_valid"] is None
    empty = summarise([])
    assert (empty["attempted"], empty["pass_at_1"], empty["tokens_per_second"]) == (0, None, None)


def test_what_can_be_forged_is_not_scored():
    verdict = Verdict(outcome=Outcome.PASSED, method=Method.INLINE, tier=Tier.NAMESPACES)
    completion = Completion(
        problem_id="a", sample_index=0, text="", program="", finish_reason="stop", tokens=0, seconds=0.0
    )
    s = summarise([Row(problem_id="a", completion=completion, verdict=verdict)])
    assert (s["scored"], s["weak"], s["passed"], s["pass_at_1"]) == (0, 1, 0, None)


def test_chat_answers_become_programs():
    problem = PROBLEMS[0]
    whole = "Here:\n```python\ndef add_numbers(x, y):\n    return x + y\n```"
    assert chat_program(problem, whole, PROMPTING) == "def add_numbers(x, y):\n    return x + y\n"
    assert chat_program(problem, "    return a + b", PROMPTING) == problem.solution
    assert chat_program(problem, "```python\n    return a + b\n```", PROMPTING) == problem.solution
    brought = problem.model_copy(update={"imports": "import math"})
    assert chat_program(brought, whole, PROMPTING).startswith("import math\n\ndef add_numbers")


def test_progress_lines_fit(sandbox):
    with progress(2, "mini") as tick:
        rows = answer(
            PROBLEMS[:2],
            Scripted(lambda prompt, _: said(SOLUTIONS[prompt])),
            sandbox,
            prompting=PROMPTING,
            n=1,
            temperature=0.0,
            max_new_tokens=9,
            seed=0,
            on_progress=tick,
        )
    assert len(rows) == 2


def rust(name, sign):
    return Problem(
        id=name,
        suite="toy",
        language=Language.RUST,
        prompt=f"/* Combine. */\nfn {name}(a: i32, b: i32) -> i32 {{",
        entry_point=name,
        test_program=f"#[cfg(test)] mod t {{ use super::*; #[test] fn go() {{ assert_eq!({name}(4, 2), 4 {sign} 2); }} }}",
    )


@pytest.mark.parametrize("chat", [False, True])
def test_rust_counts_compiles_and_weak_passes_but_no_pass_at_k(sandbox, chat):
    try:
        LANGUAGES["rust"].find()
    except ToolchainMissing as error:
        pytest.skip(f"skipped: {error.what}")
    answers = {"add": "    a + b\n}\nfn more() {}", "sub": "    a + b\n}", "mul": "    a *\n}"}

    def say(prompt, _):
        name = prompt.rpartition("fn ")[2].partition("(")[0]
        whole = f"Here:\n```rust\nfn {name}(a: i32, b: i32) -> i32 {{\n{answers[name]}\n```"
        return said(whole if chat else "\n" + answers[name])

    model = Scripted(say)
    model.chat = chat
    s = evaluate([rust("add", "+"), rust("sub", "-"), rust("mul", "*")], model, sandbox).summary
    assert (s["attempted"], s["scored"], s["weak"], s["weak_passed"], s["passed"]) == (3, 0, 3, 1, 0)
    assert s["pass_at_1"] is None
    assert s["syntax_valid"] == pytest.approx(2 / 3)
    assert s["outcomes"] == {"passed": 1, "wrong": 1, "syntax_error": 1}


@pytest.mark.parametrize(
    "body",
    [
        "    # first\n    @staticmethod\n    def one():\n        return 1\n",
        "    @property\n    def one(self):\n        return 1\n",
        "    # what it is\n    one = 1\n",
    ],
)
@pytest.mark.parametrize("doc", ['    """Another docstring."""\n', '    """Of\n    lines."""\n'])
def test_what_is_learned_of_another_docstring_is_the_whole_body(body: str, doc: str):
    problem = Problem(
        id="x", suite="x", prompt='class Box:\n    """A box."""', entry_point="Box", tests=("assert Box().one",)
    )
    problem = problem.model_copy(update={"solution": f"class Box:\n{doc}{body}"})
    assert PROMPTING.split_solution(problem) == (problem.prompt, "\n" + body.rstrip())


def test_a_decorated_first_statement_keeps_its_decorator_without_a_docstring():
    problem = Problem(id="x", suite="x", prompt="def f():", entry_point="f", tests=("assert f() == 1",))
    body = "    @cache\n    def g():\n        return 1\n    return g()"
    assert (
        PROMPTING.split_solution(problem.model_copy(update={"solution": f"import x\ndef f():\n{body}\n"}))[1]
        == "\n" + body
    )
