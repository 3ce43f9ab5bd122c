"""The results of a run folder: of the arms of a command, and of all others in the folder that have the same settings.

1. Compute the fingerprints of the command's arms. An error in one of them is an error of the command.
2. Find the other finished arms and seeds in the folder. Variants that the present recipe lacks are taken from the recipe
   that their stage keeps.
3. Those whose stages are all fresh are results of this recipe. The others are told and left out.
4. Arms are corrected together (Holm) with those of the command that made them, as the recipe that their stage keeps says. So
   the p of earlier arms stay when a later command adds arms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from prealign.errors import PrealignError
from prealign.recipe.sections import Recipe, Variant
from prealign.run.provenance import changed_settings, stage_recipe
from prealign.run.results import Marks, collect_results, fresh_records
from prealign.run.stages import ArmRun

_LAST = "evaluate"
"""The stage that every finished arm has."""


class FolderResults:
    """The content of results.json, again and again while `arms` of one command are run. note: gets notes for the user."""

    def __init__(self, arms: Sequence[ArmRun], note: Callable[[str], None]) -> None:
        self._arms, self._note = arms, note
        self._marks: Marks = {}
        self._left_out: set[tuple[str, int]] = set()

    def content(self, unfinished: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
        """Return the content of results.json. Raises PrealignError for an arm of the command that cannot be run.

        unfinished: arm, seed and reason of the runs that ended early.
        """
        first = self._arms[0]
        for arm in self._arms:
            if (arm.arm, arm.seed) not in self._marks:
                self._marks[arm.arm, arm.seed] = arm.marks()
        families = [first.base.family or first.base.arms]
        recipe, marks = first.base, {(arm.arm, arm.seed): self._marks[arm.arm, arm.seed] for arm in self._arms}
        for other in self._others():
            pair = (other.arm, other.seed)
            marks[pair] = self._marks[pair]
            made = stage_recipe(other.folder(_LAST))
            families.append(made.get("family") or made.get("arms", []))
            arms = list(dict.fromkeys([*recipe.arms, other.arm]))
            seeds = list(dict.fromkeys([*recipe.seeds, other.seed]))
            recipe = recipe.model_copy(update={"arms": arms, "seeds": seeds, "variants": other.base.variants})
        return collect_results(recipe, first.prepared, first.run, marks, unfinished, families)

    def _others(self) -> Iterator[ArmRun]:
        """Yield the other finished arms of the folder that are fresh."""
        run, own = self._arms[0].run, {(arm.arm, arm.seed) for arm in self._arms}
        recipe = self._arms[0].base
        for folder in run.stages(_LAST):
            seed = folder.parent.name.removeprefix("seed-")
            pair = (folder.parents[1].name, int(seed) if seed.isdecimal() else -1)
            if pair in own or pair[1] < 0:  # done by this command, or a folder that no run has made
                continue
            recipe = _with_variant(recipe, pair[0], folder)
            other = replace(self._arms[0], arm=pair[0], seed=pair[1], base=recipe)
            if self._is_fresh(other):
                yield other
            elif pair not in self._left_out:
                self._left_out.add(pair)
                why = changed_settings(folder, other.recipe, measures=True) if _resolves(other) else "another recipe"
                self._note(f"results.json leaves out {pair[0]} with seed {pair[1]}, which is in this folder: {why}")

    def _is_fresh(self, other: ArmRun) -> bool:
        pair = (other.arm, other.seed)
        if pair not in self._marks:
            try:
                self._marks[pair] = other.marks()
            except PrealignError:  # the present recipe cannot have this arm
                return False
        return bool(list(fresh_records(other.run, {pair: self._marks[pair]})))


def _resolves(arm: ArmRun) -> bool:
    try:
        return bool(arm.recipe)
    except PrealignError:
        return False


def _with_variant(recipe: Recipe, arm: str, folder: Path) -> Recipe:
    """Return the recipe with the variants that an arm in the folder needs and the recipe lacks."""
    theirs, missing = stage_recipe(folder).get("variants", {}), dict[str, Any]()
    try:
        while arm in theirs and arm not in recipe.variants and arm not in missing:
            missing[arm] = Variant.model_validate(theirs[arm])
            arm = missing[arm].extends
    except (TypeError, ValueError):  # damaged, or of another version: then its stages are not fresh
        return recipe
    return recipe.model_copy(update={"variants": recipe.variants | missing}) if missing else recipe
