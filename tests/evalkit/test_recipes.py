"""Strict recipes: typos are refused and the nearest known key is named."""

from pathlib import Path

import pytest

from evalkit.errors import ConfigError
from evalkit.recipes import Recipe, load_recipe, parse_recipe


class Inner(Recipe):
    learning_rate: float = 1e-3
    steps: int = 10


class Outer(Recipe):
    name: str
    training: Inner = Inner()
    optional: Inner | None = None


def test_reads_defaults_and_overrides(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("name: a\ntraining:\n  steps: 3\n")
    recipe = load_recipe(Outer, path, ["training.learning_rate=0.5", "optional.steps=7"])
    assert recipe.training == Inner(learning_rate=0.5, steps=3)
    assert recipe.optional == Inner(steps=7)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"nmae": "a"}, "did you mean 'name'"),
        ({"name": "a", "training": {"learning_rte": 1}}, "'training.learning_rte'; did you mean 'learning_rate'"),
        ({"name": "a", "optional": {"stpes": 1}}, "did you mean 'steps'"),
        ({"name": "a", "zzz": 1}, "known keys: name, optional, training"),
        ({"name": "a", "training": {"steps": "many"}}, "training.steps"),
        ({}, "name: Field required"),
        ([1], "a recipe is a mapping"),
    ],
)
def test_refuses_and_names_the_nearest_key(data: object, said: str) -> None:
    with pytest.raises(ConfigError, match="recipe") as caught:
        parse_recipe(Outer, data)
    assert said in str(caught.value)


@pytest.mark.parametrize("text", ["name: [", "name: a\nname: b\n", "\x00"])
def test_refuses_what_is_no_yaml(tmp_path: Path, text: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"r\.yaml"):
        load_recipe(Outer, path)


@pytest.mark.parametrize("override", ["training", "name.deep=1", "=3"])
def test_refuses_bad_overrides(override: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        parse_recipe(Outer, {"name": "a"}, [override])


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        load_recipe(Outer, tmp_path / "none.yaml")


class Loose(Recipe):
    anything: dict[str, object]


@pytest.mark.parametrize("written", ["8e-3", "8E-3", "+8e-3", "0.8e-2", "8.e-3"])
def test_a_number_with_an_exponent_is_a_number(written: str) -> None:
    made = parse_recipe(Loose, {"anything": {}}, [f"anything={{rate: {written}}}"])
    assert made.anything["rate"] == pytest.approx(8e-3)
