"""Sweeps: variants of one arm that set the same number, shown as a curve instead of table rows.

The recipe is read as results.json holds it: nested plain data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from prealign.recipe.arms import ARMS, PAPER


class Sweep(NamedTuple):
    """An arm and its variants that differ from it in the number `key` alone."""

    extends: str
    key: str
    variants: tuple[str, ...]


def sweeps(recipe: Mapping[str, Any]) -> list[Sweep]:
    """Return the sweeps among a recipe's variants: two or more that extend one arm and set one number."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name, variant in recipe.get("variants", {}).items():
        if name in recipe.get("arms", []) and len(variant["set"]) == 1:
            ((key, value),) = variant["set"].items()
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                groups.setdefault((variant["extends"], key), []).append(name)
    return [Sweep(*group, tuple(names)) for group, names in groups.items() if len(names) > 1]


def setting(recipe: Mapping[str, Any], arm: str, key: str) -> Any:
    """Return the value of a dotted key in an arm's training (rules: `prealign.recipe.arms`); None if unknown."""
    variant = recipe.get("variants", {}).get(arm)
    if variant is not None:
        return variant["set"][key] if key in variant["set"] else setting(recipe, variant["extends"], key)
    pinned = {**PAPER, **(ARMS[arm].set if arm in ARMS else {})}
    own: Any = recipe
    if pinned.get(key.split(".")[0], own) is None:  # a section that the arm does not have
        return None
    for step in key.split("."):
        own = own.get(step) if isinstance(own, dict) else None
    amount = key == "sustain.weight" and pinned[key] and own  # the arm decides whether, the recipe how much
    return pinned[key] if key in pinned and not amount else own
