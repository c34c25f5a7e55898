"""Every request of a run, fixed by its recipe: what is asked, of which category and level, under which number."""

from dataclasses import dataclass

from evalkit.errors import ConfigError
from evalkit.records import Level, digest
from synth.prompts import load_categories, render_task
from synth.recipe import GenerateRecipe


@dataclass(frozen=True)
class Question:
    """One request to the teacher."""

    id: str
    category: str
    level: Level
    number: int
    messages: tuple[dict[str, str], ...]

    @property
    def digest(self) -> str:
        """Digest of the messages."""
        return digest(list(self.messages))


def plan(recipe: GenerateRecipe) -> list[Question]:
    """`recipe.tasks` questions, dealt evenly over categories and levels, numbered within each pair of them."""
    known = load_categories()
    names = recipe.categories or tuple(known)
    if unknown := sorted(set(names) - set(known)):
        raise ConfigError(
            f"no such category: {', '.join(unknown)}", where="categories", fix=f"known: {', '.join(known)}"
        )
    questions = []
    for index in range(recipe.tasks):
        category = names[index % len(names)]
        level = recipe.levels[index // len(names) % len(recipe.levels)]
        number = recipe.seed * 1_000_000 + index // (len(names) * len(recipe.levels))
        text = render_task(category=known[category], level=level, number=number)
        messages = ({"role": "user", "content": text},)
        questions.append(Question(f"synth/{index}", category, level, number, messages))
    return questions
