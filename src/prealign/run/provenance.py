"""Provenance: what made a stage. Every stage keeps its recipe and its origin.

1. `recipe.yaml` in the folder of a stage is its recipe in full, with the settings of its arm.
2. The record of a stage has its origin: version, command, time, machine, precision.
3. `changed_settings` compares the recipe of a former stage with the present one, for the message that says why a stage
   is made again.
4. `origins` joins the origins of several stages that the same command made.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import yaml

from prealign import __version__
from prealign.files import write_text
from prealign.recipe.arms import WHOLE_EXPERIMENT
from prealign.recipe.file import dump_recipe
from prealign.recipe.sections import Recipe
from prealign.run.folder import recorded
from prealign.training import launch
from prealign.training.precision import precision

RECIPE = "recipe.yaml"
ORIGIN = "origin"
"""Key of the origin in the record of a stage."""

# packages whose versions change numbers or speed
_PACKAGES = ("torch", "transformers", "accelerate", "datasets", "tokenizers", "numpy")
_MEASURES = ("evaluate.", "transfer")
_OF_DATA = (
    "source.",
    "targets",
    "split.",
    "tokenizer.",
    "bitext.",
    "lexicon.",
    "knowledge.",
    "pretrain.context",
    "evaluate.dictionaries",
    "evaluate.strict",
    "evaluate.sentences",
)
_SHOWN = 5
"""Maximum number of changed settings in a message."""

_ABSENT = object()


def provenance(recipe: Recipe, command: str) -> dict[str, Any]:
    """Return the provenance of results: versions, command, time, machine and precision."""
    return {
        "prealign": __version__,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds"),
        "command": command,
        "environment": {
            "python": platform.python_version(),
            **{package: importlib.metadata.version(package) for package in _PACKAGES},
            "platform": platform.platform(),
            "cpu": torch.cpu.get_capabilities().get("cpu_name", platform.machine()),
            "cores": os.cpu_count(),
            "accelerators": torch.accelerator.device_count() if torch.accelerator.is_available() else 0,
            "devices": launch.count(),
            "precision": precision(recipe.trainer),
        },
    }


def with_origin(record: dict[str, Any], folder: Path, recipe: Recipe, command: str) -> dict[str, Any]:
    """Write the recipe of a stage into its folder. Returns its record with the origin."""
    write_text(folder / RECIPE, dump_recipe(recipe))
    return record | {ORIGIN: provenance(recipe, command)}


def changed_settings(folder: Path, recipe: Recipe, *, of_data: bool = False, measures: bool = False) -> str:
    """Return how the recipe differs from that of the stage in `folder`, as in "pretrain.steps 10 → 12".

    of_data: compare only settings that data depend on; measures: also those that only measures depend on. Without a
    changed setting, names what else makes a stage outdated.
    """
    before, after = _flat(stage_recipe(folder)), _flat(yaml.safe_load(dump_recipe(recipe)))
    if before:
        keys = [key for key in {**after, **before} if _counts(key, of_data=of_data, measures=measures)]
        changed = [key for key in keys if before.get(key, _ABSENT) != after.get(key, _ABSENT)]
        shown = [f"{key} {_shown(before, key)} → {_shown(after, key)}" for key in changed[:_SHOWN]]
        if changed:
            return ", ".join([*shown, *([f"and {len(changed) - _SHOWN} more"] if len(changed) > _SHOWN else [])])
    return _changed_origin(folder, recipe) or "an input file or an earlier stage changed"


def _counts(key: str, *, of_data: bool, measures: bool) -> bool:
    if of_data:
        return key.startswith(_OF_DATA)
    if key.startswith(_MEASURES):
        return measures or key.startswith("evaluate.dynamics")
    return key.split(".")[0] not in WHOLE_EXPERIMENT


def _shown(settings: dict[str, Any], key: str) -> str:
    text = str(settings.get(key, "absent"))
    return text if len(text) <= 40 else text[:39] + "…"


def stage_recipe(folder: Path) -> dict[str, Any]:
    """Return the recipe that a stage keeps, as plain data; {} if it is missing or unreadable."""
    try:
        found = yaml.safe_load((folder / RECIPE).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


def _flat(value: Any) -> dict[str, Any]:
    """Return nested settings by dotted key. A list that differs in a part is shown as a whole."""
    found: dict[str, Any] = {}

    def add(key: str, part: Any) -> None:
        if isinstance(part, dict) and (part or not key):
            for name, inner in part.items():
                add(f"{key}.{name}" if key else str(name), inner)
        else:
            found[key] = part

    add("", value)
    return found


def _changed_origin(folder: Path, recipe: Recipe) -> str:
    before, after = recorded(folder).get(ORIGIN), provenance(recipe, "")
    try:
        pairs = {"version of prealign": (before["prealign"], after["prealign"])}  # type: ignore[index]
        for key in ("devices", "precision"):
            pairs[key] = (before["environment"][key], after["environment"][key])  # type: ignore[index]
    except (KeyError, TypeError):
        return ""
    return ", ".join(f"{key} {one} → {other}" for key, (one, other) in pairs.items() if one != other)


def origins(made: Iterable[tuple[tuple[str, int], dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return the origin of each group of stages that one command made on one machine, the oldest first.

    made: (arm, seed) and the origin of each stage. A group has its arms and seeds, and the time of its last stage.
    """
    groups: list[dict[str, Any]] = []
    for (arm, seed), origin in made:
        facts = {"command": origin["command"], "version": origin["prealign"], "environment": origin["environment"]}
        group = next((group for group in groups if facts.items() <= group.items()), None)
        if group is None:
            groups.append(group := {"arms": [], "seeds": [], "created": "", **facts})
        group["arms"] = list(dict.fromkeys([*group["arms"], arm]))
        group["seeds"] = sorted({*group["seeds"], seed})
        group["created"] = max(group["created"], origin["created"])
    return sorted(groups, key=_created)


def _created(origin: dict[str, Any]) -> str:
    return str(origin["created"])


def common_facts(environments: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the facts that are equal in all environments; {} without any."""
    first = environments[0] if environments else {}
    return {key: value for key, value in first.items() if all(other.get(key) == value for other in environments)}
