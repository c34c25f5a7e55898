"""The recipe of `synth generate`, `plan` and `preview`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from evalkit.endpoint import Endpoint
from evalkit.recipes import Recipe
from evalkit.records import Level


class BuiltinTeacher(Recipe):
    """The stand-in that ships: composes tasks from a grammar, plants known flaws. Needs no key and no network."""

    kind: Literal["builtin"] = "builtin"
    flaws: float = Field(default=0.1, ge=0, le=1)
    """Share of answers with a planted flaw, spread evenly over the kinds."""
    share: float = Field(default=1.0, ge=0)
    """Part of the questions that come here first, beside other teachers."""


class ServedTeacher(Endpoint):
    """Any OpenAI-compatible endpoint."""

    kind: Literal["endpoint"]
    temperature: float | None = 0.8
    """None leaves it to the endpoint."""
    max_tokens: int = Field(default=1500, ge=1)
    structured: bool = True
    """Ask for an answer that follows a JSON schema; an endpoint that knows none is asked in words alone."""
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    """Keep the log-probabilities of the answer's tokens and of as many others at each place."""


Teacher = Annotated[BuiltinTeacher | ServedTeacher, Field(discriminator="kind")]


class SplitSizes(Recipe):
    """Held-out and validation rows; the rest is for training. Rows of one solution AST never part."""

    heldout: int = Field(default=1000, ge=0)
    validation: int = Field(default=200, ge=0)


class GenerateRecipe(Recipe):
    """Ask a teacher for `tasks` tasks over categories and levels, prove them, keep the good ones."""

    output: Path
    tasks: int = Field(ge=1)
    seed: int = 0
    teacher: Teacher = Field(default_factory=BuiltinTeacher)
    teachers: tuple[Teacher, ...] = ()
    """Several instead of one: each question goes to one of them by their shares, and on to the next where it fails."""
    categories: tuple[str, ...] | None = None
    """Names from prompts/categories.yaml; None for all."""
    levels: tuple[Level, ...] = (Level.EASY, Level.MEDIUM, Level.HARD)
    corrections: int = Field(default=1, ge=0, le=3)
    """Times an answer that holds no task of the asked form is sent back with the reason. One cut off at its token limit
    is not: it would be cut off again."""
    splits: SplitSizes = SplitSizes()
    decontaminate: tuple[str, ...] = ("mini-humaneval",)
    """Suites that no kept row may solve."""
    max_usd: float | None = Field(default=None, gt=0)
    """Dollars that the teachers may cost in all; no request is sent that could exceed them."""
    slots: int | None = None
    """Programs run at a time; None for one per core."""

    @model_validator(mode="after")
    def _one_or_several(self) -> "GenerateRecipe":
        if self.teachers and "teacher" in self.model_fields_set:
            raise ValueError("give either teacher or teachers")
        builtin = [teacher for teacher in self.teachers if isinstance(teacher, BuiltinTeacher)]
        labels = [teacher.label for teacher in self.teachers if isinstance(teacher, Endpoint)]
        if len(builtin) > 1 or len(set(labels)) < len(labels):
            raise ValueError("teachers: two of them are the same; give each a name of its own")
        return self

    @property
    def all_teachers(self) -> tuple[BuiltinTeacher | ServedTeacher, ...]:
        return self.teachers or (self.teacher,)
