"""Put every question to the teacher; answers are durable in the dataset folder's journal before anything uses them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evalkit.console import progress
from evalkit.endpoint import Answer, Endpoint, Journal, Request, Stats, ask_many
from evalkit.errors import EndpointError, OverBudget
from synth.plan import Question
from synth.recipe import BuiltinTeacher, GenerateRecipe
from synth.teacher.app import MODEL, create_app
from synth.teacher.flaws import truth

MOST_FAILED = 0.2
"""Share of questions without an answer from which a run does not go on."""


@dataclass(frozen=True)
class Answered:
    """A question and what became of it."""

    question: Question
    answer: Answer | None
    error: str
    source: str
    model: str
    flaw: str | None
    """The flaw that the built-in teacher planted (`none` for a clean answer); None for any other teacher."""


def ask(questions: Sequence[Question], recipe: GenerateRecipe) -> dict[str, Answered]:
    """Answers by question id, in the order of the plan.

    Raises EndpointError where not one came, or where more than a fifth failed for other reasons than the budget: a
    dataset of the rest would hide that. The answers that came are kept, and asked for no second time.
    """
    endpoint, transport, params = connect(recipe)
    requests = [Request(id=question.id, messages=question.messages, params=params) for question in questions]
    with Journal(recipe.output / "journal.sqlite") as journal, progress(len(requests), "asking the teacher") as tick:

        def on_answer(answer: Answer | EndpointError, stats: Stats) -> None:
            tick(1, **{name: count for name, count in stats.items() if name not in ("sent", "answered")})

        answers = ask_many(
            endpoint, journal, requests, transport=transport, max_usd=recipe.max_usd, on_answer=on_answer
        )
    _raise_if_poor(list(answers.values()))
    answered = {}
    for question in questions:
        answer = answers[question.id]
        answered[question.id] = Answered(
            question=question,
            answer=answer if isinstance(answer, Answer) else None,
            error=str(answer) if isinstance(answer, EndpointError) else "",
            source=endpoint.name or endpoint.base_url,
            model=endpoint.model,
            flaw=truth(question.messages[-1]["content"], recipe.teacher.flaws, recipe.seed)
            if isinstance(recipe.teacher, BuiltinTeacher)
            else None,
        )
    return answered


def _raise_if_poor(answers: Sequence[Answer | EndpointError]) -> None:
    failed = [answer for answer in answers if isinstance(answer, EndpointError) and not isinstance(answer, OverBudget)]
    if failed and len(failed) == len(answers):
        raise failed[0]
    if len(failed) > MOST_FAILED * len(answers):
        raise EndpointError(
            f"{len(failed)} of {len(answers)} questions have no answer; the last one: {failed[-1].what}",
            where=failed[-1].where,
            fix="run the same command again: it asks only for those",
        )


def connect(recipe: GenerateRecipe) -> tuple[Endpoint, Any, dict[str, Any]]:
    """The endpoint of a recipe's teacher, its transport (in process for the built-in one) and sampling parameters."""
    teacher = recipe.teacher
    if isinstance(teacher, BuiltinTeacher):
        import httpx2

        endpoint = Endpoint(
            base_url="http://builtin/v1",
            name="built-in grammar",
            model=MODEL,
            input_usd_per_million=0.0,
            output_usd_per_million=0.0,
        )
        app = create_app(flaws=teacher.flaws, seed=recipe.seed)
        return endpoint, httpx2.ASGITransport(app=app), {}
    endpoint = Endpoint(
        base_url=teacher.base_url,
        model=teacher.model,
        api_key_env=teacher.api_key_env,
        max_concurrency=teacher.max_concurrency,
        input_usd_per_million=teacher.input_usd_per_million,
        output_usd_per_million=teacher.output_usd_per_million,
    )
    return endpoint, None, {"temperature": teacher.temperature, "max_tokens": teacher.max_tokens}
