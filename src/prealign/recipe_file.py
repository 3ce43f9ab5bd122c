"""Recipe files: read a recipe with all its errors at once, warn of settings without effect, write it back.

1. Read the file as YAML and note the line of every key. Plain scalars follow YAML 1.2: `language: no` is the
   text "no", `5e-4` is a number. A key written twice is an error.
2. Put the overrides (`switch.ratio=0.1`, values are YAML too) over the file's values; the last one wins.
3. Validate with pydantic, and say what it finds in plain words.
4. Look for settings that contradict each other. A check runs only if the sections it reads are valid, so that
   one mistake is reported once.
5. If anything was found, raise one RecipeError with a line for each: `FILE:LINE: KEY: what is wrong`.

Paths in a recipe are relative to the working directory, not to the recipe's folder, and stay as written.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from prealign.arms import (
    ARMS,
    Key,
    Problem,
    arm_problems,
    did_you_mean,
    put_setting,
    repeated,
    resolve_arm,
    show,
    validate,
    variant_problems,
)
from prealign.errors import RecipeError
from prealign.recipe import CLONE_SUFFIX, UNSPACED_LANGUAGES, Recipe, Section, TargetText, TokenizerSection
from prealign.transfer_recipe import transfer_problems

AnySection = TypeVar("AnySection", bound=Section)
Place = tuple[int, int, str]
"""Where a setting comes from: 0 and the line for the file, the override's number and 0 else; and in words."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the plain scalars of YAML 1.2."""


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper; it quotes text that a reader of YAML 1.1 or 1.2 would take for something else."""


_FLOAT = r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf)|\.(nan|NaN)"
_PLAIN_SCALARS = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    "float": (_FLOAT, list("-+.0123456789")),
}
_Loader.yaml_implicit_resolvers = {}  # without those of YAML 1.1
for _tag, (_pattern, _first) in _PLAIN_SCALARS.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), _first)


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe; overrides such as `switch.ratio=0.1` or `targets.0.share=0.2` win over the file.

    Relative paths in the recipe stay relative to the working directory. Raises RecipeError with every problem
    of the file and the overrides, one a line, each with its place and key.
    """
    data, places, problems = _read_yaml(_read_text(path), lambda line: (0, line, f"{path}:{line}"))
    if not isinstance(data, dict):
        raise RecipeError(f"{path}:1: no recipe: the file is empty or not made of 'key: value' lines")
    found = _located(problems, places)
    for number, override in enumerate(overrides, start=1):
        found += _override(data, places, override, (number, 0, f"override {override!r}"))
    outcome = validate(data)
    if isinstance(outcome, Recipe):
        problems = contradictions(outcome)
    else:
        problems = outcome + _contradictions_of_the_rest(data, outcome)
    found += _located(problems, places)
    if found or not isinstance(outcome, Recipe):
        raise RecipeError("\n".join(f"{place[2]}: {message}" for place, message in sorted(found)))
    return outcome


def load_section(
    path: str | Path, kind: type[AnySection], check: Callable[[AnySection], Iterable[Problem]]
) -> AnySection:
    """Read a YAML file that is one section; RecipeError with every problem, one a line, as for `load_recipe`."""
    data, places, problems = _read_yaml(_read_text(path), lambda line: (0, line, f"{path}:{line}"))
    try:
        section = kind.model_validate(data)
    except ValidationError as error:
        problems += [(found["loc"], found["msg"]) for found in error.errors(include_url=False)]
    else:
        problems += check(section)
    if problems:
        raise RecipeError("\n".join(f"{place[2]}: {message}" for place, message in sorted(_located(problems, places))))
    return section


def dump_recipe(recipe: Recipe) -> str:
    """Return the whole recipe, defaults included, as YAML that `load_recipe` reads back to an equal one."""
    # Without allow_unicode: PyYAML writes U+0085 unescaped and reads it back as a line end.
    return yaml.dump(recipe.model_dump(), Dumper=_Dumper, sort_keys=False, width=110)


