"""Write docs/reference/recipe.md, every key of a recipe, from its pydantic models: `python docs/reference/recipe_keys.py`.

1. Walk the sections of `Recipe` in order, and into the sections inside them; then the settings of each method.
2. A key's type and default come from its field, its meaning from the docstring below the field.
3. Its example is the first value other than the default in the committed recipes, or in the pages of docs; for keys that
   neither sets, that of `EXAMPLES`, another of its options, or the default.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from prealign.recipe.registry import METHODS, load_method
from prealign.recipe.sections import Recipe

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "recipe.md"
FIRST = ("demo", "en-de", "en-cs")
"""The recipes whose values are the first choice for an example."""
ENTRY = {list: "N", dict: "NAME"}
"""How a key names an entry of a list or a mapping."""

EXAMPLES: dict[str, Any] = {
    "lexicon.files.N.reverse": "data/de-en.txt",
    "lexicon.files.N.columns": ["english", "german"],
    "lexicon.coverage": 0.5,
    "lexicon.wrong": 0.1,
    "tokenizer.bos": True,
    "bitext.max_tokens": 100,
    "model.config": "models/my-config",
    "align.micro_pairs": 256,
    "sustain.schedule": [[0, 1], [1, 0]],
    "switch.schedule": [[0, 1], [0.8, 0]],
    "twin_mask.schedule": [[0.9, 1], [1, 0]],
    "next_word.schedule": [[0, 1], [1, 0.5]],
    "knowledge.two_hop": 16,
    "knowledge.templates": "data/fakten.yaml",
    "evaluate.dictionaries.N.columns": [1, 3],
    "transfer.N.max_tokens": 256,
    "methods.lexical.hold": 0.1,
}

HEAD = """# Recipe reference

Every key of a recipe: its type, its default, what it means, and an example. The page is generated from the code
(`python docs/reference/recipe_keys.py`), and a test holds it to the code.

- A recipe is a YAML file. An unknown key is an error, and `prealign validate RECIPE` reports all errors at once.
- On the command line, a setting is `KEY=VALUE` with the key as it stands here: `prealign run RECIPE pretrain.steps=500`.
- `N` stands for an entry of a list, counted from 0 (`targets.0.share=0.1`). `NAME` stands for a name that you choose.
- `required`: there is no default. `null`: not set.
"""


def sections(model: type[BaseModel] = Recipe, key: tuple[str, ...] = ()) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield the dotted name of each section with its class, in the order of the recipe. The recipe itself is ""."""
    yield ".".join(key), model
    for name, field in model.model_fields.items():
        for steps, inner in _models(field.annotation):
            yield from sections(inner, (*key, name, *steps))


def settings_of_methods() -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield `methods.NAME` with the settings of each method that has settings beside the sections that it reads."""
    for name in METHODS:
        settings = load_method(name).Settings
        if any(keys(f"methods.{name}", settings)):
            yield f"methods.{name}", settings


def _models(kind: Any) -> Iterator[tuple[tuple[str, ...], type[BaseModel]]]:
    """Yield the sections inside a type, each with the steps of the key to it."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield (), kind
    origin = get_origin(kind)
    for argument in get_args(kind):
        for steps, model in _models(argument):
            yield (*((ENTRY[origin],) if origin in ENTRY else ()), *steps), model


def keys(section: str, model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo, str]]:
    """Yield the keys of a section that are no sections themselves: dotted key, field, meaning."""
    meanings = docstrings(model)
    for name, field in model.model_fields.items():
        if not any(_models(field.annotation)):
            yield f"{section}.{name}".lstrip("."), field, meanings.get(name, "")


