"""Put every question to the teachers; answers are durable in the dataset folder's journal before anything uses them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from evalkit.endpoint import Answer, Endpoint, Journal, Request, Status, ask_each
from evalkit.endpoint.batch import batch_each
from evalkit.errors import EndpointError, OverBudget
from evalkit.records import Problem
from synth.parse import Dropped, parse_answer
from synth.plan import Question
from synth.prompts import render_correction
from synth.recipe import GenerateRecipe
from synth.records import Stage
from synth.teachers import endpoints, planted, transports

JOURNAL = "journal.sqlite"
"""In the dataset folder: what a preview has paid for is there too."""
MOST_FAILED = 0.2
"""Share of questions without an answer from which a run does not go on."""


@dataclass(frozen=True)
class Answered:
    """A question and what became of it."""

    question: Question
    answer: Answer | None
    """The last one, where it was corrected."""
    found: Problem | Dropped
    """What the parser makes of it."""
    failure: EndpointError | None = None
    """Why there is no answer, or no better one."""
    before: tuple[Answer, ...] = ()
    """Answers that were sent back: paid for all the same."""
    flaw: str | None = None
    """The flaw that the built-in teacher planted (`none` for a clean answer); None for any other teacher."""

    @property
    def source(self) -> str:
        return self.answer.endpoint if self.answer else ""

    @property
    def answers(self) -> tuple[Answer, ...]:
        return (*self.before, self.answer) if self.answer else self.before

    @property
    def cost_usd(self) -> float | None:
        """Dollars of all its answers; None where one is unknown."""
        costs = [answer.cost_usd for answer in self.answers]
        return None if None in costs else sum(cost for cost in costs if cost is not None)

    @property
    def usage(self) -> dict[str, int]:
        """Tokens of all its answers, by name; empty where one is unknown."""
        if any(answer.usage is None for answer in self.answers):
            return {}
        counts = [answer.usage.model_dump() for answer in self.answers if answer.usage]
        return {name: sum(count[name] for count in counts) for name in counts[0]} if counts else {}


OnAnswered = Callable[[Answered], None]


def ask(
    questions: Sequence[Question],
    recipe: GenerateRecipe,
    *,
    status: Status | None = None,
    on_answered: OnAnswered | None = None,
    batch: bool = False,
) -> dict[str, Answered]:
    """Answers by question id, in the order of the plan. An answer without a task in it is sent back with the reason.

    `on_answered` hears of each as it comes. Raises EndpointError where not one came, or where more than a fifth failed
    for other reasons than the budget: a dataset of the rest would hide that. The answers that came are kept, and asked
    for no second time.
    """
    teachers = endpoints(recipe)
    by_id = {question.id: question for question in questions}
    answered: dict[str, Answered] = {}
    status = status or Status()
    with Journal(recipe.output / JOURNAL) as journal:
        round_ = _Round(recipe, teachers, journal, status, batch)
        requests = [Request(id=question.id, messages=question.messages) for question in questions]
        again: list[Request] = []

        def keep(request: Request, result: Answer | EndpointError) -> None:
            now = _read(by_id[request.id], answered.get(request.id), result, recipe)
            answered[request.id] = now
            if len(now.before) < recipe.corrections and isinstance(result, Answer) and _worth_a_correction(now):
                again.append(_correction(request, result, now))
            elif on_answered:
                on_answered(now)

        round_.ask(requests, keep)
        _raise_if_poor(list(answered.values()))
        while again:
            requests, again = sorted(again, key=lambda request: _number(request.id)), []
            round_.ask(requests, keep)
    return {question.id: answered[question.id] for question in questions}


@dataclass(frozen=True)
class _Round:
    """How requests are sent: one by one, or as batches."""

    recipe: GenerateRecipe
    teachers: list[Endpoint]
    journal: Journal
    status: Status
    batch: bool

    def ask(self, requests: Sequence[Request], keep: Callable[[Request, Answer | EndpointError], None]) -> None:
        send = batch_each if self.batch else ask_each
        send(
            self.teachers,
            self.journal,
            requests,
            keep,
            transport=transports(self.recipe),
            max_usd=self.recipe.max_usd,
            status=self.status,
        )


def _number(id: str) -> int:
    return int(id.rpartition("/")[2])


def _read(
    question: Question, before: Answered | None, result: Answer | EndpointError, recipe: GenerateRecipe
) -> Answered:
    """What a result makes of a question. A correction that failed leaves the answer before it."""
    if isinstance(result, EndpointError):
        if before is not None and before.answer is not None:
            return replace(before, failure=result)
        return Answered(question, None, Dropped(Stage.REQUEST, result.what), result)
    found = parse_answer(
        result.text, id=question.id, category=question.category, level=question.level, source=result.endpoint
    )
    if isinstance(found, Dropped) and result.finish_reason == "length":
        found = Dropped(found.stage, f"cut off at the token limit; {found.reason}")
    return Answered(
        question,
        result,
        found,
        before=before.answers if before else (),
        flaw=planted(question.messages, result.endpoint, recipe),
    )


def _worth_a_correction(answered: Answered) -> bool:
    """A parser that found no task: the teacher can mend that. Not where it met its token limit or refused."""
    found, answer = answered.found, answered.answer
    return (
        isinstance(found, Dropped)
        and found.stage is Stage.PARSE
        and answer is not None
        and answer.finish_reason in ("stop", "unknown")
    )


def _correction(request: Request, answer: Answer, answered: Answered) -> Request:
    assert isinstance(answered.found, Dropped)  # only what was dropped is sent back
    said = {"role": "assistant", "content": answer.text}
    asked = {"role": "user", "content": render_correction(answered.found.reason)}
    return request.model_copy(update={"messages": (*request.messages, said, asked), "first": answer.endpoint})


def _raise_if_poor(answers: Sequence[Answered]) -> None:
    failed = [a.failure for a in answers if a.failure and not a.answer and not isinstance(a.failure, OverBudget)]
    if failed and len(failed) == len(answers):
        raise failed[0]
    if len(failed) > MOST_FAILED * len(answers):
        raise EndpointError(
            f"{len(failed)} of {len(answers)} questions have no answer; the last one: {failed[-1].what}",
            where=failed[-1].where,
            fix="run the same command again: it asks only for those",
        )
