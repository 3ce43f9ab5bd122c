"""Confidence intervals at 95 %, and two-sided paired tests over seeds.

1. A ratio of sums over documents (perplexity, bits per byte): percentile bootstrap over documents.
2. Two arms of one seed on the same documents: the same bootstrap, with both arms resampled together. It has no p-value: it
   says nothing about other seeds, and two runs that differ by rounding alone differ by several per cent.
3. A share of hits: Wilson's interval. Two arms of one seed on the same items: an interval by bootstrap. Items that share a
   document or a premise are drawn together.
4. Several seeds: Student's t over seeds, paired where two arms are compared.
5. Several p-values: Holm's step-down correction.
6. Two shares of hits on different items: the combination of their intervals.

An interval that the data do not determine (one document, one seed) is None, null in JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from math import sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

FloatArray = NDArray[np.float64]
Transform = Callable[[FloatArray], FloatArray]

TAILS = (0.025, 0.975)
_CELLS = 2**22
"""Resampling weights held in memory at once (32 MB)."""


class Interval(NamedTuple):
    """A value and its 95 % interval."""

    value: float
    low: float | None
    high: float | None


class Difference(NamedTuple):
    """Arm minus baseline, its 95 % interval, and the two-sided p-value of no difference."""

    difference: float
    low: float | None
    high: float | None
    p: float | None


def bootstrap_ratio(
    numerators: FloatArray, denominators: FloatArray, transform: Transform, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """Return transform(sum of numerators / sum of denominators) and its interval, items (N,) drawn with replacement.

    For perplexity: numerators = nats, denominators = tokens, transform = exp. Denominators must be positive.
    """
    columns = _columns(numerators, denominators)  # (N, 2)
    value = _ratio(columns.sum(axis=0, keepdims=True), transform, 0).item()
    if len(columns) == 1:
        return Interval(value, None, None)
    draws = _ratio(_resampled_sums(columns, resamples, seed), transform, 0)
    low, high = np.quantile(draws, TAILS)
    return Interval(value, float(low), float(high))


def paired_bootstrap(
    numerators: FloatArray,
    baseline_numerators: FloatArray,
    denominators: FloatArray,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Return arm minus baseline of a ratio of sums, and its interval, the same items (N,) drawn for both arms.

    Both arms share the denominators: perplexities over different tokens are not comparable. For nats over tokens this is
    the difference of log perplexities.
    """
    columns = _columns(numerators, baseline_numerators, denominators)  # (N, 3)
    total = columns.sum(axis=0, keepdims=True)
    difference = (_ratio(total, _same, 0) - _ratio(total, _same, 1)).item()
    if len(columns) == 1:
        return Interval(difference, None, None)
    sums = _resampled_sums(columns, resamples, seed)  # (R, 3)
    low, high = np.quantile(_ratio(sums, _same, 0) - _ratio(sums, _same, 1), TAILS)
    return Interval(difference, float(low), float(high))


def _same(ratio: FloatArray) -> FloatArray:
    return ratio


def wilson(hits: float, n: int) -> Interval:
    """Return Wilson's (1927) score interval of a share; `hits` may be a fraction, of ties."""
    assert 0 <= hits <= n and n > 0, (hits, n)
    z = float(stats.norm.ppf(TAILS[1]))
    share = hits / n
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return Interval(share, max(0.0, middle - reach), min(1.0, middle + reach))


def sums_by(documents: Sequence[Hashable], values: ArrayLike) -> FloatArray:
    """Return the sums of the items' values (N,) over each of their documents (N), in order of appearance."""
    places: dict[Hashable, int] = {}
    index = np.array([places.setdefault(document, len(places)) for document in documents])
    return np.bincount(index, weights=np.asarray(values, dtype=np.float64)).astype(np.float64)


