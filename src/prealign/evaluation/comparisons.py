"""Comparisons of results.json: every arm against the baseline, number by number.

1. Scores that differ in arm and seed alone are one number; the keys in `NUMBER` identify it.
2. Pair two arms in the seeds in which their scores have equal signatures: the same items, measured in the same way.
3. Several seeds: a paired t-test over seeds, of logarithms for perplexities. One seed: an interval over its items, which the
   caller provides (`OneSeed`), and no p.
4. The primary comparison is not corrected. The others are corrected by Holm within families that are fixed before the run:
   on one number, the arms of the recipe's `family`. Arms that are merged later have a family of their own, so the p of the
   earlier arms stay. Arms that diverged are not counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from prealign.evaluation.score import Comparison, Unit
from prealign.evaluation.statistics import Difference, Interval, holm, on_log_scale, paired_seeds

NUMBER = ("task", "language", "metric", "condition", "layer", "stage", "split")

OneSeed = Callable[[str, int, dict[str, Any]], tuple[Interval, Unit] | None]
"""(arm, seed, number) -> difference to the baseline in that seed, and the unit of its interval; None if unknown."""

_PRIMARY = {"task": "lm", "metric": "perplexity", "condition": None, "layer": None}


@dataclass(frozen=True)
class Design:
    """What is fixed before the run.

    primary: arm and language of the one comparison of perplexities that is not corrected; None: there is none. families:
    lists of arms that are corrected together, each arm in one of them.
    """

    baseline: str
    families: Sequence[Sequence[str]]
    primary: tuple[str, str] | None = None

    @property
    def arms(self) -> list[str]:
        """All arms, in order."""
        return [arm for family in self.families for arm in family]

    def family(self, arm: str) -> int:
        """Return the number of the family of an arm."""
        return next(i for i, family in enumerate(self.families) if arm in family)

    def is_primary(self, arm: str, number: Mapping[str, Any]) -> bool:
        """Whether this is the primary comparison."""
        return self.primary == (arm, number["language"]) and _PRIMARY.items() <= number.items()


def compare(
    design: Design, seeds: Sequence[int], scores: Sequence[dict[str, Any]], one_seed: OneSeed
) -> list[dict[str, Any]]:
    """Return a `Comparison` of every arm with the baseline on every final number, as entries of results.json.

    Arms without a common seed have no entry. With one common seed and no result of `one_seed` there is no interval.
    """
    values: dict[tuple[Any, ...], dict[tuple[str, int], dict[str, Any]]] = {}
    for score in scores:
        if score["stage"] == "pretrain":
            key = tuple(score[k] for k in NUMBER)
            values.setdefault(key, {})[score["arm"], score["seed"]] = score
    comparisons: list[dict[str, Any]] = []
    for key, by_arm in values.items():
        number, found = dict(zip(NUMBER, key, strict=True)), []
        for arm in design.arms:
            common = [s for s in seeds if _comparable(by_arm.get((arm, s)), by_arm.get((design.baseline, s)))]
            if arm == design.baseline or not common:
                continue
            pairs = [(by_arm[arm, s]["value"], by_arm[design.baseline, s]["value"]) for s in common]
            single = one_seed(arm, common[0], number) if len(common) == 1 else None
            found.append(_comparison(design, arm, number, pairs, single))
        comparisons += map(asdict, _corrected(found, design))
    return comparisons


def _comparison(
    design: Design,
    arm: str,
    number: dict[str, Any],
    pairs: Sequence[tuple[float, float]],
    single: tuple[Interval, Unit] | None,
) -> Comparison:
    """Return the comparison of an arm from its values and the baseline's, pairs by seed."""
    log = on_log_scale(number["metric"])
    ours, theirs = zip(*([tuple(map(_log, pair)) for pair in pairs] if log else pairs), strict=True)
    if single is not None:
        test, unit = Difference(*single[0], None), single[1]
    else:
        test, unit = paired_seeds(ours, theirs), "seeds"
    mean = float(np.mean(theirs))
    ratio = math.exp(np.mean(ours) - mean) if log else float(np.mean(ours) / mean) if mean else None
    return Comparison(
        arm=arm,
        baseline=design.baseline,
        **number,
        **test._asdict(),
        unit=unit,
        scale="log" if log else "linear",
        ratio=ratio,
        primary=design.is_primary(arm, number),
    )


def _log(value: float) -> float:
    """Return the logarithm; NaN of a value that has none, of an arm that diverged."""
    return math.log(value) if value > 0 else math.nan


def _comparable(ours: dict[str, Any] | None, theirs: dict[str, Any] | None) -> bool:
    return ours is not None and theirs is not None and ours["signature"] == theirs["signature"]


def _corrected(found: list[Comparison], design: Design) -> list[Comparison]:
    """Return the comparisons on one number with Holm's p, family by family."""
    adjusted: dict[int, float] = {}
    for family in range(len(design.families)):
        tested = {
            i: one.p
            for i, one in enumerate(found)
            if design.family(one.arm) == family and not one.primary and one.p is not None and math.isfinite(one.p)
        }
        adjusted |= dict(zip(tested, holm(list(tested.values())), strict=True))
    return [replace(one, p_holm=adjusted.get(i)) for i, one in enumerate(found)]
