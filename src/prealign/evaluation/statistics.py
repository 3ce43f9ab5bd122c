"""Intervals and paired tests, all at 95 % and two-sided.

Which one when:
1. A ratio of sums over documents (perplexity, bits per byte): percentile bootstrap over documents.
2. Two arms on the same documents: the same bootstrap, both arms resampled together.
3. A share of hits: Wilson's interval. Two arms on the same items: McNemar's exact test, its interval by bootstrap;
   items that come in documents count as one draw a document, as in 2.
4. Several seeds: Student's t over seeds, paired where two arms are compared.
5. Many p-values at once: Holm's step-down correction.
6. Two shares of hits on different items: the two intervals combined.

An interval that the data cannot give (one document, one seed) is None, which JSON writes as null.
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
    """Arm minus baseline, its 95 % interval, and the two-sided p-value of there being no difference."""

    difference: float
    low: float | None
    high: float | None
    p: float | None


def bootstrap_ratio(
    numerators: FloatArray, denominators: FloatArray, transform: Transform, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """Interval of transform(sum of numerators / sum of denominators), items (N,) drawn with replacement.

    Perplexity is numerators = nats, denominators = tokens, transform = exp. Denominators must be positive.
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
    transform: Transform,
    resamples: int = 10_000,
    seed: int = 0,
) -> Difference:
    """Arm minus baseline in transform(ratio of sums), the same items (N,) drawn for both arms.

    Both arms share the denominators: perplexities over different tokens do not compare. p inverts the
    interval: twice the smaller share of draws on either side of 0, counting the observed sample as a draw
    on both (Davison & Hinkley 1997, 4.2), so it is never below 2 / (1 + resamples).
    """
    columns = _columns(numerators, baseline_numerators, denominators)  # (N, 3)
    total = columns.sum(axis=0, keepdims=True)
    difference = (_ratio(total, transform, 0) - _ratio(total, transform, 1)).item()
    if len(columns) == 1:
        return Difference(difference, None, None, None)
    sums = _resampled_sums(columns, resamples, seed)  # (R, 3)
    draws = _ratio(sums, transform, 0) - _ratio(sums, transform, 1)
    low, high = np.quantile(draws, TAILS)
    rarer = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    p = min(1.0, 2 * (1 + rarer) / (1 + resamples))
    return Difference(difference, float(low), float(high), p)


def wilson(hits: float, n: int) -> Interval:
    """Wilson's (1927) score interval of a share; `hits` may be a fraction (of a tie)."""
    assert 0 <= hits <= n and n > 0, (hits, n)
    z = float(stats.norm.ppf(TAILS[1]))
    share = hits / n
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return Interval(share, max(0.0, middle - reach), min(1.0, middle + reach))


def sums_by(documents: Sequence[Hashable], values: ArrayLike) -> FloatArray:
    """Sum values (N,) of items over their documents (N): one number a document, in order of appearance."""
    places: dict[Hashable, int] = {}
    index = np.array([places.setdefault(document, len(places)) for document in documents])
    return np.bincount(index, weights=np.asarray(values, dtype=np.float64)).astype(np.float64)


