"""Arms: the named ways to train that an experiment compares, each a few settings on top of the recipe.

1. An arm starts from `PAPER`: the choices that tell arms apart, pinned to the paper's method whatever the
   recipe says. So `prealign` is the paper's PreAlign in every recipe, also in one that sets `sustain.weight`.
2. On top come the arm's own settings (`Arm.set`).
3. Amounts stay the recipe's: steps, ratio, loss weights, rates. In short, *the arm says whether a mechanism
   takes part, the recipe says how much*. So the arms of sustained alignment use the recipe's `sustain.weight`
   if it is above 0, else 0.1. An amount of 0 in the recipe, say of `switch.ratio`, turns the mechanism off in
   every arm; `prealign.recipe.effects.ineffective` names the arms that become the same by it.
4. A variant of the recipe is an arm it `extends`, itself perhaps a variant, plus its own settings, which win.
5. The result is validated again, like a recipe that was read from a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prealign.errors import RecipeError
from prealign.recipe.registry import METHODS, load_method
from prealign.recipe.sections import Recipe
from prealign.recipe.validate import Key, Problem, did_you_mean, fields_at, repeated, show, shown, validate

PAPER: Mapping[str, Any] = {
    "method": "prealign",
    "align.layers": "all",
    "switch.mode": "input_only",
    "sustain.weight": 0.0,
    "anchor.enabled": False,
    "mixture.languages": "all",
    "mixture.clone_ids": "twin",
}
"""What every arm pins, unless it is named for changing it."""


@dataclass(frozen=True)
class Arm:
    """A named arm: the settings (dotted keys) by which it differs from the paper's PreAlign."""

    name: str
    description: str
    set: Mapping[str, Any]


_NO_ALIGN = {"align.steps": 0}
_JOINT = {**_NO_ALIGN, "switch.ratio": 0.0}
_VANILLA = {"switch.mode": "vanilla"}
_SUSTAINED = {"sustain.weight": 0.1}
_ANCHORED = {"anchor.enabled": True}
_DEFINED: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("joint", "joint training: the same data, no alignment, no switching", _JOINT),
    ("joint_vanilla_cs", "joint training, switched words are labels too", {**_NO_ALIGN, **_VANILLA}),
    ("joint_input_cs", "joint training with input-only switching", _NO_ALIGN),
    ("prealign", "the paper: alignment first, then input-only switching", {}),
    ("prealign_no_cs", "PreAlign without switching", {"switch.ratio": 0.0}),
    ("prealign_no_lm", "PreAlign, aligned without the language-modelling loss", {"align.lm_weight": 0.0}),
    ("prealign_embedding", "PreAlign, aligned at the input embedding only", {"align.layers": "embedding"}),
    ("prealign_output", "PreAlign, aligned at the output embedding only", {"align.layers": "output"}),
    ("prealign_vanilla_cs", "PreAlign, switched words are labels too", _VANILLA),
    ("prealign_sustained", "PreAlign, the alignment loss kept on in pretraining", _SUSTAINED),
    ("prealign_anchored", "PreAlign, target rows tied to their translations' rows", _ANCHORED),
    ("anchored", "joint training, target rows tied to their translations' rows", {**_JOINT, **_ANCHORED}),
    ("prealign_sustained_anchored", "PreAlign, sustained and anchored", {**_SUSTAINED, **_ANCHORED}),
    ("merged_ids", "the upper bound: a clone with source ids", {**_JOINT, "mixture.clone_ids": "merged"}),
    ("target_only", "target text alone, for the whole budget", {**_JOINT, "mixture.languages": "targets"}),
)
ARMS: Mapping[str, Arm] = {name: Arm(name, description, changes) for name, description, changes in _DEFINED}

_WHOLE_EXPERIMENT = ("name", "seeds", "arms", "baseline", "jobs", "processes", "transfer", "checkpoint", "variants")
_SHARED = ("source", "targets", "split", "tokenizer", "lexicon", "bitext", "model", "knowledge")
_OWN = ("lexicon.coverage", "lexicon.held_out", "lexicon.wrong", "lexicon.inflect")


