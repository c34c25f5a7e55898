"""`distill preflight RECIPE`: is this run worth starting? Looks it over in under a minute, and trains nothing."""

from collections.abc import Sequence

from distill.jobs.train import quiet
from distill.preflight import Report, look_over
from distill.recipe import TrainRecipe


def preflight(recipe: TrainRecipe, against: Sequence[str] = ()) -> Report:
    """The report. Bad recipes, data and models are refusals in it, not errors."""
    quiet(recipe)
    return look_over(recipe, against)
