"""A recipe's teachers as endpoints: what is asked of each."""

import pytest
from pydantic import ValidationError

from synth.recipe import GenerateRecipe, ServedTeacher
from synth.teachers import SCHEMA, endpoints


def served(**changes: object) -> ServedTeacher:
    return ServedTeacher.model_validate({"kind": "endpoint", "base_url": "https://host/v1", "model": "m", **changes})


def made(tmp_path: object, **changes: object) -> dict[str, object]:
    recipe = GenerateRecipe.model_validate({"output": tmp_path, "tasks": 1, "teacher": served(**changes).model_dump()})
    return endpoints(recipe)[0].params


def test_a_schema_is_asked_for_where_the_route_knows_one(tmp_path) -> None:
    params = made(tmp_path)
    assert params["response_format"] == SCHEMA
    assert set(SCHEMA["json_schema"]["schema"]["required"]) == {"prompt", "entry_point", "solution", "tests"}
    assert "response_format" not in made(tmp_path, structured=False)
    assert "response_format" not in made(tmp_path, route="completions")


def test_logprobs_by_either_route(tmp_path) -> None:
    assert made(tmp_path, top_logprobs=5).items() >= {"logprobs": True, "top_logprobs": 5}.items()
    assert made(tmp_path, top_logprobs=5, route="completions")["logprobs"] == 5


def test_own_parameters_stand_before_ours(tmp_path) -> None:
    params = made(tmp_path, params={"temperature": 0.1, "reasoning_effort": "low"})
    assert params.items() >= {"temperature": 0.1, "reasoning_effort": "low", "max_tokens": 1500}.items()
    assert "temperature" not in made(tmp_path, temperature=None)


def test_two_of_the_same_and_two_kinds_of_keys_are_refused(tmp_path) -> None:
    twice = {"output": tmp_path, "tasks": 1, "teachers": [served().model_dump(), served().model_dump()]}
    with pytest.raises(ValidationError, match="the same"):
        GenerateRecipe.model_validate(twice)
    with pytest.raises(ValidationError, match="either teacher or teachers"):
        GenerateRecipe.model_validate({**twice, "teacher": {"kind": "builtin"}, "teachers": [served().model_dump()]})
