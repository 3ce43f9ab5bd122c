"""What was found to train the model presets well (docs/log.md), as settings that a recipe leaves out.

1. A recipe with a preset takes the preset's value for each of these settings that the recipe does not set.
2. The settings of the large presets are the defaults of the sections, which are the paper's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SMALL: Mapping[str, Mapping[str, float | int | str]] = {
    "pretrain": {"learning_rate": 2e-3, "batch_size": 4},
    "align": {"learning_rate": 1e-3},
    "anchor": {"em_rounds": 10},
    "model": {"attention": "eager"},  # faster than sdpa on a CPU at this context and head width
}
PRESET_SETTINGS: Mapping[str, Mapping[str, Mapping[str, float | int | str]]] = {"nano": _SMALL, "micro": _SMALL}
"""preset -> section -> setting -> value."""

FAR = 10
"""A rate or batch size that is this many times above or below its preset's is worth a warning."""


def settings_taken(recipe: Any) -> dict[str, Any]:
    """Return the settings that a recipe takes from its preset: dotted key -> value."""
    return {
        f"{name}.{key}": value
        for name, settings in PRESET_SETTINGS.get(recipe.model.preset or "", {}).items()
        for key, value in settings.items()
        if key not in getattr(recipe, name).model_fields_set
    }
