"""Every arm against the baseline, number by number: the comparisons of results.json.

1. Scores that differ in arm and seed alone are one number: `NUMBER` names what tells numbers apart.
2. Two arms meet in the seeds in which both were measured on the same things in the same way (equal signatures).
3. Several seeds: paired over seeds. One seed: over what it was measured on, which the caller knows (`OneSeed`).
4. All arms that meet the baseline on one number are one family for Holm's correction, but for those that diverged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from prealign.evaluation.score import Comparison, Unit
from prealign.evaluation.statistics import Difference, holm, paired_seeds

NUMBER = ("task", "language", "metric", "condition", "layer", "stage", "split")

OneSeed = Callable[[str, int, dict[str, Any]], tuple[Difference, Unit] | None]
"""(arm, seed, number) -> its difference to the baseline in that seed and what the interval is over; None if unknown."""


def compare(
    arms: Sequence[str], seeds: Sequence[int], baseline: str, scores: Sequence[dict[str, Any]], one_seed: OneSeed
) -> list[dict[str, Any]]:
    """Return the `Comparison` of every arm with the baseline, as entries of results.json, on every final number.

    Without a common seed there is no entry; with one seed of which `one_seed` knows nothing, p and interval are None.
    """
    values: dict[tuple[Any, ...], dict[tuple[str, int], dict[str, Any]]] = {}
    for score in scores:
        if score["stage"] == "pretrain":
            key = tuple(score[k] for k in NUMBER)
            values.setdefault(key, {})[score["arm"], score["seed"]] = score
    comparisons: list[dict[str, Any]] = []
    for key, by_arm in values.items():
        number, family = dict(zip(NUMBER, key, strict=True)), []
        for arm in arms:
            common = [s for s in seeds if _comparable(by_arm.get((arm, s)), by_arm.get((baseline, s)))]
            if arm == baseline or not common:
                continue
            own, base = ([by_arm[name, s]["value"] for s in common] for name in (arm, baseline))
            single = one_seed(arm, common[0], number) if len(common) == 1 else None
            found, unit = single or (paired_seeds(own, base), "seeds")
            ratio = float(np.mean(own) / np.mean(base)) if np.mean(base) else None
            family.append(Comparison(arm=arm, baseline=baseline, **number, **found._asdict(), unit=unit, ratio=ratio))
        comparisons += map(asdict, _corrected(family))
    return comparisons


def _comparable(own: dict[str, Any] | None, base: dict[str, Any] | None) -> bool:
    return own is not None and base is not None and own["signature"] == base["signature"]


def _corrected(family: list[Comparison]) -> list[Comparison]:
    tested = {i: found.p for i, found in enumerate(family) if found.p is not None and math.isfinite(found.p)}
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True))
    return [replace(found, p_holm=adjusted.get(i)) for i, found in enumerate(family)]
