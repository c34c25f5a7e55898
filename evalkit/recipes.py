"""Recipes: strict YAML files, one per job. An unknown key is refused and the nearest known key is named."""

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from evalkit.errors import ConfigError


class Recipe(BaseModel):
    """Base of every recipe and every section in one: frozen, unknown keys refused, defaults checked too."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


R = TypeVar("R", bound=Recipe)


def load_recipe(cls: type[R], path: str | Path, overrides: Sequence[str] = ()) -> R:
    """Read a recipe file and apply `a.b=value` overrides (values are YAML).

    Raises ConfigError, naming the file and the key, where the file is missing, is no mapping, repeats a key, has an
    unknown key (the nearest known one is named) or a value of the wrong type.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"cannot read the recipe: {error}", where=str(path), fix="give the path of a YAML file"
        ) from error
    return parse_recipe(cls, _parse_yaml(text, str(path)), overrides, where=str(path))


def parse_recipe(cls: type[R], data: Any, overrides: Sequence[str] = (), *, where: str = "recipe") -> R:
    """The same for data that is already parsed."""
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise ConfigError(f"a recipe is a mapping of keys, not a {type(data).__name__}", where=where)
    for override in overrides:
        _apply(data, override)
    try:
        return cls.model_validate(data)
    except ValidationError as error:
        raise ConfigError(_explain(cls, error), where=where) from error


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses a mapping that has the same key twice, where YAML would silently keep the last.

    And that reads 1e-4 as a number, as everybody but YAML 1.1 does.
    """


def _mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    for key in keys:
        if keys.count(key) > 1:
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} stands twice", node.start_mark)
    return loader.construct_mapping(node, deep=True)


_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)
_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def _parse_yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        raise ConfigError(f"not valid YAML: {' '.join(str(error).split())}", where=where) from error


def _apply(data: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"cannot read the override {override!r}", where="--set", fix="write --set section.key=value")
    *path, last = key.split(".")
    target = data
    for part in path:
        target = target.setdefault(part, {})
        if not isinstance(target, dict):
            raise ConfigError(f"{part!r} in {key!r} is a value, not a section", where="--set")
    target[last] = _parse_yaml(value, f"--set {key}")


def _explain(cls: type[BaseModel], error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        path = [str(part) for part in problem["loc"]]
        name = ".".join(path)
        if problem["type"] == "extra_forbidden":
            known = sorted(_fields_at(cls, path[:-1]))
            near = difflib.get_close_matches(path[-1], known, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
            lines.append(f"unknown key {name!r}; {hint}")
        else:
            lines.append(f"{name or 'recipe'}: {problem['msg']}")
    return "; ".join(lines)


def _fields_at(cls: type[BaseModel], path: Sequence[str]) -> set[str]:
    """Names of the keys of the section that `path` leads to (list indices and union tags are passed over)."""
    models: list[type[BaseModel]] = [cls]
    for part in path:
        inner = [
            m for model in models if part in model.model_fields for m in _models(model.model_fields[part].annotation)
        ]
        models = inner or models
    return {name for model in models for name in model.model_fields}


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models(argument)]
