"""synth preview: the first questions and answers of a run, and what the parser makes of them.

The answers stand in the journal of the dataset folder: the run itself will not ask, or pay, for them again.
"""

import shutil
from collections.abc import Iterator

from evalkit.endpoint import paid
from evalkit.errors import NotServed
from synth.ask import JOURNAL, ask
from synth.parse import Dropped
from synth.plan import plan
from synth.recipe import GenerateRecipe


def preview(recipe: GenerateRecipe, number: int) -> Iterator[str]:
    """One text per sample."""
    questions = plan(recipe.model_copy(update={"tasks": number}))
    fresh = not recipe.output.exists()
    try:
        answers = ask(questions, recipe)
    except NotServed:
        if fresh and not paid(recipe.output / JOURNAL):
            shutil.rmtree(recipe.output, ignore_errors=True)
        raise
    for question in questions:
        answered = answers[question.id]
        if answered.answer is None:
            yield f"── {question.id}  no answer: {answered.failure}\n"
            continue
        found = answered.found
        made = f"dropped at {found.stage}: {found.reason}" if isinstance(found, Dropped) else "parsed"
        yield f"── {question.id}  {question.category}, {question.level}\n{question.messages[-1]['content']}\n"
        yield f"── answer ({answered.answer.finish_reason}), {made}\n{answered.answer.text}\n"
