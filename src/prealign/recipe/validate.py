"""Validate nested data as a recipe, and say every problem in plain words."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from prealign.recipe.sections import Recipe

Key = tuple[str | int, ...]
"""Where a setting stands: ("targets", 0, "share") is `targets.0.share`."""


Problem = tuple[Key, str]
"""A key, and what is wrong there."""


def show(key: Key) -> str:
    """Return a key as users write it."""
    return ".".join(map(str, key))


def repeated(values: Sequence[Any]) -> list[int]:
    """Return the positions of the values that stand earlier in the list too."""
    return [i for i, value in enumerate(values) if value in values[:i]]


def did_you_mean(word: object, options: Iterable[str]) -> str:
    """Return the end of a message: the nearest option, or all of them if none is near and they are few."""
    known = list(options)
    near = difflib.get_close_matches(str(word), known, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known: {', '.join(known)}" if len(known) <= 25 else ""


def validate(data: object) -> Recipe | list[Problem]:
    """Return the recipe that nested data describes, or every problem that pydantic finds, in plain words."""
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        return problems_in(error, Recipe)


def problems_in(error: ValidationError, section: type[BaseModel]) -> list[Problem]:
    """Return what pydantic found wrong in a section, in plain words."""
    return [(found["loc"], _in_words(found, section)) for found in error.errors(include_url=False)]


_IS_NOT = {
    # how pydantic's name of the error begins: what the value should have been
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "string_pattern": "a name: use only letters, digits, _ . and -",
    "string": "text: put it in quotes",
    "list": "a list: write it in [brackets], or one '- entry' a line",
    "dict": "a section: write one indented 'key: value' a line",
    "model": "a section: write one indented 'key: value' a line",
}


def _in_words(found: ErrorDetails, section: type[BaseModel]) -> str:
    """Say what pydantic found: what is wrong, and what would be right."""
    kind, key, value, context = found["type"], found["loc"], found["input"], found.get("ctx", {})
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return f"unknown key{did_you_mean(key[-1], fields_at(key[:-1], section))}"
    if kind == "value_error":
        return str(context["error"])
    if value is None:
        return "is empty: give it a value, or remove the line"
    if kind == "too_short":
        return "is an empty list: it needs at least one entry"
    if kind == "literal_error":
        options = re.findall(r"'([^']*)'", context["expected"])
        return f"{shown(value)} is not one of the allowed values{did_you_mean(value, options)}"
    if kind.startswith(("greater_than", "less_than")):
        return f"{shown(value)} is not {_range(key, context, section)}"
    for beginning, right in _IS_NOT.items():
        if kind.startswith(beginning):
            return f"{shown(value)} is not {right}"
    return found["msg"]


def _range(key: Key, context: Mapping[str, Any], section: type[BaseModel]) -> str:
    """Name the allowed range: the bound that was broken and, where the field declares them, the others."""
    field = fields_at(key[:-1], section).get(str(key[-1]))
    bounds = dict(context)
    for constraint in field.metadata if field else []:
        bounds |= {b: getattr(constraint, b) for b in ("ge", "gt", "le", "lt") if hasattr(constraint, b)}
    if bounds.get("ge") == 0 and bounds.get("le") == 1:
        return "in 0..1: it is a share, 5 % is written 0.05"
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    return " and ".join(f"{words[b]} {bounds[b]:g}" for b in words if b in bounds)


def fields_at(key: Key, section: type[BaseModel] = Recipe) -> Mapping[str, FieldInfo]:
    """Return the fields of the section at a key within `section`, none if it is not a section."""
    kind: Any = section
    for step in key:
        if _is_section(kind):
            kind = kind.model_fields[step].annotation if step in kind.model_fields else None
            if type(None) in get_args(kind):  # a section that may be left out
                kind = get_args(kind)[0]
        else:
            kind = (get_args(kind) or (None,))[-1]
    return kind.model_fields if _is_section(kind) else {}


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def shown(value: Any) -> str:
    """Show a value of the recipe, cut short if it is long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