def is_built_in(name: str) -> bool:
    """Whether a name is an arm without being a variant: one of `ARMS`, or a method."""
    return name in ARMS or name in METHODS


def arm_card(recipe: Recipe, name: str) -> dict[str, str]:
    """Return an arm's "label", what it does ("description") and whose it is ("citation"), for report and model card."""
    if name in ARMS:
        return {"label": name, "description": ARMS[name].description, "citation": load_method("prealign").citation}
    if name in METHODS:
        method = load_method(name)
        return {"label": method.label, "description": method.description, "citation": method.citation}
    variant = recipe.variants[name]
    changed = ", ".join(f"{key} = {value}" for key, value in variant.set.items())
    base = arm_card(recipe, variant.extends)
    return base | {"label": name, "description": f"{variant.extends} with {changed}"}


def resolve_arm(recipe: Recipe, name: str) -> Recipe:
    """Return the recipe that the arm or variant `name` trains by.

    Raises RecipeError for an unknown name, a variant that extends itself, or settings that do not validate.
    """
    return with_settings(recipe, arm_settings(recipe, name))


def arm_settings(recipe: Recipe, name: str) -> dict[str, Any]:
    """Return all settings (dotted keys) that the arm puts on the recipe, pinned ones included.

    Raises RecipeError for an unknown name or a variant that extends itself.
    """
    lineage = _lineage(recipe, name)
    if lineage[-1] in lineage[:-1]:
        raise RecipeError(f"variants.{lineage[-1]}.extends: extends itself: {' -> '.join(lineage)}")
    settings = {**PAPER, **_built_in(recipe, lineage[-1])}
    if settings["sustain.weight"] and recipe.sustain.weight:
        settings["sustain.weight"] = recipe.sustain.weight
    for variant in reversed(lineage[:-1]):
        settings.update(recipe.variants[variant].set)
    return settings


