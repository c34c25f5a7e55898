"""The recipe of `synth generate`."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from evalkit.recipes import Recipe
from evalkit.records import Level


class BuiltinTeacher(Recipe):
    """The stand-in that ships: composes tasks from a grammar, plants known flaws. Needs no key and no network."""

    kind: Literal["builtin"] = "builtin"
    flaws: float = Field(default=0.1, ge=0, le=1)
    """Share of answers with a planted flaw, spread evenly over the kinds."""


class ServedTeacher(Recipe):
    """Any OpenAI-compatible endpoint."""

    kind: Literal["endpoint"]
    base_url: str
    model: str
    api_key_env: str = "OPENAI_API_KEY"
    temperature: float = 0.8
    max_tokens: int = Field(default=1500, ge=1)
    max_concurrency: int = Field(default=32, ge=1)
    input_usd_per_million: float | None = None
    output_usd_per_million: float | None = None


class SplitSizes(Recipe):
    """Held-out and validation rows; the rest is for training. Rows of one solution AST never part."""

    heldout: int = Field(default=1000, ge=0)
    validation: int = Field(default=200, ge=0)


class GenerateRecipe(Recipe):
    """Ask a teacher for `tasks` tasks over categories and levels, prove them, keep the good ones."""

    output: Path
    tasks: int = Field(ge=1)
    seed: int = 0
    teacher: BuiltinTeacher | ServedTeacher = Field(default_factory=BuiltinTeacher, discriminator="kind")
    categories: tuple[str, ...] | None = None
    """Names from prompts/categories.yaml; None for all."""
    levels: tuple[Level, ...] = (Level.EASY, Level.MEDIUM, Level.HARD)
    splits: SplitSizes = SplitSizes()
    decontaminate: tuple[str, ...] = ("mini-humaneval",)
    """Suites that no kept row may solve."""
    max_usd: float | None = Field(default=None, gt=0)
    slots: int | None = None
    """Programs run at a time; None for one per core."""