def paired_items(
    correct: ArrayLike,
    baseline_correct: ArrayLike,
    documents: Sequence[Hashable] | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Return the accuracy of the arm minus that of the baseline, on the same items (N,), and a bootstrap interval.

    documents: of each item; items of one document are drawn together. None: items are independent.
    """
    ours, theirs = np.asarray(correct, dtype=np.float64), np.asarray(baseline_correct, dtype=np.float64)
    assert len(ours) == len(theirs) > 0, "both arms answer the same items"
    if documents is not None:
        own, base, sizes = (sums_by(documents, column) for column in (ours, theirs, np.ones_like(ours)))
        return paired_bootstrap(own, base, sizes, resamples, seed)
    gaps = ours - theirs
    # A gap has few values (-1, 0, 1): a resample is the number of draws of each.
    values, counts = np.unique(gaps, return_counts=True)
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(len(gaps), counts / len(gaps), size=resamples) @ values / len(gaps)
    low, high = np.quantile(draws, TAILS)
    return Interval(float(gaps.mean()), float(low), float(high))


def independent_difference(one: Interval, other: Interval) -> Interval:
    """Return the difference of two independent estimates, with an interval from both intervals (Zou & Donner 2008).

    For Wilson's intervals of two shares this is Newcombe's (1998) method 10.
    """
    value = one.value - other.value
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return Interval(value, None, None)
    below = sqrt((one.value - one.low) ** 2 + (other.high - other.value) ** 2)
    above = sqrt((one.high - one.value) ** 2 + (other.value - other.low) ** 2)
    return Interval(value, value - below, value + above)


def seed_interval(values: Sequence[float]) -> Interval:
    """Return the mean over seeds and its Student-t interval; one seed has no interval (None, None)."""
    mean = float(np.mean(values))
    if len(values) == 1:
        return Interval(mean, None, None)
    reach = float(stats.t.ppf(TAILS[1], len(values) - 1) * stats.sem(values))
    return Interval(mean, mean - reach, mean + reach)


def paired_seeds(arm: Sequence[float], baseline: Sequence[float]) -> Difference:
    """Return the mean of arm - baseline over paired seeds, its t interval and the p-value of the paired t-test.

    One seed has neither interval nor p (None). Equal differences have no variance to test against: they have no interval,
    and no p unless they are 0 (p is 1).
    """
    gaps = [ours - theirs for ours, theirs in zip(arm, baseline, strict=True)]
    mean, low, high = seed_interval(gaps)
    if low is None:
        return Difference(mean, None, None, None)
    error = float(stats.sem(gaps))
    if error <= 1e-9 * max(1.0, abs(mean)):
        return Difference(mean, None, None, None if mean else 1.0)
    return Difference(mean, low, high, float(2 * stats.t.sf(abs(mean) / error, len(gaps) - 1)))


def on_log_scale(metric: str) -> bool:
    """Whether means, intervals and differences of a metric are those of its logarithm: perplexities and their factors."""
    return metric.startswith("perplexity") or metric == "language_factor"


def holm(pvalues: Sequence[float]) -> list[float]:
    """Return Holm's (1979) adjusted p-values in the order given: reject those below the family-wise level."""
    order = np.argsort(pvalues, kind="stable")
    factors = np.arange(len(pvalues), 0, -1)
    adjusted = np.empty(len(pvalues))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(np.asarray(pvalues)[order] * factors))
    return [float(p) for p in adjusted]


def _columns(*columns: FloatArray) -> FloatArray:
    """Return columns (N,) side by side; the last one is the denominator."""
    table = np.stack([np.asarray(column, dtype=np.float64) for column in columns], axis=1)
    assert len(table) > 0 and (table[:, -1] > 0).all(), "every item needs a positive denominator"
    return table


def _ratio(sums: FloatArray, transform: Transform, column: int) -> FloatArray:
    """Return the statistic of `column` (R,) from sums (R, C) whose last column is the denominator."""
    return transform(sums[:, column] / sums[:, -1])  # (R,)


def _resampled_sums(columns: FloatArray, resamples: int, seed: int) -> FloatArray:
    """Return the column sums (R, C) of bootstrap resamples of the N rows.

    The numbers of draws of the rows are multinomial: a resample is one row of weights times the columns.
    """
    rng = np.random.default_rng(seed)
    n = len(columns)
    chunk = max(1, _CELLS // n)
    sums = []
    for done in range(0, resamples, chunk):
        weights = rng.multinomial(n, np.full(n, 1 / n), size=min(chunk, resamples - done))  # (chunk, N)
        sums.append(weights.astype(np.float64) @ columns)
    return np.concatenate(sums)
