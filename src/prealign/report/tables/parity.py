"""Tokens to parity: how much of the baseline's training an arm needs to become as good as the baseline at its end.

1. A run's validation perplexity is followed over all tokens since the start of training, stage 1 included.
2. The goal is the last validation perplexity of the baseline's run of the same seed.
3. Between the two measurements around the goal, log perplexity is taken to be linear in tokens.
4. A run that meets the goal at its first validation needs at most the tokens so far: the table shows "≤".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from pandas import Index, MultiIndex

from prealign.report.estimates import over_seeds
from prealign.report.formats import span, with_interval
from prealign.report.results import Results, select
from prealign.report.tables.table import Table, text_table

Course = Sequence[tuple[float, float]]
"""(tokens since the start of training, perplexity), in order."""


class Crossing(NamedTuple):
    """Where a course first comes down to a goal; `at_most` if that is its first measurement."""

    tokens: float
    at_most: bool = False


def crossing(course: Course, goal: float) -> Crossing | None:
    """Return where a course first comes down to the goal; None if it never does."""
    before: tuple[float, float] | None = None
    for tokens, value in course:
        if value <= goal:
            if before is None:
                return Crossing(tokens, at_most=True)
            part = math.log(before[1] / goal) / math.log(before[1] / value)
            return Crossing(before[0] + part * (tokens - before[0]))
        before = tokens, value
    return None


def _courses(results: Results, arm: str, language: str) -> dict[int, Course]:
    """Validation perplexity of each finished run of an arm, by seed."""
    column = f"validation.{language}"
    if column not in results.history:
        return {}
    points = select(results.history, arm=arm)[["seed", "tokens", column]]
    points = points[np.isfinite(points[column])].dropna().sort_values("tokens")
    return {seed: rows[["tokens", column]].to_numpy().tolist() for seed, rows in points.groupby("seed")}


def shares(results: Results, arm: str, language: str) -> list[Crossing | None]:
    """Return for each seed the share of the baseline's tokens after which the arm has reached it, None if never."""
    own, base = (_courses(results, name, language) for name in (arm, results.baseline))
    found = []
    for seed in sorted(own.keys() & base.keys()):
        total, goal = base[seed][-1]
        place = crossing(own[seed], goal)
        found.append(place and Crossing(place.tokens / total, place.at_most))
    return found


def tokens_to_parity(results: Results) -> list[Table]:
    """Return the share of the baseline's tokens that each arm needs to match it, by target language."""
    pairs = [(language, arm) for language in results.targets for arm in results.arms]
    found = {(tag, arm): own for tag, arm in pairs if (own := shares(results, arm, tag))}
    if all(arm == results.baseline for _, arm in found):
        return []
    reached = [[place for place in own if place] for own in found.values()]
    estimates = [over_seeds([place.tokens for place in own], log=True) for own in reached]
    bounds = ["≤" if any(place.at_most for place in own) else "" for own in reached]
    base = results.label(results.baseline)
    columns = {
        f"Share of {base}'s tokens": [bound + with_interval(own) for bound, own in zip(bounds, estimates, strict=True)],
        "Not reached": [f"{own.count(None)} of {len(own)}" for own in found.values()],
    }
    if len({len(own) for own in reached}) > 1:
        columns["Seeds"] = [span({len(own)}) for own in reached]
    note = [
        f"When an arm's validation perplexity first comes down to that of {base} at the end of its training, as a share of "
        f"the tokens that {base} was trained on; stage 1 counts.",
        "Geometric mean and 95 % t-interval over the seeds that reach it.",
    ]
    note += ["≤: the first validation is already below the goal, so the share is an upper bound."] * any(bounds)
    index: Index = MultiIndex.from_tuples(found, names=["language", "arm"])
    return [text_table(results, f"Tokens to parity with {base}", index, columns, note)]
