"""The built-in teacher: its own tests hold, stubs fail, flaws come at the asked share, wording varies."""

from collections import Counter

import pytest

from evalkit.normal_form import normal_form
from evalkit.records import Level
from evalkit.sandbox import Job, Sandbox
from synth.parse import Dropped, parse_answer, stub
from synth.plan import plan
from synth.prompts import load_categories
from synth.recipe import GenerateRecipe
from synth.teacher.flaws import KINDS, answer, truth
from synth.teacher.task import CATEGORIES, compose


def questions(number: int, **recipe: object) -> list[str]:
    return [q.messages[0]["content"] for q in plan(GenerateRecipe(output="unused", tasks=number, **recipe))]  # type: ignore[arg-type]


def test_categories_of_prompts_and_grammar_agree() -> None:
    assert tuple(load_categories()) == tuple(CATEGORIES)
    assert len(CATEGORIES) == 10


def test_clean_answers_parse_pass_and_stubs_fail() -> None:
    problems = []
    for index, text in enumerate(questions(300)):
        said = answer(text, 0.0, 0)
        assert said is not None
        problem = parse_answer(said, id=str(index), category="c", level=Level.EASY, source="s")
        assert not isinstance(problem, Dropped), problem
        problems.append(problem)
    with Sandbox(1) as sandbox:
        for job, verdict in sandbox.run_many(Job.of(p, p.solution or "") for p in problems):
            assert getattr(verdict, "passed", False), (job.program, verdict)
        for job, verdict in sandbox.run_many(Job.of(p, stub(p)) for p in problems):
            assert not getattr(verdict, "passed", True), (job.program, verdict)


def test_answers_are_deterministic_and_numbers_differ() -> None:
    texts = questions(60)
    assert [answer(text, 0.3, 1) for text in texts] == [answer(text, 0.3, 1) for text in texts]
    assert len({answer(text, 0.0, 1) for text in texts}) == 60
    assert answer(texts[0], 0.0, 1) != answer(texts[0], 0.0, 2)


def test_flaws_come_at_the_asked_share_and_the_truth_names_them() -> None:
    texts = questions(3000, seed=3)
    kinds = Counter(truth(text, 0.3, 3) for text in texts)
    assert set(kinds) == {*KINDS, "none"}
    assert 0.26 < 1 - kinds["none"] / 3000 < 0.34
    assert all(0.03 < kinds[kind] / 3000 < 0.075 for kind in KINDS)
    for text in texts[:200]:
        flaw = truth(text, 0.3, 3)
        same = answer(text, 0.3, 3) == answer(text, 0.0, 3)
        assert same == (flaw == "none"), flaw
        assert not any(kind in (answer(text, 0.3, 3) or "") for kind in KINDS if "_" in kind)


def test_wording_varies_over_one_meaning() -> None:
    docs: dict[str, set[str]] = {}
    for number in range(1500):
        task = compose("lists", Level.EASY, number, 5)
        docs.setdefault(normal_form(task["solution"]), set()).add(task["prompt"])
    most = max(docs.values(), key=len)
    assert len(most) >= 8
    assert len(docs) >= 200


def test_what_is_no_question_gets_no_answer() -> None:
    assert answer("Write me a poem", 0.0, 0) is None
    assert answer("Category: cooking\nLevel: easy\nTask number: 1", 0.0, 0) is None


@pytest.mark.slow
def test_twenty_thousand_distinct_solutions() -> None:
    forms: set[str] = set()
    names, levels = list(CATEGORIES), list(Level)
    for number in range(100_000):
        task = compose(names[number % 10], levels[number // 10 % 3], number, 11)
        forms.add(normal_form(task["solution"]))
        if len(forms) >= 20_000:
            return
    pytest.fail(f"only {len(forms)} distinct solutions")
