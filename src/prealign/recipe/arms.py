"""Arms: the named ways to train that an experiment compares. An arm is the recipe with a few settings changed.

1. Pin the settings that distinguish arms to the paper's method (`PAPER`). So `prealign` is the paper's PreAlign, also
   in a recipe that sets `sustain.weight`.
2. Apply the settings of the arm (`Arm.set`).
3. Take all amounts from the recipe: steps, ratios, loss weights, rates. *The arm decides whether a mechanism is on, the
   recipe decides how much.* For example, arms with sustained alignment use the recipe's `sustain.weight` if it is above
   0, else 0.1. An amount of 0, such as `switch.ratio: 0`, turns it off in every arm (`effects.ineffective` reports this).
4. For a variant of the recipe, resolve the arm (or variant) that it `extends`, then apply the settings of the variant.
5. Pin the optional sections (`OPTIONAL`) to None: an absent section is off. Arms and variants that turn one on start from
   the recipe's section, then apply their settings.
6. Validate the result like a recipe from a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prealign.errors import RecipeError
from prealign.recipe.registry import METHODS, load_method
from prealign.recipe.section import name_fault
from prealign.recipe.sections import Recipe
from prealign.recipe.validate import Key, Problem, did_you_mean, fields_at, repeated, show, shown, validate

PAPER: Mapping[str, Any] = {
    "method": "prealign",
    "align.layers": "all",
    "switch.mode": "input_only",
    "sustain.weight": 0.0,
    "anchor.enabled": False,
    "next_word": None,
    "twin_mask": None,
    "twin_adam": None,
    "mixture.languages": "all",
    "mixture.clone_ids": "twin",
}
"""Settings that every arm pins, unless `Arm.set` changes them."""

OPTIONAL = ("next_word", "twin_mask", "twin_adam")
"""Optional sections: the mechanism is on if the section is present."""


@dataclass(frozen=True)
class Arm:
    """A built-in arm.

    set: the settings (dotted keys) that differ from the paper's PreAlign. citation: None for that of PreAlign.
    """

    name: str
    label: str
    description: str
    set: Mapping[str, Any]
    citation: str | None = None


_NO_ALIGN = {"align.steps": 0}
_JOINT = {**_NO_ALIGN, "switch.ratio": 0.0}
_VANILLA = {"switch.mode": "vanilla"}
_SUSTAINED = {"sustain.weight": 0.1}
_ANCHORED = {"anchor.enabled": True}
_WEAM = (
    "Yang, Ma, Cui, Ye, Che, Wang: Bilingual Alignment Pre-Training for Zero-Shot Cross-Lingual Transfer. MRQA 2021. "
    "arXiv:2106.01732 (WEAM, here for causal models)"
)
_DEFINED: tuple[tuple[Any, ...], ...] = (
    ("joint", "Joint training", "joint training: the same data, no alignment, no switching", _JOINT),
    (
        "joint_vanilla_cs",
        "Joint + vanilla switching",
        "joint training, switched words are labels too",
        {**_NO_ALIGN, **_VANILLA},
    ),
    ("joint_input_cs", "Joint + input-only switching", "joint training with input-only switching", _NO_ALIGN),
    ("prealign", "PreAlign", "the paper: alignment first, then input-only switching", {}),
    ("prealign_no_cs", "PreAlign, no switching", "PreAlign without switching", {"switch.ratio": 0.0}),
    (
        "prealign_no_lm",
        "PreAlign, no LM loss",
        "PreAlign, aligned without the language-modelling loss",
        {"align.lm_weight": 0.0},
    ),
    (
        "prealign_embedding",
        "PreAlign, embedding only",
        "PreAlign, aligned at the input embedding only",
        {"align.layers": "embedding"},
    ),
    (
        "prealign_output",
        "PreAlign, output only",
        "PreAlign, aligned at the output embedding only",
        {"align.layers": "output"},
    ),
    ("prealign_vanilla_cs", "PreAlign, vanilla switching", "PreAlign, switched words are labels too", _VANILLA),
    ("prealign_sustained", "PreAlign, sustained", "PreAlign, the alignment loss kept on in pretraining", _SUSTAINED),
    ("prealign_anchored", "PreAlign, anchored", "PreAlign, target rows tied to their translations' rows", _ANCHORED),
    (
        "anchored",
        "Anchored vocabulary",
        "joint training, target rows tied to their translations' rows",
        {**_JOINT, **_ANCHORED},
    ),
    (
        "prealign_sustained_anchored",
        "PreAlign, sustained + anchored",
        "PreAlign, sustained and anchored",
        {**_SUSTAINED, **_ANCHORED},
    ),
    (
        "joint_next_word",
        "Joint + bilingual next word",
        "joint training that also predicts translations of the next word",
        {**_JOINT, "next_word": {}},
        _WEAM,
    ),
    (
        "joint_twin_mask",
        "Joint + twin-masked softmax",
        "joint training whose softmax does not count translations as wrong",
        {**_JOINT, "twin_mask": {}},
    ),
    (
        "joint_twin_adam",
        "Joint + twin-coupled AdamW",
        "joint training in which translations share the second moment of AdamW",
        {**_JOINT, "twin_adam": {}},
        "Stollenwerk, Stollenwerk: Better Embeddings with Coupled Adam. arXiv:2502.08441",
    ),
    (
        "merged_ids",
        "Merged ids (upper bound)",
        "the upper bound: a clone with source ids",
        {**_JOINT, "mixture.clone_ids": "merged"},
    ),
    (
        "target_only",
        "Target text alone",
        "target text alone, for the whole budget",
        {**_JOINT, "mixture.languages": "targets"},
    ),
)
ARMS: Mapping[str, Arm] = {fields[0]: Arm(*fields) for fields in _DEFINED}

WHOLE_EXPERIMENT = (
    "name", "seeds", "arms", "baseline", "primary", "family", "jobs", "processes", "transfer", "checkpoint", "variants",
)  # fmt: skip
"""Keys of a recipe that are about all arms together: no arm sets them, and no trained weight depends on them."""
_SHARED = ("source", "targets", "split", "tokenizer", "lexicon", "bitext", "model", "knowledge")
_TESTED = ("evaluate.dictionaries", "evaluate.strict")
_OWN = ("lexicon.coverage", "lexicon.held_out", "lexicon.wrong", "lexicon.inflect")


def is_built_in(name: str) -> bool:
    """Whether `name` is one of `ARMS` or a method, and so cannot be the name of a variant."""
    return name in ARMS or name in METHODS


def arm_card(recipe: Recipe, name: str) -> dict[str, str]:
    """Return the "label", "description" and "citation" of an arm, for report and model card."""
    if name in ARMS:
        arm = ARMS[name]
        citation = arm.citation or load_method("prealign").citation
        return {"label": arm.label, "description": arm.description, "citation": citation}
    if name in METHODS:
        method = load_method(name)
        return {"label": method.label, "description": method.description, "citation": method.citation}
    variant = recipe.variants[name]
    changed = ", ".join(f"{key} = {value}" for key, value in variant.set.items())
    base = arm_card(recipe, variant.extends)
    return base | {"label": name, "description": f"{variant.extends} with {changed}"}


def resolve_arm(recipe: Recipe, name: str) -> Recipe:
    """Return the recipe of the arm or variant `name`, with its settings applied.

    Raises RecipeError for an unknown name, a variant that extends itself, or settings that do not validate.
    """
    return with_settings(recipe, arm_settings(recipe, name))


def arm_settings(recipe: Recipe, name: str) -> dict[str, Any]:
    """Return all settings (dotted keys) that the arm applies to the recipe, including the pinned ones.

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
    for section in OPTIONAL:
        if settings[section] is not None or any(key.startswith(f"{section}.") for key in settings):
            own = getattr(recipe, section)
            settings[section] = own.model_dump(exclude_unset=True) if own else {}
    return settings


