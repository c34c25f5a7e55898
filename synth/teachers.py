"""The teachers of a recipe as endpoints: the built-in one in this process, the others over the network."""

from collections.abc import Sequence
from typing import Any

from evalkit.endpoint import Endpoint, asking_logprobs
from synth.parse import TaskAnswer
from synth.recipe import BuiltinTeacher, GenerateRecipe, ServedTeacher
from synth.teacher.app import MODEL, create_app
from synth.teacher.flaws import truth

BUILTIN_URL = "http://builtin/v1"
BUILTIN_NAME = "built-in grammar"
SCHEMA = {
    "type": "json_schema",
    "json_schema": {"name": "task", "strict": False, "schema": TaskAnswer.model_json_schema()},
}


def endpoints(recipe: GenerateRecipe) -> list[Endpoint]:
    """One endpoint for each teacher, in the recipe's order."""
    return [
        _served(teacher) if isinstance(teacher, ServedTeacher) else _builtin(teacher) for teacher in recipe.all_teachers
    ]


def transports(recipe: GenerateRecipe) -> dict[str, Any]:
    """What replaces the network, by address: the built-in teacher answers inside this process."""
    found: dict[str, Any] = {}
    for teacher in recipe.all_teachers:
        if isinstance(teacher, BuiltinTeacher):
            import httpx2

            found[BUILTIN_URL] = httpx2.ASGITransport(app=create_app(flaws=teacher.flaws, seed=recipe.seed))
    return found


def planted(messages: Sequence[dict[str, str]], label: str, recipe: GenerateRecipe) -> str | None:
    """The flaw that the built-in teacher planted in its answer (`none` for a clean one); None for any other teacher."""
    for teacher in recipe.all_teachers:
        if isinstance(teacher, BuiltinTeacher) and label == BUILTIN_NAME:
            return truth(messages[0]["content"], teacher.flaws, recipe.seed)
    return None


def _builtin(teacher: BuiltinTeacher) -> Endpoint:
    return Endpoint(
        base_url=BUILTIN_URL,
        name=BUILTIN_NAME,
        model=MODEL,
        share=teacher.share,
        input_usd_per_million=0.0,
        output_usd_per_million=0.0,
    )


def _served(teacher: ServedTeacher) -> Endpoint:
    own = {"kind", "temperature", "max_tokens", "structured", "top_logprobs"}
    params: dict[str, Any] = {"max_tokens": teacher.max_tokens}
    if teacher.temperature is not None:
        params["temperature"] = teacher.temperature
    if teacher.structured and teacher.route == "chat":
        params["response_format"] = SCHEMA
    if teacher.top_logprobs is not None:
        params |= asking_logprobs(teacher.route, teacher.top_logprobs)
    facts = teacher.model_dump(exclude=own)
    return Endpoint(**{**facts, "params": {**params, **teacher.params}})
