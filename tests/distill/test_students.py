"""Shapes, presets, and what the recipe refuses."""

import pytest

from distill.recipe import StudentPart, TrainRecipe
from distill.students import PRESET_VOCAB, PRESETS, new_student, shape_of
from distill.tokenizer import train_tokenizer
from evalkit.errors import ConfigError
from evalkit.recipes import parse_recipe


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_as_large_as_their_names_say(name: str):
    assert PRESETS[name].parameters(PRESET_VOCAB) == pytest.approx(float(name[:-1]) * 1e6, rel=0.06)


def test_the_count_is_that_of_the_model():
    tokenizer = train_tokenizer(["def f(): pass"], 270)
    shape = shape_of(StudentPart(layers=2, hidden=32, heads=4, kv_heads=2))
    model = new_student(shape, tokenizer, max_length=64, seed=0)
    assert sum(p.numel() for p in model.parameters()) == shape.parameters(len(tokenizer))


def test_bad_students():
    with pytest.raises(ConfigError, match="no student preset"):
        shape_of(StudentPart(preset="3M"))
    with pytest.raises(ConfigError, match="multiple"):
        shape_of(StudentPart(layers=1, hidden=30, heads=4))
    base = {"method": "kd", "data": {"folder": "d"}, "output": "o"}
    for broken, match in [
        ({"student": {"preset": "1M", "path": "x"}}, "exactly one"),
        ({"student": {"preset": "1M"}}, "teacher"),
        ({"student": {"preset": "1M"}, "teacher": "t", "lora": {"r": 2}}, "student.path"),
        ({"student": {"preset": "1M"}, "teacher": "t", "los": {}}, "did you mean 'loss'"),
    ]:
        with pytest.raises(ConfigError, match=match):
            parse_recipe(TrainRecipe, base | broken)
