"""Comparisons: logarithms of perplexities, the primary comparison, and families that are fixed before the run."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from prealign.evaluation.comparisons import Design, compare
from prealign.evaluation.statistics import Interval

SEEDS = [0, 1, 2]
VALUES = {
    "joint": [100.0, 110.0, 90.0], "prealign": [80.0, 85.0, 70.0], "anchored": [99.0, 112.0, 91.0],
    "sustained": [50.0, 60.0, 44.0], "later": [98.0, 107.0, 89.0],
}  # fmt: skip


def scores(metric: str = "perplexity", language: str = "de", **values: list[float]) -> list[dict[str, Any]]:
    return [
        {"arm": arm, "seed": seed, "task": "lm", "language": language, "metric": metric, "condition": None, "layer": None,
         "stage": "pretrain", "split": "test", "value": value, "signature": "x"}
        for arm, own in (values or VALUES).items() for seed, value in zip(SEEDS, own, strict=False)
    ]  # fmt: skip


def compared(design: Design, rows: list[dict[str, Any]], one_seed: Any = None) -> dict[str, dict[str, Any]]:
    return {row["arm"]: row for row in compare(design, SEEDS, rows, one_seed or (lambda *_: None))}


FIRST = ["joint", "prealign", "anchored", "sustained"]


def test_perplexities_are_compared_as_logarithms() -> None:
    found = compared(Design("joint", [FIRST]), scores())["sustained"]
    own, base = np.log(VALUES["sustained"]), np.log(VALUES["joint"])
    theirs = stats.ttest_rel(own, base)
    assert (found["scale"], found["unit"]) == ("log", "seeds")
    assert found["difference"] == pytest.approx(np.mean(own - base)) and found["p"] == pytest.approx(theirs.pvalue)
    assert found["ratio"] == pytest.approx((50 * 60 * 44 / (100 * 110 * 90)) ** (1 / 3))
    interval = theirs.confidence_interval()
    assert (found["low"], found["high"]) == pytest.approx((interval.low, interval.high))


def test_other_numbers_are_compared_as_they_are() -> None:
    found = compared(Design("joint", [FIRST]), scores("bits_per_byte"))["prealign"]
    assert found["scale"] == "linear" and found["difference"] == pytest.approx(-65 / 3)
    assert found["ratio"] == pytest.approx(235 / 300)


def test_the_primary_comparison_is_not_corrected_and_takes_no_place_in_its_family() -> None:
    plain = compared(Design("joint", [FIRST]), scores())
    found = compared(Design("joint", [FIRST], ("prealign", "de")), scores())
    assert found["prealign"]["primary"] and found["prealign"]["p_holm"] is None
    p = {arm: own["p"] for arm, own in found.items()}
    assert p == {arm: own["p"] for arm, own in plain.items()}
    assert p["sustained"] < p["anchored"]
    assert found["sustained"]["p_holm"] == pytest.approx(2 * p["sustained"])  # of two, not of three
    assert found["anchored"]["p_holm"] == pytest.approx(max(p["anchored"], 2 * p["sustained"]))
    for other in (scores("bits_per_byte"), scores(language="en")):
        rows = compared(Design("joint", [FIRST], ("prealign", "de")), other)
        assert not any(row["primary"] for row in rows.values()) and rows["prealign"]["p_holm"] is not None


def test_an_arm_of_another_family_changes_no_p() -> None:
    before = compared(Design("joint", [FIRST], ("prealign", "de")), scores())
    after = compared(Design("joint", [FIRST, ["later"]], ("prealign", "de")), scores())
    assert {arm: after[arm] for arm in before} == before
    assert after["later"]["p_holm"] == after["later"]["p"]
    together = compared(Design("joint", [[*FIRST, "later"]], ("prealign", "de")), scores())
    assert together["sustained"]["p_holm"] > after["sustained"]["p_holm"]


def test_one_seed_has_an_interval_of_its_items_and_no_p() -> None:
    rows = scores(joint=[100.0], prealign=[80.0])
    found = compared(Design("joint", [FIRST]), rows, lambda *_: (Interval(math.log(0.8), -0.3, -0.1), "documents"))
    own = found["prealign"]
    assert (own["difference"], own["low"], own["high"], own["p"]) == (math.log(0.8), -0.3, -0.1, None)
    assert own["p_holm"] is None and own["ratio"] == pytest.approx(0.8) and own["unit"] == "documents"


def test_a_diverged_arm_is_no_part_of_the_family() -> None:
    rows = scores(**{**VALUES, "anchored": [math.nan, 99.0, 98.0]})
    found = compared(Design("joint", [FIRST], ("prealign", "de")), rows)
    assert math.isnan(found["anchored"]["difference"]) and found["anchored"]["p_holm"] is None
    assert found["sustained"]["p_holm"] == found["sustained"]["p"]
