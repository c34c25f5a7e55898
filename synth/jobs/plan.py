"""synth plan: requests, tokens, dollars and time of a recipe, before anything is sent.

What the dataset's journal has measured already is used; where it has nothing, the figures are assumptions and say so.
Nothing is written.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from evalkit.endpoint import Answer, Endpoint, Journal, Request
from evalkit.endpoint.answer import key_of
from evalkit.endpoint.intake import deal
from evalkit.endpoint.line import DEFAULT_MAX_TOKENS
from evalkit.errors import ConfigError, DataError
from synth.ask import JOURNAL
from synth.plan import Question
from synth.plan import plan as questions_of
from synth.recipe import GenerateRecipe
from synth.teachers import endpoints

ANSWER_TOKENS = 400
"""Of one answer, where none was measured: a task with its solution and tests."""
SECONDS = 8.0
"""Of one answer, where none was measured."""
CHARACTERS_PER_TOKEN = 4.0
MEASURED = 200
"""Answers of the journal that are looked at."""


@dataclass(frozen=True)
class Forecast:
    """What one teacher will be asked. None is unknown."""

    label: str
    questions: int
    known: int
    """Answered in the journal: they cost nothing."""
    prompt_tokens: int
    answer_tokens: int
    usd: float | None
    usd_at_most: float | None
    """If every answer were as long as it may be."""
    seconds: float
    measured: int
    """Answers that the figures rest on; with 0 they are assumptions."""

    @property
    def requests(self) -> int:
        return self.questions - self.known


def plan(recipe: GenerateRecipe, *, batch: bool = False, measured_in: Path | None = None) -> list[Forecast]:
    """A forecast for each teacher, in the recipe's order. Retries, corrections and fallbacks come on top.

    `measured_in` is a dataset folder whose journal says how long answers of these teachers are.
    """
    teachers = endpoints(recipe)
    if recipe.max_usd is not None and any(teacher.prices is None for teacher in teachers):
        raise ConfigError("a price is unknown, so max_usd cannot be held", where="max_usd", fix="give the prices")
    questions = questions_of(recipe)
    dealt: list[list[Question]] = [[] for _ in teachers]
    for question in questions:
        dealt[deal(_request(question), teachers)[0]].append(question)
    known: set[str] = set()
    measured: list[Answer] = []
    path = recipe.output / JOURNAL
    if path.exists():
        with Journal(path) as journal:
            known = set(journal.find(key for question in questions for key in _keys(question, teachers)))
            measured = list(islice(journal.answers(), MEASURED))
    if measured_in is not None:
        with Journal(existing(measured_in / JOURNAL)) as journal:
            measured += islice(journal.answers(), MEASURED)
    done = {question.id for question in questions if known & set(_keys(question, teachers))}
    return [_forecast(t, mine, done, measured, batch) for t, mine in zip(teachers, dealt, strict=True)]


def existing(path: Path) -> Path:
    if not path.exists():
        raise DataError("no such journal", where=str(path), fix="name the folder of a dataset")
    return path


def _request(question: Question) -> Request:
    return Request(id=question.id, messages=question.messages)


def _keys(question: Question, teachers: Sequence[Endpoint]) -> list[str]:
    return [key_of(_request(question).content(teacher.model, teacher.params)) for teacher in teachers]


def _forecast(
    teacher: Endpoint, questions: Sequence[Question], done: set[str], measured: Sequence[Answer], batch: bool
) -> Forecast:
    to_ask = [question for question in questions if question.id not in done]
    mine = [answer for answer in measured if answer.endpoint == teacher.label and answer.usage]
    most = int(teacher.params.get("max_tokens") or DEFAULT_MAX_TOKENS)
    characters = sum(len(message["content"]) for question in to_ask for message in question.messages)
    bytes_ = sum(len(message["content"].encode()) + 16 for question in to_ask for message in question.messages)
    each = min(ANSWER_TOKENS, most)
    seconds = SECONDS
    prompt = round(characters / CHARACTERS_PER_TOKEN)
    if mine:
        each = round(sum(answer.usage.completion_tokens for answer in mine if answer.usage) / len(mine))
        prompt = round(len(to_ask) * sum(answer.usage.prompt_tokens for answer in mine if answer.usage) / len(mine))
        seconds = sum(answer.latency for answer in mine) / len(mine)
    price, share = teacher.prices, teacher.batch_discount if batch else 1.0
    tokens = prompt + each * len(to_ask)
    return Forecast(
        label=teacher.label,
        questions=len(questions),
        known=len(questions) - len(to_ask),
        prompt_tokens=prompt,
        answer_tokens=each * len(to_ask),
        usd=None if price is None else share * price.of(prompt, each * len(to_ask)),
        usd_at_most=None if price is None else share * price.of(bytes_, most * len(to_ask)),
        seconds=max(
            len(to_ask) * seconds / teacher.max_concurrency,
            60.0 * len(to_ask) / (teacher.requests_per_minute or float("inf")),
            60.0 * tokens / (teacher.tokens_per_minute or float("inf")),
        ),
        measured=len(mine),
    )
