"""synth preview: the first questions and answers, and what the parser makes of them. Nothing is written."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from synth.ask import ask
from synth.parse import Dropped
from synth.plan import plan
from synth.recipe import GenerateRecipe


def preview(recipe: GenerateRecipe, number: int) -> Iterator[str]:
    """One text per sample. The answers are asked for (and paid) anew: they are not journalled."""
    questions = plan(recipe.model_copy(update={"tasks": number}))
    with tempfile.TemporaryDirectory() as folder:
        answers = ask(questions, recipe.model_copy(update={"output": Path(folder)}))
    for question in questions:
        answered = answers[question.id]
        if answered.answer is None:
            yield f"── {question.id}  no answer: {answered.failure}\n"
            continue
        found = answered.found
        made = f"dropped at {found.stage}: {found.reason}" if isinstance(found, Dropped) else "parsed"
        yield f"── {question.id}  {question.category}, {question.level}\n{question.messages[-1]['content']}\n"
        yield f"── answer ({answered.answer.finish_reason}), {made}\n{answered.answer.text}\n"
