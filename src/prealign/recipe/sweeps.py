"""Sweeps: variants of one arm that differ only in one number, shown as a curve instead of table rows.

The functions read a recipe as nested plain data, the form of results.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from prealign.recipe.arms import ARMS, PAPER


class Sweep(NamedTuple):
    """Variants of the arm `extends` that set only the number `key`."""

    extends: str
    key: str
    variants: tuple[str, ...]


def sweeps(recipe: Mapping[str, Any]) -> list[Sweep]:
    """Return the sweeps of a recipe: two or more variants in `arms` that extend the same arm and set the same number."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name, variant in recipe.get("variants", {}).items():
        if name in recipe.get("arms", []) and len(variant["set"]) == 1:
            ((key, value),) = variant["set"].items()
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                groups.setdefault((variant["extends"], key), []).append(name)
    return [Sweep(*group, tuple(names)) for group, names in groups.items() if len(names) > 1]


def setting(recipe: Mapping[str, Any], arm: str, key: str) -> Any:
    """Return the value of a dotted key in an arm, by the rules of `prealign.recipe.arms`; None if unknown."""
    variant = recipe.get("variants", {}).get(arm)
    if variant is not None:
        return variant["set"][key] if key in variant["set"] else setting(recipe, variant["extends"], key)
    pinned = {**PAPER, **(ARMS[arm].set if arm in ARMS else {})}
    value: Any = recipe
    if pinned.get(key.split(".")[0], value) is None:  # a section that the arm does not have
        return None
    for step in key.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    amount = key == "sustain.weight" and pinned[key] and value  # the arm decides whether, the recipe how much
    return pinned[key] if key in pinned and not amount else value
