"""The methods that an arm can train by: their names, where each is defined, and their settings in a recipe.

1. `METHODS` names the class of each method; a class is imported when it is first needed, as some import torch.
2. A method's name is an arm: `arms: [joint, NAME]`. `methods: {NAME: …}` holds its settings, and variants may change them
   (`methods.NAME.KEY`).
3. A method's `Settings` are validated with the recipe, so a mistake in them is told with all others.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from pydantic import ValidationError

from prealign.recipe.sections import Recipe
from prealign.recipe.validate import Problem, did_you_mean, problems_in

METHODS: dict[str, str] = {
    # name: module and class
    "prealign": "prealign.methods.prealign:PreAlign",
    "parallel_text": "prealign.methods.peers.parallel_text:ParallelText",
}


def load_method(name: str) -> Any:
    """Return the class of a method (`prealign.methods.phase.Method`)."""
    module, _, attribute = METHODS[name].partition(":")
    return getattr(import_module(module), attribute)


def method_settings(recipe: Recipe) -> Any:
    """Return the settings of the recipe's method: the sections that it reads, and what `methods` has for it."""
    return _settings(recipe, recipe.method)


def settings_problems(recipe: Recipe) -> Iterator[Problem]:
    """Yield what is wrong in `methods`: names that do not exist, settings that do not validate."""
    if recipe.method not in METHODS:
        yield ("method",), f"unknown method {recipe.method!r}{did_you_mean(recipe.method, METHODS)}"
    for name in recipe.methods:
        if name not in METHODS:
            yield ("methods", name), f"unknown method{did_you_mean(name, METHODS)}"
            continue
        try:
            _settings(recipe, name)
        except ValidationError as error:
            for key, text in problems_in(error, load_method(name).Settings):
                yield ("methods", name, *key), text


def _settings(recipe: Recipe, name: str) -> Any:
    cls = load_method(name).Settings
    sections = {key: getattr(recipe, key) for key in cls.model_fields if key in Recipe.model_fields}
    return cls.model_validate(recipe.methods.get(name, {}) | sections)
