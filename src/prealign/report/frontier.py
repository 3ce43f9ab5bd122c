"""The frontier of source and target perplexity: what an arm gains where the share of the target varies.

Target text is scarce, so its share, or the passes over it, moves perplexity more than most methods do, and the source pays
for it. An arm is therefore compared with the baseline at equal source perplexity.

1. A frontier is a set of sweeps (`prealign.recipe.sweeps`) over `mixture.weights.LANGUAGE` or `mixture.passes.LANGUAGE`, one
   of them of the baseline. Each arm has a curve of points (source perplexity, target perplexity), one for each value.
2. Gain at a point of an arm: its target perplexity over the baseline's at the same source perplexity, which is read off the
   baseline's curve of the same seed.
3. Data multiplier at a point: how many times the target tokens of the arm the baseline reads to get the arm's target
   perplexity, read off the baseline's curve of (target perplexity, target tokens read) of the same seed. Tokens are those
   of all stages: stage 1 reads text, too.
4. Between two points of a curve, logarithms are linear. Nothing is extrapolated: a seed whose point is beyond the ends of
   the baseline's curve is outside the measured range.
5. Gains and multipliers are ratios: averaged over seeds as logarithms.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from prealign.report.estimates import Estimate, over_seeds
from prealign.report.results import Results, select
from prealign.report.tables.sweeps import Points, measured_sweeps

_KEYS = ("mixture.weights.", "mixture.passes.")


class Reading(NamedTuple):
    """A ratio read off the baseline's curve: the estimate over the seeds inside its range, and how many are outside."""

    estimate: Estimate | None
    outside: int


class Measured(NamedTuple):
    """A point of one seed: perplexities of source and target, and the target tokens read in all stages (None: unknown)."""

    source: float
    target: float
    tokens: float | None


@dataclass(frozen=True)
class Frontier:
    """The curves of a target language over one setting.

    key: the setting. curves: arm -> its points (value of the setting, name of the variant), the baseline's first. seeds:
    variant -> seed -> what was measured.
    """

    key: str
    language: str
    baseline: str
    curves: Mapping[str, Points]
    seeds: Mapping[str, Mapping[int, Measured]]

    def gain(self, variant: str) -> Reading:
        """Return the target perplexity of a variant over the baseline's at equal source perplexity."""

        def ratio(own: Measured, base: Sequence[Measured]) -> float | None:
            found = read_off([(one.source, one.target) for one in base], own.source)
            return None if found is None else own.target / found

        return self._over_seeds(variant, ratio)

    def multiplier(self, variant: str) -> Reading:
        """Return the target tokens that the baseline reads for the variant's target perplexity, over the variant's own."""

        def ratio(own: Measured, base: Sequence[Measured]) -> float | None:
            known = [(one.target, one.tokens) for one in base if one.tokens]
            found = read_off(known, own.target) if own.tokens else None
            return None if found is None or not own.tokens else found / own.tokens

        return self._over_seeds(variant, ratio)

    def _over_seeds(self, variant: str, ratio: Callable[[Measured, Sequence[Measured]], float | None]) -> Reading:
        base = [name for _, name in self.curves[self.baseline]]
        ratios = [
            ratio(own, [self.seeds[name][seed] for name in base if seed in self.seeds[name]])
            for seed, own in self.seeds[variant].items()
        ]
        inside = [found for found in ratios if found is not None]
        return Reading(over_seeds(inside, log=True), len(ratios) - len(inside))


def read_off(curve: Sequence[tuple[float, float]], x: float) -> float | None:
    """Return y at x on a curve of points (x, y), linear in logarithms; None beyond its ends or without two points."""
    points = sorted(curve)
    if len(points) < 2 or not points[0][0] <= x <= points[-1][0]:
        return None
    xs, ys = np.log(points).T
    return math.exp(np.interp(math.log(x), xs, ys))


def frontiers(results: Results) -> list[Frontier]:
    """Return the frontiers: for each setting of a target's share, the sweeps of the baseline and of another arm or more."""
    found: dict[str, dict[str, Points]] = {}
    for sweep, points in measured_sweeps(results):
        if sweep.key.startswith(_KEYS):
            found.setdefault(sweep.key, {})[sweep.extends] = points
    made = []
    for key, curves in found.items():
        language = key.split(".", 2)[2]
        if language in results.targets and results.baseline in curves and len(curves) > 1:
            ordered = {arm: curves[arm] for arm in sorted(curves, key=lambda arm: arm != results.baseline)}
            variants = [name for points in ordered.values() for _, name in points]
            seeds = {name: _measured(results, name, language) for name in variants}
            made.append(Frontier(key, language, results.baseline, ordered, seeds))
    return made


def _measured(results: Results, variant: str, language: str) -> dict[int, Measured]:
    """Return what each seed of a variant has: both perplexities, finite."""
    rows = select(results.scores, task="lm", metric="perplexity", condition=None, stage="pretrain", arm=variant)
    rows = rows[np.isfinite(rows["value"])]
    value = {
        (tag, int(seed)): float(v) for tag, seed, v in zip(rows["language"], rows["seed"], rows["value"], strict=True)
    }
    tokens = _tokens_read(results, variant, language)
    return {
        seed: Measured(source, value[language, seed], tokens.get(seed))
        for (tag, seed), source in value.items()
        if tag == results.source and (language, seed) in value
    }


def _tokens_read(results: Results, variant: str, language: str) -> dict[int, float]:
    """Return by seed the tokens of a language that a variant has read in all stages.

    They are recorded for stage 2; the other stages read text with the shares of stage 2.
    """
    budget = select(results.budget, arm=variant)
    elsewhere = budget[~budget["stage"].isin(["pretrain", "total"])].groupby("seed")["lm_tokens"].sum()
    rows = [row for row in results.section("mixture") if (row["arm"], row["language"]) == (variant, language)]
    return {row["seed"]: row["tokens"] + row["share"] * float(elsewhere.get(row["seed"], 0)) for row in rows}
