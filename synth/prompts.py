"""What the teacher is asked: prompts/categories.yaml, task.j2 and correction.j2 (in a wheel: synth/_prompts)."""

from functools import cache
from pathlib import Path

import jinja2
import yaml

from evalkit.errors import ConfigError
from evalkit.recipes import Recipe
from evalkit.records import Level


class Category(Recipe):
    """One category of tasks."""

    name: str
    about: str


def folder() -> Path:
    """Where the prompts are: inside an installed package, or at the top of a checkout."""
    here = Path(__file__).parent
    for candidate in (here / "_prompts", here.parent / "prompts"):
        if candidate.is_dir():
            return candidate
    raise ConfigError("the prompts folder is missing", where=str(here), fix="install potstill again")


@cache
def load_categories() -> dict[str, Category]:
    """Categories by name, in the file's order."""
    data = yaml.safe_load((folder() / "categories.yaml").read_text(encoding="utf-8"))
    return {name: Category(name=name, **facts) for name, facts in data.items()}


@cache
def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=False, autoescape=False)
    return environment.from_string((folder() / name).read_text(encoding="utf-8"))


def render_task(*, category: Category, level: Level, number: int) -> str:
    """The question for one task."""
    return _template("task.j2").render(category=category.name, about=category.about, level=level.value, number=number)


def render_correction(reason: str) -> str:
    """What follows an answer that holds no task of the asked form."""
    return _template("correction.j2").render(reason=reason)