def docstrings(model: type[BaseModel]) -> dict[str, str]:
    """Return the docstring below each field of a section and of its bases."""
    found: dict[str, str] = {}
    for owner in reversed([base for base in model.__mro__ if issubclass(base, BaseModel) and base is not BaseModel]):
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
        assert isinstance(body, ast.ClassDef)
        for field, text in zip(body.body, body.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                found[ast.unparse(field.target)] = " ".join(str(text.value.value).split())
    return found


def in_words(kind: Any, limits: Sequence[Any] = ()) -> str:
    """Return a type in words, with its limits."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return in_words(arguments[0], [*limits, *arguments[1:]])
    if origin in (Union, types.UnionType):
        return " or ".join(in_words(one, limits if one is not type(None) else ()) for one in arguments)
    if origin is Literal:
        return "one of " + ", ".join(f"`{one}`" for one in arguments)
    if origin is list:
        return f"list of: {in_words(arguments[0])}"
    if origin is tuple:
        return f"[{', '.join(map(in_words, arguments))}]"
    if origin is dict:
        return f"mapping of names to: {in_words(arguments[1])}"
    plain = {bool: "true or false", int: "whole number", float: "number", str: "text", type(None): "null"}
    return plain.get(kind, "any value") + (_range(limits) if kind in (int, float) else "")


def _range(limits: Sequence[Any]) -> str:
    bounds: dict[str, float] = {}
    for limit in [bound for one in limits for bound in getattr(one, "metadata", [one])]:
        bounds |= {name: getattr(limit, name) for name in ("ge", "gt", "le", "lt") if hasattr(limit, name)}
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    return "".join(f", {words[name]} {bound:,.10g}" for name, bound in bounds.items())


def default(field: FieldInfo) -> Any:
    """Return the default of a field; `PydanticUndefined` if it is required."""
    return PydanticUndefined if field.is_required() else field.get_default(call_default_factory=True)


def values_set() -> list[dict[str, Any]]:
    """Return the recipes and excerpts of recipes that the project has: its committed recipes, then the pages of docs."""
    recipes = sorted(ROOT.glob("recipes/*.yaml"), key=lambda p: (p.stem not in FIRST, p.stem != FIRST[0], p.stem))
    texts = [path.read_text(encoding="utf-8") for path in recipes]
    for page in sorted(ROOT.glob("docs/*.md")):
        blocks = re.findall(r"^ *```yaml\n(.*?)^ *```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
        texts += map(textwrap.dedent, blocks)
    return [data for data in map(yaml.safe_load, texts) if isinstance(data, dict)]


def _at(data: Any, steps: Sequence[str]) -> Iterator[Any]:
    """Yield the values at a key, where `N` and `NAME` are every entry."""
    if not steps:
        yield data
    elif steps[0] == ENTRY[list]:
        for entry in data if isinstance(data, list) else ():
            yield from _at(entry, steps[1:])
    elif steps[0] == ENTRY[dict]:
        for entry in data.values() if isinstance(data, dict) else ():
            yield from _at(entry, steps[1:])
    elif isinstance(data, dict) and steps[0] in data:
        yield from _at(data[steps[0]], steps[1:])


def example(key: str, field: FieldInfo, recipes: Sequence[dict[str, Any]]) -> Any:
    """Return a value of the key: one that a recipe or a page sets, that of `EXAMPLES`, another option, or the default."""
    found = [value for data in recipes for value in _at(data, key.split("."))]
    options = [not default(field)] if field.annotation is bool else get_args(field.annotation)
    literal = field.annotation is bool or get_origin(field.annotation) is Literal
    for value in (*found, EXAMPLES.get(key), *(options if literal else ())):
        if value not in (default(field), None):
            return value
    return default(field)


def as_yaml(key: str, value: Any) -> str:
    """Return a setting as one line of YAML, from the top of the recipe."""
    for step in reversed(key.split(".")):
        value = [value] if step == ENTRY[list] else {step.lower() if step == ENTRY[dict] else step: value}
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True, sort_keys=False)
    return text.strip().removeprefix("{").removesuffix("}")


def entry(key: str, field: FieldInfo, meaning: str, recipes: Sequence[dict[str, Any]]) -> str:
    """Return the paragraphs of one key."""
    own = default(field)
    shown = "required" if own is PydanticUndefined else f"default `{_plain(own)}`"
    line = f"{in_words(field.annotation, field.metadata)}; {shown}"
    return f"### {key}\n\n*{line}*\n\n{meaning}\n\nExample: `{as_yaml(key, example(key, field, recipes))}`\n"


def _plain(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).replace("\n...", "").strip()


def page() -> str:
    """Return the page."""
    recipes, parts = values_set(), [HEAD]
    for section, model in (*sections(), *settings_of_methods()):
        about = inspect.cleandoc(model.__doc__ or "") if section else "Keys at the top level of a recipe."
        parts.append(f"## {section or 'The experiment'}\n\n{about}\n")
        parts += [entry(key, field, meaning, recipes) for key, field, meaning in keys(section, model)]
    return "\n".join(parts)


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
