"""Statistics against scipy, against hand-worked cases, and against the coverage they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from prealign.evaluation import statistics
from prealign.evaluation.statistics import (
    bootstrap_ratio,
    holm,
    independent_difference,
    on_log_scale,
    paired_bootstrap,
    paired_items,
    paired_seeds,
    seed_interval,
    wilson,
)

Corpus = tuple[NDArray[np.float64], NDArray[np.float64]]


def corpus(rng: np.random.Generator, documents: int, nats_per_token: float = 3.0) -> Corpus:
    """Documents of unequal length and difficulty: nats and tokens."""
    tokens = rng.integers(20, 200, documents).astype(np.float64)
    return tokens * rng.normal(nats_per_token, 0.4, documents), tokens


# --- bootstrap of a ratio of sums -----------------------------------------------------------------


def test_bootstrap_agrees_with_scipy() -> None:
    nats, tokens = corpus(np.random.default_rng(1), 40)

    def perplexity(a: NDArray[np.float64], b: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        return np.exp(a.sum(axis=axis) / b.sum(axis=axis))

    theirs = stats.bootstrap(
        (nats, tokens),
        perplexity,
        paired=True,
        method="percentile",
        n_resamples=10_000,
        rng=np.random.default_rng(5),
    ).confidence_interval
    value, low, high = bootstrap_ratio(nats, tokens, np.exp)
    assert low is not None and high is not None
    assert value == pytest.approx(np.exp(nats.sum() / tokens.sum()), rel=1e-12)
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=0.04 * (theirs.high - theirs.low))


def test_bootstrap_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    covered = 0
    for draw in range(300):
        _, low, high = bootstrap_ratio(*corpus(rng, 60), np.exp, resamples=500, seed=draw)
        assert low is not None and high is not None
        covered += low <= np.exp(3.0) <= high
    assert 0.91 <= covered / 300 <= 0.985


def test_bootstrap_does_not_depend_on_how_resamples_are_chunked() -> None:
    """2,500 documents need more than one chunk of weights; each resample draws N of them."""
    nats, _ = corpus(np.random.default_rng(3), 2_500)
    assert statistics._CELLS // 2_500 < 2_000
    few = statistics._resampled_sums(np.stack([nats, np.ones(2_500)], axis=1), 1_000, seed=0)
    many = statistics._resampled_sums(np.stack([nats, np.ones(2_500)], axis=1), 2_000, seed=0)
    assert many.shape == (2_000, 2)
    np.testing.assert_allclose(many[:1_000], few, rtol=1e-12)
    np.testing.assert_array_equal(many[:, 1], 2_500)
    assert len(np.unique(many[:, 0])) == 2_000


def test_bootstrap_is_a_function_of_its_seed() -> None:
    nats, tokens = corpus(np.random.default_rng(4), 12)
    assert bootstrap_ratio(nats, tokens, np.exp, 200, seed=1) == bootstrap_ratio(nats, tokens, np.exp, 200, seed=1)
    assert bootstrap_ratio(nats, tokens, np.exp, 200, seed=1) != bootstrap_ratio(nats, tokens, np.exp, 200, seed=2)


def test_one_document_has_a_value_and_no_interval() -> None:
    one = np.array([6.0]), np.array([3.0])
    assert bootstrap_ratio(*one, np.exp) == (pytest.approx(np.exp(2.0)), None, None)
    assert paired_bootstrap(one[0], one[0] - 3, one[1]) == (1.0, None, None)


# --- paired bootstrap -----------------------------------------------------------------------------


def test_paired_bootstrap_agrees_with_scipy() -> None:
    rng = np.random.default_rng(6)
    base, tokens = corpus(rng, 30)
    arm = base - tokens * rng.normal(0.1, 0.2, 30)

    def gap(a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        """The difference of log perplexities."""
        return np.log(np.exp(a.sum(axis=axis) / c.sum(axis=axis)) / np.exp(b.sum(axis=axis) / c.sum(axis=axis)))

    theirs = stats.bootstrap(
        (arm, base, tokens), gap, paired=True, method="percentile", n_resamples=10_000, rng=np.random.default_rng(7)
    ).confidence_interval
    ours = paired_bootstrap(arm, base, tokens)
    width = theirs.high - theirs.low
    assert ours.low is not None and ours.high is not None
    assert ours.value == pytest.approx((arm.sum() - base.sum()) / tokens.sum())
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.04 * width)


def test_pairing_removes_what_documents_share() -> None:
    rng = np.random.default_rng(8)
    base, tokens = corpus(rng, 50)
    arm = base - tokens * rng.normal(0.05, 0.01, 50)
    paired = paired_bootstrap(arm, base, tokens, 1_000)
    alone = bootstrap_ratio(arm, tokens, lambda x: x, 1_000)
    assert paired.low is not None and paired.high is not None
    assert alone.low is not None and alone.high is not None
    assert paired.high < 0
    assert paired.high - paired.low < 0.2 * (alone.high - alone.low)


def test_swapping_the_arms_turns_the_sign() -> None:
    rng = np.random.default_rng(10)
    base, tokens = corpus(rng, 25)
    arm = base - tokens * rng.normal(0.05, 0.2, 25)
    one, other = paired_bootstrap(arm, base, tokens), paired_bootstrap(base, arm, tokens)
    assert one.low is not None and one.high is not None
    assert other == pytest.approx((-one.value, -one.high, -one.low))
    assert paired_bootstrap(base, base, tokens) == (0.0, 0.0, 0.0)


# --- Wilson ---------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(1, 5_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_agrees_with_scipy(case: tuple[int, int]) -> None:
    hits, n = case
    theirs = stats.binomtest(hits, n).proportion_ci(method="wilson")
    assert wilson(hits, n) == pytest.approx((hits / n, theirs.low, theirs.high), abs=1e-12)


def test_wilson_covers_the_truth_as_often_as_it_says() -> None:
    hits = np.random.default_rng(12).binomial(80, 0.15, 300)
    intervals = [wilson(int(count), 80) for count in hits]
    covered = [low <= 0.15 <= high for _, low, high in intervals if low is not None and high is not None]
    assert 0.91 <= np.mean(covered) <= 0.985


def test_wilson_takes_shared_hits_and_stays_inside_its_neighbours() -> None:
    below, between, above = np.array([wilson(3, 10), wilson(3.5, 10), wilson(4, 10)], dtype=float)
    assert (below < between).all() and (between < above).all()


# --- two arms on the same items -------------------------------------------------------------------


def test_the_difference_of_two_arms_on_the_same_items_by_hand() -> None:
    """8 items only the arm gets right, 1 only the baseline, 11 both: 7 / 20."""
    found = paired_items([1.0] * 8 + [0.0] + [1.0] * 11, [0.0] * 8 + [1.0] + [1.0] * 11)
    assert found.value == pytest.approx(7 / 20)
    assert found.low is not None and found.high is not None and found.low < 7 / 20 < found.high


def test_the_interval_over_items_is_that_of_a_bootstrap_row_by_row() -> None:
    rng = np.random.default_rng(14)
    ours, theirs = (rng.random((2, 300)) < [[0.7], [0.6]]).astype(float)
    theirs_too = stats.bootstrap((ours - theirs,), np.mean, method="percentile", rng=np.random.default_rng(15))
    found, interval = paired_items(ours.tolist(), theirs.tolist()), theirs_too.confidence_interval
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=0.006)


def test_items_of_one_document_are_drawn_together() -> None:
    """Every item ten times is no more evidence than every item once, if the copies share a document."""
    rng = np.random.default_rng(16)
    ours, theirs = (rng.random((2, 80)) < [[0.7], [0.5]]).astype(float)
    once = paired_items(ours.tolist(), theirs.tolist(), [f"d{i}" for i in range(80)])
    copied = paired_items(*(np.tile(side, 10).tolist() for side in (ours, theirs)), [f"d{i}" for i in range(80)] * 10)
    assert copied == pytest.approx(once)
    loose = paired_items(*(np.tile(side, 10).tolist() for side in (ours, theirs)))
    assert once.low is not None and once.high is not None and loose.low is not None and loose.high is not None
    assert loose.high - loose.low < 0.4 * (once.high - once.low)


# --- seeds ----------------------------------------------------------------------------------------


def test_seed_interval_agrees_with_scipy() -> None:
    values = [3.0, 4.5, 2.5, 3.7]
    theirs = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert seed_interval(values) == pytest.approx((np.mean(values), theirs.low, theirs.high))


def test_three_seeds_by_hand() -> None:
    """Mean 2, standard deviation 1, t(0.975, 2) = 4.3027: reach 4.3027 / sqrt 3."""
    assert seed_interval([1.0, 2.0, 3.0]) == pytest.approx((2.0, 2 - 2.48414, 2 + 2.48414), abs=1e-5)


def test_one_seed_has_no_interval() -> None:
    assert seed_interval([7.0]) == (7.0, None, None)
    assert paired_seeds([7.0], [5.0]) == (2.0, None, None, None)


def test_seed_interval_covers_the_truth_as_often_as_it_says() -> None:
    draws = np.random.default_rng(13).normal(5.0, 2.0, (300, 3))
    intervals = [seed_interval(list(row)) for row in draws]
    covered = [low <= 5.0 <= high for _, low, high in intervals if low is not None and high is not None]
    assert 0.91 <= np.mean(covered) <= 0.985


def test_paired_seeds_agrees_with_scipy() -> None:
    arm, baseline = [4.1, 3.8, 4.4, 4.0], [5.0, 4.1, 5.2, 5.3]
    theirs = stats.ttest_rel(arm, baseline)
    interval = theirs.confidence_interval(0.95)
    expected = (np.mean(arm) - np.mean(baseline), interval.low, interval.high, theirs.pvalue)
    assert paired_seeds(arm, baseline) == pytest.approx(expected)


def test_paired_seeds_without_spread() -> None:
    """Accuracies take few values: seeds that differ by the same items are no proof, with or without rounding."""
    assert paired_seeds([2.0, 3.0], [2.0, 3.0]) == (0.0, None, None, 1.0)
    assert paired_seeds([3.0, 4.0], [2.0, 3.0]) == (1.0, None, None, None)
    assert paired_seeds([0.5, 0.6, 0.7], [0.45, 0.55, 0.65])[1:] == (None, None, None)


@pytest.mark.parametrize(
    ("metric", "log"),
    [
        ("perplexity", True),
        ("perplexity_inside", True),
        ("language_factor", True),
        ("bits_per_byte", False),
        ("p_at_1", False),
    ],
)
def test_perplexities_are_compared_as_logarithms(metric: str, log: bool) -> None:
    assert on_log_scale(metric) is log


# --- Holm -----------------------------------------------------------------------------------------


def test_holm_by_hand() -> None:
    """Sorted .005 .01 .03 .04 times 4 3 2 1 is .02 .03 .06 .04; none may be below an earlier one."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.001, 0.5))
def test_holm_rejects_what_the_step_down_procedure_rejects(pvalues: list[float], level: float) -> None:
    """Holm's own wording: walk up the sorted p-values, stop at the first p > level / (tests left)."""
    rejected: set[int] = set()
    for step, index in enumerate(sorted(range(len(pvalues)), key=lambda i: pvalues[i])):
        if pvalues[index] * (len(pvalues) - step) > level:
            break
        rejected.add(index)
    assert {i for i, p in enumerate(holm(pvalues)) if p <= level} == rejected


# --- two shares -----------------------------------------------------------------------------------


def test_independent_difference_is_newcombes_published_example() -> None:
    """Newcombe (1998), Table II, contrast (a): 56/70 - 48/80 = 0.2, method 10 gives 0.0524 to 0.3339."""
    found = independent_difference(wilson(56, 70), wilson(48, 80))
    assert found == (pytest.approx(0.2), pytest.approx(0.0524, abs=5e-5), pytest.approx(0.3339, abs=5e-5))
    assert independent_difference(wilson(5, 10), statistics.Interval(0.25, None, None)) == (0.25, None, None)
