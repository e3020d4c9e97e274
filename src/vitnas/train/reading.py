"""Reading recipes from YAML, strictly, with all mistakes in one message."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import yaml

from vitnas import files, yaml_text
from vitnas.errors import InputError, unknown
from vitnas.train.recipe import TrainRecipe

if TYPE_CHECKING:
    from vitnas.space import Space


def recipes() -> tuple[str, ...]:
    """Return the names of the recipes that come with the package."""
    folder = resources.files("vitnas") / "recipes"
    return tuple(sorted(f.name[:-5] for f in folder.iterdir() if f.name.endswith(".yaml")))


def load_recipe(name_or_path: str | Path, **overrides: Any) -> TrainRecipe:
    """Read a recipe by name or from a YAML file, with some settings replaced.

    Overrides name a setting by its path: `load_recipe("digits", **{"optim.base_lr": 1e-3})`.

    Raises:
        InputError: no such recipe or file, or mistakes inside; every one is listed.
    """
    name = str(name_or_path)
    if name in recipes():
        text = (resources.files("vitnas") / "recipes" / f"{name}.yaml").read_text()
        record = yaml_text.parse(text, f"recipe {name}")
    elif Path(name).suffix in (".yaml", ".yml"):
        record = files.read_yaml(name, "recipe")
    else:
        raise unknown("recipe", name, recipes())
    if not isinstance(record, dict):
        raise InputError(f"recipe {name} must be a mapping of settings, not {record!r}")
    for path, value in overrides.items():
        record = _replaced(record, path.split("."), value)
    return recipe_from_dict(record, f"recipe {name}")


def recipe_from_dict(record: Mapping[str, Any], source: str = "recipe") -> TrainRecipe:
    """Make a recipe of plain values.

    Raises:
        InputError: a setting is unknown or has a wrong value; every mistake is listed.
    """
    import pydantic

    adapter = pydantic.TypeAdapter(TrainRecipe)
    try:
        text = json.dumps(record, default=str)
        return adapter.validate_json(text)
    except pydantic.ValidationError as error:
        raise InputError(f"{source}: {'; '.join(_mistakes(error.errors()))}") from error
    except ValueError as error:
        raise InputError(f"{source}: {error}") from error


def recipe_space(recipe: TrainRecipe) -> Space:
    """Return the search space that a recipe names or describes.

    Raises:
        InputError: it has none, or there is no such space.
    """
    from vitnas.spaces import read, space, spaces

    if recipe.space is None:
        raise InputError(f"the recipe has no space; known names: {', '.join(spaces())}")
    if isinstance(recipe.space, str):
        return space(recipe.space)
    return read(recipe.space, source="space of the recipe")


def dump_recipe(recipe: TrainRecipe) -> str:
    """Return the recipe as YAML, which `load_recipe` reads back."""
    return yaml.safe_dump(recipe.to_dict(), sort_keys=False, allow_unicode=True)


def parse_override(text: str) -> tuple[str, Any]:
    """Read `path=value`, the value as in YAML, for example `optim.base_lr=1e-3`.

    Raises:
        InputError: there is no `=`, or the value is not valid YAML.
    """
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise InputError(f"setting {text!r} must look like path=value, e.g. optim.base_lr=1e-3")
    return path, yaml_text.parse(value, f"value of {path}")


def _replaced(record: Mapping[str, Any], path: list[str], value: Any) -> dict[str, Any]:
    first, *rest = path
    if not rest:
        return {**record, first: value}
    inner = record.get(first)
    if inner is not None and not isinstance(inner, Mapping):
        raise InputError(f"{first} is {inner!r}, so {'.'.join(path)} can't be set inside it")
    return {**record, first: _replaced(inner or {}, rest, value)}


def _mistakes(errors: Any) -> list[str]:
    """Return one text a setting; alternatives of one setting are joined."""
    found: dict[str, list[str]] = {}
    for error in errors:
        names = [str(part) for part in error["loc"] if _is_setting(part)]
        found.setdefault(".".join(names), []).append(_describe(error, names))
    return [" or ".join(dict.fromkeys(texts)) for texts in found.values()]


def _is_setting(part: Any) -> bool:
    """Tell a field or index from the name of a type, which pydantic adds for alternatives."""
    return isinstance(part, int) or (part not in ("int", "str") and "[" not in part)


def _describe(error: Any, names: list[str]) -> str:
    path = ".".join(names)
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        near = difflib.get_close_matches(names[-1], _fields(names[:-1]), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return f"{path} is no setting{hint}"
    if error["type"] == "missing":
        return f"{path} is missing"
    message = error["msg"].removeprefix("Value error, ").replace("an object", "a mapping")
    if error["type"] == "value_error":
        return f"{path}: {message}" if path else message
    given = json.dumps(error["input"], default=str)
    shown = given if len(given) <= 40 else f"{given[:37]}..."
    return f"{path} is {shown}, it {message.removeprefix('Input ')}"


def _fields(path: list[str]) -> list[str]:
    """Return the settings inside the one at this path."""
    kind: Any = TrainRecipe
    for name in path:
        hint = get_type_hints(kind).get(name) if dataclasses.is_dataclass(kind) else None
        options = [hint, *getattr(hint, "__args__", ())]
        kind = next((option for option in options if dataclasses.is_dataclass(option)), None)
    return [field.name for field in dataclasses.fields(kind)] if kind is not None else []
