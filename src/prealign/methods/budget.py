"""Matched budgets: the number of steps that brings an arm to the FLOPs of the reference arm.

1. `budget_of` adds up the FLOPs of the reference arm, whose main phase takes the recipe's `pretrain.steps`.
2. `settled` gives the main phase of another arm the steps that this budget leaves after its other phases.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from prealign.errors import RecipeError
from prealign.methods.phase import Phase


def settled(phases: Sequence[Phase], model: Any, budget: float, devices: int = 1, *, arm: str = "") -> list[Phase]:
    """Return the phases with the steps of the main phase filled in, from a budget of `budget` FLOPs per device.

    Raises RecipeError, which names the arm, if the budget leaves no step for it.
    """
    fixed = sum(phase.start_cost(model).flops for phase in phases)
    fixed += sum(phase.steps * phase.cost(model, devices).flops for phase in phases if phase.steps)

    def with_steps(phase: Phase) -> Phase:
        try:
            return replace(phase, steps=matched_steps(budget, fixed, phase.cost(model, devices).flops))
        except RecipeError as error:
            raise RecipeError(f"arm {arm!r}: {error}" if arm else str(error)) from None

    return [with_steps(phase) if phase.steps is None else phase for phase in phases]


def budget_of(phases: Sequence[Phase], model: Any, steps: int, devices: int = 1) -> float:
    """Return the FLOPs of the phases on one device, with `steps` steps in the main phase."""
    total = 0.0
    for phase in phases:
        total += phase.start_cost(model).flops
        total += (steps if phase.steps is None else phase.steps) * phase.cost(model, devices).flops
    return total


def matched_steps(budget: float, spent: float, step: float) -> int:
    """Return the number of steps of `step` FLOPs that fit into the budget after `spent`. RecipeError if none fits."""
    # Sums of FLOPs are rounded: a quotient just below a whole number counts as that number.
    steps = math.floor((budget - spent) / step + 1e-6)
    if steps < 1:
        raise RecipeError(
            f"the budget leaves no step of the main phase: it is {budget:.3g} FLOPs, what comes before takes {spent:.3g}, "
            f"and one step costs {step:.3g}. The budget is `align.steps` and `pretrain.steps` of the recipe: raise them, or "
            "lower what the arm adds, such as its own align.steps."
        )
    return steps
