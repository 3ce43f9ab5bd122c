"""Comparisons of results.json: every arm against the baseline, number by number.

1. Scores that differ in arm and seed alone are one number; the keys in `NUMBER` identify it.
2. Pair two arms in the seeds in which their scores have equal signatures: the same items, measured in the same way.
3. Several seeds: a paired test over seeds. One seed: a test over items, which the caller provides (`OneSeed`).
4. All arms compared on one number are one family for Holm's correction, without those that diverged.
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
"""(arm, seed, number) -> difference to the baseline in that seed, and the unit of its interval; None if unknown."""


def compare(
    arms: Sequence[str], seeds: Sequence[int], baseline: str, scores: Sequence[dict[str, Any]], one_seed: OneSeed
) -> list[dict[str, Any]]:
    """Return a `Comparison` of every arm with the baseline on every final number, as entries of results.json.

    Arms without a common seed have no entry. With one common seed and no result of `one_seed`, p and interval are None.
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
            ours, theirs = ([by_arm[name, s]["value"] for s in common] for name in (arm, baseline))
            single = one_seed(arm, common[0], number) if len(common) == 1 else None
            test, unit = single or (paired_seeds(ours, theirs), "seeds")
            ratio = float(np.mean(ours) / np.mean(theirs)) if np.mean(theirs) else None
            family.append(Comparison(arm=arm, baseline=baseline, **number, **test._asdict(), unit=unit, ratio=ratio))
        comparisons += map(asdict, _corrected(family))
    return comparisons


def _comparable(ours: dict[str, Any] | None, theirs: dict[str, Any] | None) -> bool:
    return ours is not None and theirs is not None and ours["signature"] == theirs["signature"]


def _corrected(family: list[Comparison]) -> list[Comparison]:
    tested = {i: one.p for i, one in enumerate(family) if one.p is not None and math.isfinite(one.p)}
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True))
    return [replace(one, p_holm=adjusted.get(i)) for i, one in enumerate(family)]
