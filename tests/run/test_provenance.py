"""What a stage remembers of its recipe, and what the user is told has changed since."""

from __future__ import annotations

from pathlib import Path

import toy_experiment
from prealign.recipe.arms import with_settings
from prealign.run.provenance import changed_settings, with_origin

UNKNOWN = "an input file or an earlier stage changed"


def test_what_is_told_is_what_a_stage_depends_on(tmp_path: Path) -> None:
    recipe = toy_experiment.recipe(tmp_path)
    with_origin({}, tmp_path, recipe, "prealign run")

    def told(key: str, value: object) -> list[str]:
        changed = with_settings(recipe, {key: value})
        kinds = ({}, {"measures": True}, {"of_data": True})
        return [changed_settings(tmp_path, changed, **kind) for kind in kinds]

    assert told("pretrain.steps", 99) == [f"pretrain.steps {recipe.pretrain.steps} → 99"] * 2 + [UNKNOWN]
    assert told("evaluate.strict", False) == [UNKNOWN] + ["evaluate.strict True → False"] * 2
    assert told("evaluate.batch_size", 3) == [
        UNKNOWN,
        f"evaluate.batch_size {recipe.evaluate.batch_size} → 3",
        UNKNOWN,
    ]
    # No stage depends on how arms are compared.
    assert told("family", ["joint", "prealign"]) == told("primary.arm", "joint") == told("seeds", [7]) == [UNKNOWN] * 3