def paired_items(
    correct: ArrayLike,
    baseline_correct: ArrayLike,
    documents: Sequence[Hashable] | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> Difference:
    """Accuracy of the arm minus that of the baseline, on the same items (N,).

    Items without documents: the interval is a percentile bootstrap over items, p is McNemar's (1947) in its exact
    form, the sign test on the items that only one arm gets right. With documents, items of one document are drawn
    together and p comes from the bootstrap.
    """
    ours, theirs = np.asarray(correct, dtype=np.float64), np.asarray(baseline_correct, dtype=np.float64)
    assert len(ours) == len(theirs) > 0, "both arms answer the same items"
    if documents is not None:
        own, base, sizes = (sums_by(documents, column) for column in (ours, theirs, np.ones_like(ours)))
        return paired_bootstrap(own, base, sizes, lambda share: share, resamples, seed)
    gaps = ours - theirs
    wins, losses = int((gaps > 0).sum()), int((gaps < 0).sum())
    p = float(stats.binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0
    # A gap takes few values (-1, 0, 1): a resample is how often each is drawn.
    values, counts = np.unique(gaps, return_counts=True)
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(len(gaps), counts / len(gaps), size=resamples) @ values / len(gaps)
    low, high = np.quantile(draws, TAILS)
    return Difference(float(gaps.mean()), float(low), float(high), p)


def independent_difference(one: Interval, other: Interval) -> Interval:
    """Difference of two independent estimates with the intervals of both (Zou & Donner 2008).

    With Wilson's intervals of two shares this is Newcombe's (1998) method 10.
    """
    value = one.value - other.value
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return Interval(value, None, None)
    below = sqrt((one.value - one.low) ** 2 + (other.high - other.value) ** 2)
    above = sqrt((one.high - one.value) ** 2 + (other.value - other.low) ** 2)
    return Interval(value, value - below, value + above)


def seed_interval(values: Sequence[float]) -> Interval:
    """Mean over seeds and its Student-t interval; one seed has no interval (None, None)."""
    mean = float(np.mean(values))
    if len(values) == 1:
        return Interval(mean, None, None)
    reach = float(stats.t.ppf(TAILS[1], len(values) - 1) * stats.sem(values))
    return Interval(mean, mean - reach, mean + reach)


def paired_seeds(arm: Sequence[float], baseline: Sequence[float]) -> Difference:
    """Mean of arm - baseline over paired seeds, its t interval and the paired t-test's p.

    One seed has neither interval nor p (None). Differences that are all alike have no spread to test
    against, so they have no interval, and no p unless they are 0 (p is 1).
    """
    gaps = [ours - theirs for ours, theirs in zip(arm, baseline, strict=True)]
    mean, low, high = seed_interval(gaps)
    if low is None:
        return Difference(mean, None, None, None)
    error = float(stats.sem(gaps))
    if error <= 1e-9 * max(1.0, abs(mean)):
        return Difference(mean, None, None, None if mean else 1.0)
    return Difference(mean, low, high, float(2 * stats.t.sf(abs(mean) / error, len(gaps) - 1)))


def holm(pvalues: Sequence[float]) -> list[float]:
    """Holm's (1979) adjusted p-values, in the order given: reject those below the family-wise level."""
    order = np.argsort(pvalues, kind="stable")
    factors = np.arange(len(pvalues), 0, -1)
    adjusted = np.empty(len(pvalues))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(np.asarray(pvalues)[order] * factors))
    return [float(p) for p in adjusted]


def _columns(*columns: FloatArray) -> FloatArray:
    """Columns (N,) side by side; the last one is the denominator."""
    table = np.stack([np.asarray(column, dtype=np.float64) for column in columns], axis=1)
    assert len(table) > 0 and (table[:, -1] > 0).all(), "every item needs a positive denominator"
    return table


def _ratio(sums: FloatArray, transform: Transform, column: int) -> FloatArray:
    """The statistic of `column` from sums (R, C) whose last column is the denominator."""
    return transform(sums[:, column] / sums[:, -1])  # (R,)


def _resampled_sums(columns: FloatArray, resamples: int, seed: int) -> FloatArray:
    """Column sums (R, C) of bootstrap resamples of the N rows.

    How often each row is drawn is multinomial, so a resample is one row of weights times the columns.
    """
    rng = np.random.default_rng(seed)
    n = len(columns)
    chunk = max(1, _CELLS // n)
    sums = []
    for done in range(0, resamples, chunk):
        weights = rng.multinomial(n, np.full(n, 1 / n), size=min(chunk, resamples - done))  # (chunk, N)
        sums.append(weights.astype(np.float64) @ columns)
    return np.concatenate(sums)
