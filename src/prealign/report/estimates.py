"""Means over seeds with 95 % intervals, cell by cell of a table of scores.

1. Rows that agree in all but the seed are one cell; values that are not finite are left out (a diverged run).
2. Several seeds: mean and Student's t-interval. One seed: its value and its interval over test items.
3. Perplexities and other ratios (`log`): mean and interval of the logarithms, so the mean is geometric and no interval is
   negative.
4. Values derived from several arms are computed seed by seed, then averaged in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from pandas import DataFrame, Series, isna

from prealign.evaluation.statistics import on_log_scale, seed_interval


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its 95 % t-interval, or one seed's value with its interval over items."""

    value: float
    low: float | None
    high: float | None
    seeds: int


def estimate(rows: DataFrame, *, log: bool = False) -> Estimate | None:
    """Return the estimate of one cell, rows with `value`, `low` and `high`; None without a finite value."""
    usable = rows[np.isfinite(rows["value"])]
    if len(usable) == 1:
        row = usable.iloc[0]
        low, high = (None if isna(row[end]) else float(row[end]) for end in ("low", "high"))
        return Estimate(float(row["value"]), low, high, 1)
    return over_seeds(list(usable["value"]), log=log)


def estimates(rows: DataFrame, *by: str) -> Series:
    """Return the `Estimate` (or None) of each cell, indexed and sorted by the columns `by`.

    Perplexities (column `metric`, if there is one) are averaged on the log scale.
    """
    groups = rows.groupby(list(by), observed=True, dropna=False)
    cells = [
        estimate(cell, log="metric" in cell and all(map(on_log_scale, cell["metric"].unique()))) for _, cell in groups
    ]
    return Series(cells, index=groups.size().index, dtype=object)


def over_seeds(values: Sequence[float], *, log: bool = False) -> Estimate | None:
    """Return mean and 95 % t-interval of one value a seed; a single value has no interval.

    log: of the logarithms of positive values.
    """
    if not values:
        return None
    if not log:
        return Estimate(*seed_interval(values), len(values))
    mean, low, high = (None if end is None else math.exp(end) for end in seed_interval([*map(math.log, values)]))
    assert mean is not None
    return Estimate(mean, low, high, len(values))


def by_seed(
    rows: DataFrame, arms: Sequence[str], combine: Callable[..., float | None], *, log: bool = False
) -> Estimate | None:
    """Return the mean over seeds of combine(value of each arm), seeds paired. log: on the log scale.

    None if no seed has a finite value of every arm, or if `combine` returns None for some seed.
    """
    values = rows[np.isfinite(rows["value"])].pivot(index="seed", columns="arm", values="value")
    if not set(arms) <= set(values.columns):
        return None
    combined = [combine(*cells) for cells in values[list(arms)].dropna().to_numpy().tolist()]
    return None if None in combined else over_seeds(combined, log=log)  # type: ignore[arg-type]


Cells: TypeAlias = DataFrame | Series | Iterable[Estimate | None]


def known(cells: Cells) -> list[Estimate]:
    """Return the estimates among cells, without None and NaN."""
    flat = cells.to_numpy().ravel() if isinstance(cells, (DataFrame, Series)) else cells
    return [cell for cell in flat if isinstance(cell, Estimate)]
