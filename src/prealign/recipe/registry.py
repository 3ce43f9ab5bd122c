"""The registry of training methods: their names, their classes, and their settings in a recipe.

1. `METHODS` gives the class of each method. A class is imported at its first use, because methods import torch.
2. The name of a method is also the name of an arm: `arms: [joint, NAME]`. `methods: {NAME: …}` holds the settings of
   the method; variants change them with `methods.NAME.KEY`.
3. The `Settings` of a method are validated together with the recipe, and their errors are reported together.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any, get_args

from pydantic import ValidationError

from prealign.recipe.section import Section
from prealign.recipe.sections import Recipe
from prealign.recipe.validate import Problem, did_you_mean, problems_in

METHODS: dict[str, str] = {
    # name: "module:class"
    "prealign": "prealign.methods.prealign:PreAlign",
    # rows of the vocabulary
    "copy_rows": "prealign.methods.peers.copy_rows:CopyRows",
    "graph": "prealign.methods.peers.graph:Graph",
    "lexical": "prealign.methods.peers.lexical:Lexical",
    "tied_ids": "prealign.methods.peers.tied_ids:TiedIds",
    # data recipes
    "curriculum": "prealign.methods.peers.curriculum:Curriculum",
    "parallel_text": "prealign.methods.peers.parallel_text:ParallelText",
    "salad": "prealign.methods.peers.salad:Salad",
    "substitution": "prealign.methods.peers.substitution:LexicalSubstitution",
    # sentences of parallel text
    "afp": "prealign.methods.peers.afp:AlignAfterPretraining",
    "infoxlm": "prealign.methods.peers.infoxlm:InfoXLM",
    "veco": "prealign.methods.peers.veco:Veco",
    "weam": "prealign.methods.peers.weam:Weam",
}


def load_method(name: str) -> Any:
    """Return the class of a method (`prealign.methods.phase.Method`)."""
    module, _, attribute = METHODS[name].partition(":")
    return getattr(import_module(module), attribute)


def method_settings(recipe: Recipe) -> Any:
    """Return the `Settings` of the recipe's method: the sections it reads, and its settings in `methods`."""
    return _settings(recipe, recipe.method)


def settings_problems(recipe: Recipe) -> Iterator[Problem]:
    """Yield the problems of `method` and `methods`: names that do not exist, settings that do not validate."""
    if recipe.method not in METHODS:
        yield ("method",), f"unknown method {recipe.method!r}{did_you_mean(recipe.method, METHODS)}"
    for name in recipe.methods:
        if name not in METHODS:
            yield ("methods", name), f"unknown method{did_you_mean(name, METHODS)}"
            continue
        for key in recipe.methods[name]:
            if _is_section(key) and key in load_method(name).Settings.model_fields:
                yield ("methods", name, key), f"{key!r} is a section of the recipe: set it there, for all arms"
        try:
            _settings(recipe, name)
        except ValidationError as error:
            for place, text in problems_in(error, load_method(name).Settings):
                yield ("methods", name, *place), text


def _is_section(key: str) -> bool:
    """Return whether a key names a section of the recipe, or several: `pretrain` does, `seeds` is a list of numbers."""
    if key not in Recipe.model_fields:
        return False
    annotation = Recipe.model_fields[key].annotation
    types = get_args(annotation) or (annotation,)
    return any(isinstance(one, type) and issubclass(one, Section) for one in types)


def _settings(recipe: Recipe, name: str) -> Any:
    cls = load_method(name).Settings
    sections = {key: getattr(recipe, key) for key in cls.model_fields if _is_section(key)}
    return cls.model_validate(recipe.methods.get(name, {}) | sections)
