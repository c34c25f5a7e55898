"""synth plan: what will be asked and what it costs is said before anything is sent, and nothing is written."""

from pathlib import Path

import pytest

from evalkit.errors import ConfigError
from synth.jobs.generate import generate
from synth.jobs.plan import plan
from synth.plan import plan as questions
from synth.recipe import BuiltinTeacher, GenerateRecipe, ServedTeacher, SplitSizes


def served(**changes: object) -> ServedTeacher:
    facts = {"kind": "endpoint", "base_url": "http://127.0.0.1:9/v1", "model": "m", "max_tokens": 1000, **changes}
    return ServedTeacher.model_validate(facts)


def test_it_says_what_is_asked_and_writes_nothing(tmp_path: Path) -> None:
    priced = served(input_usd_per_million=1.0, output_usd_per_million=10.0, share=3.0, requests_per_minute=60)
    recipe = GenerateRecipe(output=tmp_path / "d", tasks=400, teachers=(priced, BuiltinTeacher()))
    first, second = plan(recipe)
    assert first.requests + second.requests == 400
    assert 270 < first.requests < 330
    assert first.usd is not None
    assert first.usd == pytest.approx((first.prompt_tokens + 10 * first.answer_tokens) / 1e6)
    assert first.usd_at_most is not None
    assert first.usd_at_most > first.requests * 1000 * 10 / 1e6
    assert first.seconds == pytest.approx(first.requests)  # sixty a minute
    assert second.usd == 0
    assert not (tmp_path / "d").exists()


def test_an_unknown_price_is_unknown_and_refuses_a_budget(tmp_path: Path) -> None:
    recipe = GenerateRecipe(output=tmp_path / "d", tasks=10, teacher=served())
    assert [(row.usd, row.usd_at_most) for row in plan(recipe)] == [(None, None)]
    with pytest.raises(ConfigError, match="max_usd"):
        plan(recipe.model_copy(update={"max_usd": 1.0}))


def test_what_the_journal_knows_costs_nothing_and_measures_the_rest(tmp_path: Path) -> None:
    recipe = GenerateRecipe(output=tmp_path / "d", tasks=60, splits=SplitSizes(heldout=0, validation=0), slots=1)
    generate(recipe)
    [more] = plan(recipe.model_copy(update={"tasks": 90}))
    assert (more.known, more.requests) == (60, 30)
    assert more.measured > 0
    texts = sum(len(q.messages[0]["content"]) for q in questions(recipe.model_copy(update={"tasks": 90}))[60:])
    assert more.prompt_tokens == pytest.approx(texts / 4, rel=0.3)
    [elsewhere] = plan(recipe.model_copy(update={"output": tmp_path / "none"}), measured_in=tmp_path / "d")
    assert elsewhere.requests == 60
    assert elsewhere.measured > 0
