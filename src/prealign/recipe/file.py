"""Recipe files: read a recipe and report all its errors at once, or write a recipe.

1. Parse the file as YAML and record the line of every key. Plain scalars follow YAML 1.2: `language: no` is the text
   "no", `5e-4` is a number. A duplicate key is an error, and so are more than MOST_VALUES values or MOST_LEVELS levels.
2. Apply the overrides (`switch.ratio=0.1`; values are YAML too) to the values of the file. The last override wins.
3. Validate with pydantic and translate its errors into plain words.
4. Check for settings that contradict each other (`prealign.recipe.checks`). A check runs only if its sections are
   valid: each mistake is reported once.
5. If there are errors, raise one RecipeError with one line per error: `FILE:LINE: KEY: what is wrong`.

Paths in a recipe are relative to the working directory, not to the recipe's folder. They are not rewritten.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from prealign.errors import RecipeError
from prealign.files import plain_bytes
from prealign.recipe.arms import put_setting
from prealign.recipe.checks import contradictions
from prealign.recipe.section import Section
from prealign.recipe.sections import Recipe
from prealign.recipe.trainer import masked
from prealign.recipe.validate import Key, Problem, show, validate

MOST_VALUES = 100_000
"""Maximum number of values in a file, counting repeats by aliases: a few hundred bytes can expand to billions."""
MOST_LEVELS = 50
LARGEST = 10_000_000
"""Bytes of a recipe. PyYAML needs minutes for more."""

AnySection = TypeVar("AnySection", bound=Section)
Place = tuple[int, int, str]
"""Origin of a setting, in sorting order: (0, line, text) for the file, (number, 0, text) for an override."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the plain scalars of YAML 1.2."""


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper; it quotes text that YAML 1.1 or 1.2 would read as another type."""


_FLOAT = r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf)|\.(nan|NaN)"
_PLAIN_SCALARS = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    "float": (_FLOAT, list("-+.0123456789")),
}
_Loader.yaml_implicit_resolvers = {}  # remove the rules of YAML 1.1
for _tag, (_pattern, _first) in _PLAIN_SCALARS.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), _first)


def load_recipe(
    path: str | Path, overrides: Sequence[str] = (), further: Callable[[Recipe], Iterable[Problem]] = lambda _: ()
) -> Recipe:
    """Read a recipe. Overrides such as `switch.ratio=0.1` or `targets.0.share=0.2` replace values of the file.

    Relative paths in the recipe are relative to the working directory. further: checks beside those of the recipe alone,
    such as `prealign.run.paths.path_problems`. Raises RecipeError with every problem of the
    file and the overrides, one per line, with place and key.
    """
    data, places, problems = _read_yaml(_read_text(path), lambda line: (0, line, f"{path}:{line}"))
    if not isinstance(data, dict):
        raise RecipeError(f"{path}:1: no recipe: the file is empty or has no 'key: value' lines")
    located = _located(problems, places)
    for number, override in enumerate(overrides, start=1):
        located += _override(data, places, override, (number, 0, f"override {masked(override)!r}"))
    outcome = validate(data)
    if isinstance(outcome, Recipe):
        problems = [*contradictions(outcome), *further(outcome)]
    else:
        problems = outcome + _problems_of_the_rest(data, outcome, further)
    located += _located(problems, places)
    if located or not isinstance(outcome, Recipe):
        raise RecipeError("\n".join(f"{place[2]}: {message}" for place, message in sorted(located)))
    return outcome


def load_section(
    path: str | Path, kind: type[AnySection], check: Callable[[AnySection], Iterable[Problem]]
) -> AnySection:
    """Read a YAML file that holds one section. RecipeError with every problem, one per line, as in `load_recipe`."""
    data, places, problems = _read_yaml(_read_text(path), lambda line: (0, line, f"{path}:{line}"))
    try:
        section = kind.model_validate(data)
    except ValidationError as error:
        problems += [(detail["loc"], detail["msg"]) for detail in error.errors(include_url=False)]
    else:
        problems += check(section)
    if problems:
        raise RecipeError("\n".join(f"{place[2]}: {message}" for place, message in sorted(_located(problems, places))))
    return section


def dump_recipe(recipe: Recipe) -> str:
    """Return the recipe with all defaults as YAML. `load_recipe` reads it back as an equal recipe."""
    # Without allow_unicode: with it, PyYAML writes U+0085 unescaped and reads it back as a line end.
    return yaml.dump(recipe.model_dump(), Dumper=_Dumper, sort_keys=False, width=110)


def _read_text(path: str | Path) -> str:
    try:
        raw = plain_bytes(path, LARGEST)
        return raw.decode("utf-8")
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise RecipeError(f"{path}:{line}: byte {raw[error.start]:#04x} is not UTF-8 text") from error


def _read_yaml(text: str, at: Callable[[int], Place]) -> tuple[Any, dict[Key, Place], list[Problem]]:
    """Return the value of a YAML text, the place of every key, and the duplicate keys."""
    places: dict[Key, Place] = {(): at(1)}
    problems: list[Problem] = []
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None, places, problems
        for key, line, earlier in _lines(node, (), ()):
            places[key] = at(line)
            if len(key) > MOST_LEVELS:
                raise RecursionError
            if len(places) > MOST_VALUES:
                raise RecipeError(
                    f"{places[key[:1]][2]}: {show(key[:1])}: more than {MOST_VALUES:,} values. Aliases (`*name`) repeat "
                    "lists and sections: write fewer of them"
                )
            if earlier:
                problems.append((key, f"is set twice, first in line {earlier}: remove one"))
        return loader.construct_document(node), places, problems
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise RecipeError(f"{at(line)[2]}: this is not YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise RecipeError(f"{at(1)[2]}: this is not YAML: {error}".splitlines()[0]) from error
    except RecursionError:
        raise RecipeError(f"{at(1)[2]}: lists or sections are nested too deeply: write fewer levels") from None


def _lines(node: yaml.Node, at: Key, around: tuple[yaml.Node, ...]) -> Iterator[tuple[Key, int, int]]:
    """Yield each key below a node, its line, and the line of an earlier duplicate (0 if there is none).

    Keys stay text as written, also if they look like numbers.
    """
    if any(node is outer for outer in around):
        raise yaml.MarkedYAMLError(problem="a value that contains itself", problem_mark=around[-1].start_mark)
    children: list[tuple[str | int, yaml.Node, yaml.Node]] = []
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                key.tag = "tag:yaml.org,2002:str"
                children.append((key.value, key, value))
    elif isinstance(node, yaml.SequenceNode):
        children = [(i, item, item) for i, item in enumerate(node.value)]
    lines: dict[str | int, int] = {}
    for step, head, value in children:
        line = head.start_mark.line + 1
        yield (*at, step), line, lines.get(step, 0)
        lines[step] = line
        yield from _lines(value, (*at, step), (*around, node))


def _override(data: Any, places: dict[Key, Place], override: str, place: Place) -> list[tuple[Place, str]]:
    """Apply one `key=value` to the data and record its place; return its errors."""
    dotted, equals, text = override.partition("=")
    if not equals or not dotted.strip():
        return [(place, "an override is written key=value, as in switch.ratio=0.1")]
    try:
        value, _, twice = _read_yaml(text, lambda line: place)
        key = put_setting(data, dotted.strip(), value)
    except RecipeError as error:
        message = str(error).removeprefix(f"{place[2]}: ")
        return [(place, f"{dotted.strip()}: {message}")]
    for inner in [known for known in places if known[: len(key)] == key]:
        del places[inner]
    for length in range(1, len(key)):
        places.setdefault(key[:length], place)
    places[key] = place
    return [(place, f"{show(key + inner)}: is set twice: remove one") for inner, _ in twice]


def _located(problems: Iterable[Problem], places: dict[Key, Place]) -> list[tuple[Place, str]]:
    """Return each problem with the place of its key, or of the innermost enclosing section that has a place."""
    located = []
    for key, message in problems:
        place = next(places[key[:n]] for n in range(len(key), -1, -1) if key[:n] in places)
        located.append((place, f"{show(key)}: {message}" if key else message))
    return located


def _problems_of_the_rest(
    data: dict[str, Any], problems: Sequence[Problem], further: Callable[[Recipe], Iterable[Problem]]
) -> list[Problem]:
    """Check the valid sections of an invalid recipe."""
    broken = {str(key[0]) for key, _ in problems if key}
    stand_in = {"name": "stand-in", "source": {"text": ["-"]}, "targets": [{"language": "en-clone"}]}
    rest = validate({**stand_in, **{name: value for name, value in data.items() if name not in broken}})
    if not isinstance(rest, Recipe):
        return []
    valid = data.keys() - broken
    return [*contradictions(rest, broken), *(problem for problem in further(rest) if problem[0][0] in valid)]
