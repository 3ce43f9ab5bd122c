"""Matched budgets: the number of steps that brings an arm to the FLOPs of the reference arm.

1. `budget_of` adds up the FLOPs of the reference arm, whose main phase takes the recipe's `pretrain.steps`.
2. `settled` gives the main phase of another arm the steps that this budget leaves after its other phases.
3. A phase that ends early (`prealign.methods.goal`) counts with its most steps in the budget of all arms. What it saves
   goes to the main phase of its own arm, so all arms still have equal FLOPs, and no arm waits for another.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from prealign.errors import RecipeError
from prealign.methods.phase import Phase


def settled(
    phases: Sequence[Phase],
    model: Any,
    budget: float,
    devices: int = 1,
    *,
    arm: str = "",
    spent: Mapping[str, float] | None = None,
) -> list[Phase]:
    """Return the phases with the steps of the main phase filled in, from a budget of `budget` FLOPs per device.

    spent: by name, the FLOPs per device that finished phases took; the others take their most. Raises RecipeError, which
    names the arm, if the budget leaves no step for the main phase.
    """
    spent = spent or {}
    fixed = sum(
        phase.start_cost(model).flops if phase.steps is None else phase.total(model, devices).flops
        for phase in phases
        if phase.name not in spent
    )

    def with_steps(phase: Phase) -> Phase:
        try:
            before = fixed + sum(spent.values())
            return replace(phase, steps=matched_steps(budget, before, phase.cost(model, devices).flops))
        except RecipeError as error:
            raise RecipeError(f"arm {arm!r}: {error}" if arm else str(error)) from None

    return [with_steps(phase) if phase.steps is None else phase for phase in phases]


def budget_of(phases: Sequence[Phase], model: Any, steps: int, devices: int = 1) -> float:
    """Return the FLOPs of the phases on one device, with `steps` steps in the main phase.

    A phase that may end early counts with its most steps.
    """
    return sum(phase.total(model, devices, steps=phase.steps or steps).flops for phase in phases)


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
