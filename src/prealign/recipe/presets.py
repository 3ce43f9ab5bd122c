"""What was found to train the model presets well (docs/log.md), as settings that a recipe leaves out.

1. A recipe with a preset takes the preset's value for each of these settings that the recipe does not set.
2. The settings of the large presets are the defaults of the sections, which are the paper's.
"""

from __future__ import annotations

from collections.abc import Mapping

_SMALL: Mapping[str, Mapping[str, float | int | str]] = {
    "pretrain": {"learning_rate": 2e-3, "batch_size": 4},
    "align": {"learning_rate": 1e-3, "lm_batch_size": 4},
    "anchor": {"em_rounds": 10},
    "model": {"attention": "eager"},  # faster than sdpa on a CPU at this context and head width
}
PRESET_SETTINGS: Mapping[str, Mapping[str, Mapping[str, float | int | str]]] = {"nano": _SMALL, "micro": _SMALL}
"""preset -> section -> setting -> value."""

FAR = 10
"""A rate or batch size that is this many times above or below its preset's is worth a warning."""
