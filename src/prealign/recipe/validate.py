"""Validate nested data as a recipe, and describe every problem in plain words."""

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
"""Path to a setting: ("targets", 0, "share") is `targets.0.share`."""


Problem = tuple[Key, str]
"""A key, and the message for the user."""


def show(key: Key) -> str:
    """Return a key in dotted form, as users write it."""
    return ".".join(map(str, key))


def repeated(values: Sequence[Any]) -> list[int]:
    """Return the indices of values that already occur earlier in the list."""
    return [i for i, value in enumerate(values) if value in values[:i]]


def did_you_mean(word: object, options: Iterable[str]) -> str:
    """Return the end of a message: the nearest option, else all options if there are at most 25."""
    known = list(options)
    near = difflib.get_close_matches(str(word), known, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known: {', '.join(known)}" if len(known) <= 25 else ""


def validate(data: object) -> Recipe | list[Problem]:
    """Return the recipe in nested data, or the list of all problems that pydantic finds."""
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        return problems_in(error, Recipe)


def problems_in(error: ValidationError, section: type[BaseModel]) -> list[Problem]:
    """Return the problems that pydantic found in a section, in plain words."""
    return [(detail["loc"], _in_words(detail, section)) for detail in error.errors(include_url=False)]


_IS_NOT = {
    # prefix of pydantic's error type: the expected value
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "string": "text: put it in quotes",
    "list": "a list: write it in [brackets], or one '- entry' a line",
    "dict": "a section: write one indented 'key: value' a line",
    "model": "a section: write one indented 'key: value' a line",
}


def _in_words(detail: ErrorDetails, section: type[BaseModel]) -> str:
    """Return the message for an error of pydantic: what is wrong, and what would be right."""
    kind, key, value, context = detail["type"], detail["loc"], detail["input"], detail.get("ctx", {})
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
    return detail["msg"]


def _range(key: Key, context: Mapping[str, Any], section: type[BaseModel]) -> str:
    """Return the allowed range in words: the violated bound, and all other bounds of the field."""
    field = fields_at(key[:-1], section).get(str(key[-1]))
    bounds = dict(context)
    for constraint in field.metadata if field else []:
        bounds |= {b: getattr(constraint, b) for b in ("ge", "gt", "le", "lt") if hasattr(constraint, b)}
    if bounds.get("ge") == 0 and bounds.get("le") == 1:
        return "in 0..1: it is a share, 5 % is written 0.05"
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    return " and ".join(f"{words[b]} {bounds[b]:g}" for b in words if b in bounds)


def fields_at(key: Key, section: type[BaseModel] = Recipe) -> Mapping[str, FieldInfo]:
    """Return the fields of the section at `key` within `section`; an empty mapping if no section is there."""
    kind: Any = section
    for step in key:
        if _is_section(kind):
            kind = kind.model_fields[step].annotation if step in kind.model_fields else None
            if type(None) in get_args(kind):  # an optional section
                kind = get_args(kind)[0]
        else:
            kind = (get_args(kind) or (None,))[-1]
    return kind.model_fields if _is_section(kind) else {}


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def shown(value: Any) -> str:
    """Return a value of the recipe as text, cut to 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