def with_settings(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """Return the recipe with `settings` applied and validated. Keys are dotted; `targets.0.share` goes into a list.

    `model_fields_set` of the result still holds the fields that the user wrote. Raises RecipeError with all problems,
    one per line.
    """
    data, problems = _changed(recipe, settings)
    if not problems:
        outcome = validate(data)
        if isinstance(outcome, Recipe):
            return outcome
        problems = outcome
    raise RecipeError("\n".join(f"{show(key)}: {message}" for key, message in problems))


def _changed(recipe: Recipe, settings: Mapping[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """Return the recipe's data with `settings` applied, and the problems of settings whose key does not exist."""
    data = recipe.model_dump(exclude_unset=True)
    problems: list[Problem] = []
    for dotted, value in settings.items():
        try:
            put_setting(data, dotted, value)
        except RecipeError as error:
            problems.append(((dotted,), str(error)))
    return data, problems


def _split_key(dotted: str) -> list[str]:
    """Split a dotted key. The rest after `variants.NAME.set.` stays one key with its dots."""
    parts = dotted.split(".")
    if parts[0] == "variants" and parts[2:3] == ["set"] and len(parts) > 4:
        return [*parts[:3], ".".join(parts[3:])]
    return parts


def put_setting(data: dict[str, Any], dotted: str, value: Any) -> Key:
    """Set a value in nested data, in place, creating missing sections. Returns its key, with list indices as int.

    Raises RecipeError if a part of the key does not exist.
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
    """Return the settings of a built-in arm or of a method's arm. RecipeError for an unknown name."""
    if name in ARMS:
        return ARMS[name].set
    if name in METHODS:
        return {"method": name}
    raise RecipeError(_unknown_arm(recipe, name))


def arm_problems(recipe: Recipe) -> list[Problem]:
    """Return the problems of the names in `arms`, `family`, `baseline` and `variants`, and of `seeds`."""
    problems: list[Problem] = []
    for key, values in (("seeds", recipe.seeds), ("arms", recipe.arms), ("family", recipe.family)):
        problems += [((key, i), f"{values[i]!r} is named twice") for i in repeated(values)]
    for key, names in (("arms", recipe.arms), ("family", recipe.family)):
        unknown = ((i, name) for i, name in enumerate(names) if not is_built_in(name) and name not in recipe.variants)
        problems += [((key, i), _unknown_arm(recipe, name)) for i, name in unknown]
    if not is_built_in(recipe.baseline) and recipe.baseline not in recipe.variants:
        problems.append((("baseline",), _unknown_arm(recipe, recipe.baseline)))
    for name in recipe.variants:
        problems += _variant_name_problems(recipe, name)
    return problems


def _variant_name_problems(recipe: Recipe, name: str) -> Iterator[Problem]:
    if is_built_in(name):
        yield ("variants", name), "this name is taken by a built-in arm: choose another"
    elif fault := name_fault(name):
        yield ("variants", name), fault
    elif "." in name:
        yield ("variants", name), "a variant's name has no dot: dots part the keys of settings"
    extends: Key = ("variants", name, "extends")
    lineage = _lineage(recipe, name)
    if lineage[-1] == name and not is_built_in(name):
        yield extends, f"extends itself: {' -> '.join(lineage)}"
    elif len(lineage) == 2 and not is_built_in(lineage[-1]):
        yield extends, _unknown_arm(recipe, lineage[-1])


def variant_problems(recipe: Recipe, name: str) -> list[Problem]:
    """Return the problems of a variant's settings: keys that do not exist, values that do not validate."""
    lineage, settings = _lineage(recipe, name), recipe.variants[name].set
    if not is_built_in(lineage[-1]):
        return []
    here: Key = ("variants", name, "set")
    problems = [((*here, dotted), text) for dotted in settings for text in _not_for_an_arm(dotted)]
    data, misplaced = _changed(recipe, arm_settings(recipe, name))
    problems += [((*here, *key), text) for key, text in misplaced if key[0] in settings]
    outcome = validate(data)
    for key, text in [] if isinstance(outcome, Recipe) else outcome:
        for dotted in settings:
            if _touches(_split_key(dotted), key):
                inside = key[len(_split_key(dotted)) :]
                problems.append(((*here, dotted), f"{show(inside)}: {text}" if inside else text))
    return problems


def _touches(parts: Sequence[str], key: Key) -> bool:
    """Whether a setting and the key of a problem are equal, or one contains the other."""
    return all(part == str(step) for part, step in zip(parts, key, strict=False))


def _not_for_an_arm(dotted: str) -> Iterator[str]:
    section = dotted.split(".")[0]
    if section in WHOLE_EXPERIMENT:
        yield f"an arm cannot change `{section}`, which belongs to the whole experiment"
    elif dotted == "pretrain.steps":
        yield "the steps of stage 2 follow from the budget that all arms share; write a separate recipe"
    elif (section in _SHARED and dotted not in (section, *_OWN)) or dotted.startswith(_TESTED):
        yield f"all arms share `{section}`, or they would not be comparable; write a separate recipe"
    elif keys := fields_at((dotted,)):
        yield f"this is a section: set its keys one by one, as in '{dotted}.{next(iter(keys))}'"


def _lineage(recipe: Recipe, name: str) -> list[str]:
    """Return the arm and the arms it extends, up to a built-in arm, an unknown name or a repeated name."""
    line = [name]
    while line[-1] in recipe.variants and not is_built_in(line[-1]) and line[-1] not in line[:-1]:
        line.append(recipe.variants[line[-1]].extends)
    return line


def _unknown_arm(recipe: Recipe, name: str) -> str:
    return f"unknown arm {name!r}{did_you_mean(name, dict.fromkeys([*ARMS, *METHODS, *recipe.variants]))}"