def with_settings(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """Return the recipe with settings (dotted keys, `targets.0.share` for lists) replaced, validated again.

    What the user wrote (`model_fields_set`) stays known. Raises RecipeError with all problems, one a line.
    """
    data, problems = _changed(recipe, settings)
    if not problems:
        outcome = validate(data)
        if isinstance(outcome, Recipe):
            return outcome
        problems = outcome
    raise RecipeError("\n".join(f"{show(key)}: {message}" for key, message in problems))


def _changed(recipe: Recipe, settings: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """Return the recipe's data with settings put in, and those that have no place."""
    data = recipe.model_dump(exclude_unset=True)
    problems: list[Problem] = []
    for dotted, value in settings.items():
        try:
            put_setting(data, dotted, value)
        except RecipeError as error:
            problems.append(((dotted,), str(error)))
    return data, problems


def _split_key(dotted: str) -> list[str]:
    """Split a dotted key; what follows `variants.NAME.set.` is itself one key, dots and all."""
    parts = dotted.split(".")
    if parts[0] == "variants" and parts[2:3] == ["set"] and len(parts) > 4:
        return [*parts[:3], ".".join(parts[3:])]
    return parts


def put_setting(data: dict[str, Any], dotted: str, value: Any) -> Key:
    """Put a value into nested data in place, making missing sections; return its key, list indices as int.

    Raises RecipeError where a part of the key leads nowhere.
    """
    return _put(data, _split_key(dotted), value)


def _put(inside: Any, parts: Sequence[str], value: Any) -> Key:
    step: str | int = parts[0]
    if isinstance(inside, list):
        if not parts[0].isdecimal() or int(parts[0]) >= len(inside):
            raise RecipeError(f"{parts[0]!r} is not an entry of the list: it has {_entries(len(inside))}")
        step = int(parts[0])
    if len(parts) == 1:
        inside[step] = value
        return (step,)
    if isinstance(inside, dict) and inside.get(step) is None:
        inside[step] = {}
    if not isinstance(inside[step], dict | list):
        raise RecipeError(f"{step!r} has no settings inside: it is {shown(inside[step])}")
    return (step, *_put(inside[step], parts[1:], value))


def _entries(count: int) -> str:
    return f"entries 0 to {count - 1}" if count else "no entries"


def _built_in(recipe: Recipe, name: str) -> Mapping[str, Any]:
    """Return what a built-in arm, or the arm of a method, sets. RecipeError for an unknown name."""
    if name in ARMS:
        return ARMS[name].set
    if name in METHODS:
        return {"method": name}
    raise RecipeError(_unknown_arm(recipe, name))


def arm_problems(recipe: Recipe) -> list[Problem]:
    """Return what is wrong with the names in `arms`, `baseline` and `variants`, and with `seeds`."""
    problems: list[Problem] = []
    for key, values in (("seeds", recipe.seeds), ("arms", recipe.arms)):
        problems += [((key, i), f"{values[i]!r} is named twice") for i in repeated(values)]
    for i, name in enumerate(recipe.arms):
        if not is_built_in(name) and name not in recipe.variants:
            problems.append((("arms", i), _unknown_arm(recipe, name)))
    if not is_built_in(recipe.baseline) and recipe.baseline not in recipe.variants:
        problems.append((("baseline",), _unknown_arm(recipe, recipe.baseline)))
    for name in recipe.variants:
        problems += _variant_name_problems(recipe, name)
    return problems


def _variant_name_problems(recipe: Recipe, name: str) -> Iterator[Problem]:
    if is_built_in(name):
        yield ("variants", name), "this name is taken by a built-in arm: choose another"
    elif not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        yield ("variants", name), "a variant's name may hold only letters, digits, _ and -"
    extends: Key = ("variants", name, "extends")
    lineage = _lineage(recipe, name)
    if lineage[-1] == name and not is_built_in(name):
        yield extends, f"extends itself: {' -> '.join(lineage)}"
    elif len(lineage) == 2 and not is_built_in(lineage[-1]):
        yield extends, _unknown_arm(recipe, lineage[-1])


def variant_problems(recipe: Recipe, name: str) -> list[Problem]:
    """Return what is wrong with a variant's settings: keys that do not exist, values that do not validate."""
    lineage, own = _lineage(recipe, name), recipe.variants[name].set
    if not is_built_in(lineage[-1]):
        return []
    here: Key = ("variants", name, "set")
    problems = [((*here, dotted), text) for dotted in own for text in _not_for_an_arm(dotted)]
    data, misplaced = _changed(recipe, arm_settings(recipe, name))
    problems += [((*here, *key), text) for key, text in misplaced if key[0] in own]
    outcome = validate(data)
    for key, text in [] if isinstance(outcome, Recipe) else outcome:
        for dotted in own:
            if _touches(_split_key(dotted), key):
                inside = key[len(_split_key(dotted)) :]
                problems.append(((*here, dotted), f"{show(inside)}: {text}" if inside else text))
    return problems


def _touches(parts: Sequence[str], key: Key) -> bool:
    """Whether a setting and a problem's key are the same, or one lies inside the other."""
    return all(part == str(step) for part, step in zip(parts, key, strict=False))


def _not_for_an_arm(dotted: str) -> Iterator[str]:
    section = dotted.split(".")[0]
    if section in _WHOLE_EXPERIMENT:
        yield f"an arm cannot change `{section}`, which belongs to the whole experiment"
    elif dotted == "pretrain.steps":
        yield "the steps of stage 2 follow from the budget that all arms share; make it a recipe of its own"
    elif (section in _SHARED and dotted != section and dotted not in _OWN) or dotted.startswith(
        "evaluate.dictionaries"
    ):
        yield f"all arms share `{section}`, or they would not compare; make it a recipe of its own"
    elif keys := fields_at((dotted,)):
        yield f"this is a section: set its keys one by one, as in '{dotted}.{next(iter(keys))}'"


def _lineage(recipe: Recipe, name: str) -> list[str]:
    """Return the arm and what it extends, up to a built-in arm, an unknown name, or a name met before."""
    line = [name]
    while line[-1] in recipe.variants and not is_built_in(line[-1]) and line[-1] not in line[:-1]:
        line.append(recipe.variants[line[-1]].extends)
    return line


def _unknown_arm(recipe: Recipe, name: str) -> str:
    return f"unknown arm {name!r}{did_you_mean(name, dict.fromkeys([*ARMS, *METHODS, *recipe.variants]))}"