def _read_text(path: str | Path) -> str:
    try:
        content = Path(path).read_bytes()
        return content.decode("utf-8")
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise RecipeError(f"{path}:{line}: byte {content[error.start]:#04x} is not UTF-8 text") from error


def _read_yaml(text: str, at: Callable[[int], Place]) -> tuple[Any, dict[Key, Place], list[Problem]]:
    """Return the value that the text holds, the place of every key in it, and the keys set twice."""
    places: dict[Key, Place] = {(): at(1)}
    problems: list[Problem] = []
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None, places, problems
        for key, line, earlier in _lines(node, (), ()):
            places[key] = at(line)
            if earlier:
                problems.append((key, f"is set twice, first in line {earlier}: remove one"))
        return loader.construct_document(node), places, problems
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise RecipeError(f"{at(line)[2]}: this is not YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise RecipeError(f"{at(1)[2]}: this is not YAML: {error}".splitlines()[0]) from error


def _lines(node: yaml.Node, at: Key, around: tuple[yaml.Node, ...]) -> Iterator[tuple[Key, int, int]]:
    """Yield each key below a node with its line and, if it is written twice, its earlier line (else 0).

    Keys become text as they are written, whatever they look like.
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
    """Put one `key=value` into the data and note its place; return what is wrong with it."""
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
    """Give each problem the place of its key, or of the nearest key around it that was written."""
    found = []
    for key, message in problems:
        place = next(places[key[:n]] for n in range(len(key), -1, -1) if key[:n] in places)
        found.append((place, f"{show(key)}: {message}" if key else message))
    return found


def contradictions(recipe: Recipe, unread: Collection[str] = ()) -> list[Problem]:
    """Return what does not hold together in a valid recipe and in its variants, without reading any data.

    Checks that read one of the sections `unread` are left out.
    """
    checks = [check for sections, check in _CHECKS if not set(sections) & set(unread)]
    problems = [problem for check in checks for problem in check(recipe)]
    known = set(problems)
    if not {"variants", "source", "targets", "lexicon"} & set(unread):
        for name in recipe.variants:
            problems += variant_problems(recipe, name) or _variant_contradictions(recipe, name, checks, known)
    return problems


def _variant_contradictions(
    recipe: Recipe, name: str, checks: Sequence[_Check], known: Collection[Problem]
) -> list[Problem]:
    try:
        changed = resolve_arm(recipe, name)
    except RecipeError:  # what it extends is unsound, which is reported there
        return []
    found = [problem for check in checks for problem in check(changed) if problem not in known]
    return [(("variants", name, "set"), f"{show(key)}: {message}") for key, message in found]


def _contradictions_of_the_rest(data: dict[str, Any], problems: Sequence[Problem]) -> list[Problem]:
    """Check the sections that are valid in a recipe that, as a whole, is not."""
    broken = {str(key[0]) for key, _ in problems if key}
    stand_in = {"name": "stand-in", "source": {"text": ["-"]}, "targets": [{"language": "en-clone"}]}
    rest = validate({**stand_in, **{name: value for name, value in data.items() if name not in broken}})
    return contradictions(rest, broken) if isinstance(rest, Recipe) else []


def _languages(recipe: Recipe) -> Iterator[Problem]:
    languages = [target.language for target in recipe.targets]
    clone = recipe.source.language + CLONE_SUFFIX
    translated = {file.target for file in recipe.lexicon.files}
    for i in repeated(languages):
        yield ("targets", i, "language"), f"{languages[i]!r} is named twice"
    if recipe.source.language.split("-")[0] in UNSPACED_LANGUAGES:
        yield ("source", "language"), f"{recipe.source.language!r} is written without spaces: it can be a target only"
    for i, target in enumerate(recipe.targets):
        if target.is_clone and target.language != clone:
            yield ("targets", i, "language"), f"only the source language has a clone: write {clone!r}"
        elif target.language == recipe.source.language:
            yield ("targets", i, "language"), f"{target.language!r} is the source language"
        elif not target.is_clone and target.language not in translated:
            yield (
                ("targets", i, "language"),
                f"no dictionary for {target.language!r}: add one to lexicon.files",
            )
    for i, file in enumerate(recipe.lexicon.files):
        if file.target not in languages:
            hint = did_you_mean(file.target, languages)
            yield ("lexicon", "files", i, "target"), f"{file.target!r} is not a language of `targets`{hint}"
    if "merged_ids" in recipe.arms and clone not in languages:
        yield ("arms", recipe.arms.index("merged_ids")), f"merged_ids needs the target {clone!r}"


def _one_model(recipe: Recipe) -> Iterator[Problem]:
    model = recipe.model
    given = [key for key in ("preset", "config", "pretrained") if getattr(model, key) is not None]
    if not given:
        yield ("model",), "has no model: set one of preset, config, pretrained"
    elif len(given) > 1 and "preset" in given and "preset" not in model.model_fields_set:
        yield ("model", given[1]), f"preset is {model.preset!r} by default: add 'preset: null'"
    elif len(given) > 1:
        yield ("model",), f"has {' and '.join(given)}: leave one, set the others to null"
    if model.pretrained and recipe.tokenizer.path is None:
        yield ("model", "pretrained"), "needs its own tokenizer: set tokenizer.path"


def _window(recipe: Recipe) -> Iterator[Problem]:
    stride, context = recipe.evaluate.stride, recipe.pretrain.context
    if stride is not None and stride > context:
        yield ("evaluate", "stride"), f"{stride} is above pretrain.context, {context}: it would skip tokens"


def _knowledge(recipe: Recipe) -> Iterator[Problem]:
    section, language = recipe.knowledge, recipe.source.language
    if section is None:
        return
    yield from ((("knowledge", key), text) for key, text in section.problems())
    if section.templates is None and language != "en":
        yield ("knowledge",), f"the built-in templates are English: set knowledge.templates for {language!r}"
    elif section.templates is None and not any(target.is_clone for target in recipe.targets):
        yield (
            ("knowledge",),
            "the built-in templates are English, so they ask in English and its clone only: add the target 'en-clone', "
            "or set knowledge.templates to a file with templates in the languages of `targets`",
        )


_SET_BY_PROJECT = {
    # fields of TrainingArguments: where the recipe decides them
    ("max_steps", "num_train_epochs"): "stages are counted in steps; set pretrain.steps or align.steps",
    ("per_device_train_batch_size", "auto_find_batch_size"): "set pretrain.batch_size, align.pairs_per_batch",
    ("gradient_accumulation_steps",): "in-batch negatives are not additive, so accumulated batches are "
    "not one bigger batch; set pretrain.batch_size or align.pairs_per_batch",
    ("per_device_eval_batch_size",): "set evaluate.batch_size",
    ("learning_rate",): "set pretrain.learning_rate or align.learning_rate",
    ("weight_decay",): "set pretrain.weight_decay or align.weight_decay",
    ("warmup_ratio", "warmup_steps"): "set pretrain.warmup or align.warmup, each a share of the steps",
    ("output_dir",): "choose the run folder with --out",
    ("seed", "data_seed", "train_sampling_strategy"): "the recipe's `seeds` decide it",
    ("eval_strategy", "eval_steps"): "set pretrain.validations",
    ("save_strategy", "save_steps"): "a stage saves its model when it ends",
    ("remove_unused_columns", "label_names"): "the columns of a batch are fixed",
}


def _trainer(recipe: Recipe) -> Iterator[Problem]:
    if not recipe.trainer:
        return
    from transformers import TrainingArguments  # seconds to import, and few recipes pass arguments on

    ours = {name: instead for names, instead in _SET_BY_PROJECT.items() for name in names}
    fields = {field.name for field in dataclasses.fields(TrainingArguments)} | ours.keys()
    for name in recipe.trainer:
        if name in ours:
            yield ("trainer", name), f"cannot be set here: {ours[name]}"
        elif name not in fields:
            yield ("trainer", name), f"not a field of TrainingArguments{did_you_mean(name, sorted(fields))}"


_Check = Callable[[Recipe], Iterable[Problem]]
_CHECKS: tuple[tuple[tuple[str, ...], _Check], ...] = (
    (("seeds", "arms", "baseline", "variants"), arm_problems),
    (("source", "targets", "lexicon", "arms"), _languages),
    (("model", "tokenizer"), _one_model),
    (("pretrain", "evaluate"), _window),
    (("trainer",), _trainer),
    (("transfer", "source", "targets", "pretrain"), transfer_problems),
    (("knowledge", "source", "targets"), _knowledge),
)

_SWITCHED_BY: dict[str, tuple[str, ...]] = {
    # a section or setting: it matters only to arms in which one of these is not 0 or false
    "align": ("align.steps",),
    "align.temperature": ("align.steps", "sustain.weight"),
    "align.bos": ("align.steps", "sustain.weight"),
    "switch": ("switch.ratio",),
    "sustain": ("sustain.weight",),
    "anchor": ("anchor.enabled",),
    "evaluate.dynamics_words": ("evaluate.dynamics",),
}


def ineffective(recipe: Recipe) -> list[str]:
    """Return a warning for each setting that was written, is not the default, and changes nothing."""
    trained = {name: resolve_arm(recipe, name) for name in [*ARMS, *recipe.variants]}
    arms, warnings = [trained[name] for name in recipe.arms], []
    for key, value in _written(recipe):
        needs = _SWITCHED_BY.get(key) or _SWITCHED_BY.get(key.split(".")[0], ())
        if all(_value(arm, key) != value for arm in arms):
            having = ", ".join(name for name, arm in trained.items() if _value(arm, key) == value)
            warnings.append(f"{key}: {value!r} has no effect on the arms of this recipe, but on {having}")
        elif needs and not any(_value(arm, need) for arm in arms for need in needs):
            warnings.append(f"{key}: {value!r} has no effect: no arm of this recipe has {' or '.join(needs)}")
    if recipe.baseline not in recipe.arms and "baseline" in recipe.model_fields_set:
        warnings.append(f"baseline: {recipe.baseline!r} has no effect: there is one arm only")
    return [*warnings, *_unused(recipe), *_same_arms(recipe.arms, trained)]


def _value(recipe: Recipe, key: str) -> Any:
    return reduce(getattr, key.split("."), recipe)


def _unused(recipe: Recipe) -> Iterator[str]:
    vocabulary = TokenizerSection.model_fields["vocab_size"].default
    if recipe.tokenizer.path is not None and recipe.tokenizer.vocab_size != vocabulary:
        yield "tokenizer.vocab_size: has no effect: the tokenizer of tokenizer.path has its own vocabulary"
    for i, target in enumerate(recipe.targets):
        if not target.is_clone and target.share != TargetText.model_fields["share"].default:
            yield f"targets.{i}.share: {target.share} has no effect: only a clone takes a share"
    for i, file in enumerate(recipe.lexicon.files):
        if file.target.endswith(CLONE_SUFFIX):
            yield f"lexicon.files.{i}: {file.path!r} is not read: a clone has its own dictionary"


def _written(recipe: Recipe) -> Iterator[tuple[str, Any]]:
    """Yield the dotted keys of sections, with their values, that the user set to other than the default."""
    for name, section in recipe:
        for key, field in type(section).model_fields.items() if isinstance(section, Section) else ():
            value = getattr(section, key)
            if key in section.model_fields_set and value != field.get_default(call_default_factory=True):
                yield f"{name}.{key}", value


def _same_arms(names: Sequence[str], trained: Mapping[str, Recipe]) -> Iterator[str]:
    """Warn of arms that train exactly like another, in the recipe or not: names promise a difference."""
    for i, name in enumerate(names):
        for other in trained:
            if other not in names[: i + 1] and trained[other] == trained[name]:
                yield f"arms.{i}: {name!r} trains exactly like {other!r} with the settings of this recipe"
