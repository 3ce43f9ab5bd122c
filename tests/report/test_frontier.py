"""The frontier: gains at equal source perplexity and data multipliers, worked by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from prealign.report.figures import drawing
from prealign.report.figures.frontier import frontier_curves
from prealign.report.frontier import frontiers, read_off
from prealign.report.results import Results
from prealign.report.tables.frontier import OUTSIDE, frontier_table

# value of mixture.passes.de -> (English, German) perplexity and German tokens read, in seed 0
JOINT = {2: (100.0, 800.0, 1000), 4: (110.0, 400.0, 2000), 8: (121.0, 100.0, 4000)}
ANCHORED = {2: (100.0, 400.0, 1000), 4: (math.sqrt(110 * 121), 150.0, 2000), 8: (130.0, 80.0, 4000)}


def row(arm: str, seed: int, language: str, value: float) -> dict[str, Any]:
    return {
        "arm": arm, "seed": seed, "task": "lm", "language": language, "metric": "perplexity", "condition": None,
        "layer": None, "value": value, "low": value * 0.98, "high": value * 1.02, "stage": "pretrain", "split": "test",
    }  # fmt: skip


def made(seeds: dict[int, float] | None = None, curves: dict[str, Any] | None = None) -> Results:
    """seeds: seed -> factor on the German perplexity of the anchored arm. The arms themselves are at 8 passes."""
    curves = {"joint": JOINT, "anchored": ANCHORED} if curves is None else curves
    content: dict[str, Any] = {"scores": [], "mixture": [], "budget": []}
    names = []
    for extends, points in curves.items():
        for passes, (english, german, tokens) in points.items():
            name = extends if passes == 8 else f"{extends}_{passes}"
            names.append((name, extends, passes))
            for seed, factor in (seeds or {0: 1.0}).items():
                own = german * (factor if extends == "anchored" else 1)
                content["scores"] += [row(name, seed, "en", english), row(name, seed, "de", own)]
                content["mixture"].append(
                    {
                        "arm": name,
                        "seed": seed,
                        "language": "de",
                        "tokens": tokens,
                        "share": tokens / 9000,
                        "passes": passes,
                    }
                )
                content["budget"].append(
                    {"arm": name, "seed": seed, "stage": "pretrain", "tokens": 9000, "lm_tokens": 9000, "steps": 90,
                     "flops": 1.0, "seconds": 1.0}
                )  # fmt: skip
    content["recipe"] = {
        "arms": [name for name, _, _ in names], "baseline": "joint", "source": {"language": "en"},
        "mixture": {"passes": {"de": 8}},
        "variants": {
            name: {"extends": extends, "set": {"mixture.passes.de": passes}}
            for name, extends, passes in names if name != extends
        },
    }  # fmt: skip
    return Results(content)


@pytest.mark.parametrize(
    ("x", "y"), [(1, 100), (10, 10), (math.sqrt(10), math.sqrt(1000)), (100, 1), (0.99, None), (100.1, None)]
)
def test_a_curve_is_linear_in_logarithms_and_ends_where_it_ends(x: float, y: float | None) -> None:
    found = read_off([(100, 1), (1, 100), (10, 10)], x)
    assert found == (None if y is None else pytest.approx(y))


def test_one_point_is_no_curve() -> None:
    assert read_off([(1, 2)], 1) is None and read_off([], 1) is None


def test_gains_are_read_off_at_equal_source_perplexity() -> None:
    """At 100, joint has 800: 400 is half. Half-way between 110 and 121 on the log scale it has 200: 150 is 0.75."""
    (frontier,) = frontiers(made())
    assert (frontier.key, frontier.language, list(frontier.curves)) == (
        "mixture.passes.de",
        "de",
        ["joint", "anchored"],
    )
    gains = [frontier.gain(name) for name in ("anchored_2", "anchored_4", "anchored")]
    assert [own.estimate and own.estimate.value for own in gains] == [pytest.approx(0.5), pytest.approx(0.75), None]
    assert [own.outside for own in gains] == [0, 0, 1], "130 is beyond the 121 of the baseline"


def test_the_data_multiplier_is_read_off_at_equal_target_perplexity() -> None:
    """400 needs 2,000 tokens of joint training, and 1,000 here. 150: log 150 is 0.7075 of the way from 400 to 100."""
    (frontier,) = frontiers(made())
    found = [frontier.multiplier(name).estimate for name in ("anchored_2", "anchored_4", "anchored")]
    part = math.log(400 / 150) / math.log(400 / 100)
    assert [own and own.value for own in found] == [pytest.approx(2), pytest.approx(2000 * 2**part / 2000), None]


def test_target_text_of_stage_1_counts_as_read() -> None:
    """Stage 1 reads 4,500 tokens at a share of 1/9: 500 more than the 1,000 of stage 2, for which joint reads 2,000."""
    content = made().content
    align = {"arm": "anchored_2", "seed": 0, "stage": "align", "tokens": 9999, "lm_tokens": 4500, "steps": 9}
    content["budget"].append({**align, "flops": 1.0, "seconds": 1.0})
    results = Results(content)
    (frontier,) = frontiers(results)
    found = frontier.multiplier("anchored_2").estimate
    assert found is not None and found.value == pytest.approx(2000 / 1500)
    table = frontier_table(results, frontier)
    assert dict(zip(table.columns, table.rows[3], strict=True))["Tokens"] == "1.50 k"


def test_seeds_are_averaged_as_logarithms_and_those_outside_are_counted() -> None:
    (frontier,) = frontiers(made({0: 1.0, 1: 0.5, 2: 0.25}))
    gain = frontier.gain("anchored_2")
    assert gain.estimate is not None and gain.estimate.seeds == 3 and gain.outside == 0
    assert gain.estimate.value == pytest.approx(0.25)
    # The standard deviation of log .5, log .25, log .125 is log 2; t(0.975, 2) = 4.3027.
    assert gain.estimate.high == pytest.approx(0.25 * math.exp(4.302653 * math.log(2) / math.sqrt(3)))
    some = frontier.multiplier("anchored_2")  # 400, 200 and 100 of German: all on the curve of joint training
    assert some.estimate is not None and some.outside == 0
    less = frontier.multiplier("anchored_4")  # 150, 75 and 37.5: the last two are below its 100
    assert less.estimate is not None and (less.estimate.seeds, less.outside) == (1, 2)


def test_the_table_and_the_picture_have_every_point() -> None:
    results = made({0: 1.0, 1: 0.9})
    (frontier,) = frontiers(results)
    table = frontier_table(results, frontier)
    assert table.columns[:6] == ("Arm", "mixture.passes.de", "Share", "Tokens", "Passes", "English perplexity")
    cells = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert [(c["Arm"], c["mixture.passes.de"]) for c in cells] == [
        (name, value) for name in ("Joint training", "Anchored vocabulary") for value in ("2", "4", "8")
    ]
    gain = "German at equal English / Joint training"
    assert [c[gain] for c in cells[:3]] == ["–"] * 3
    assert cells[3][gain].startswith("0.474 [") and cells[5][gain] == OUTSIDE
    # Seed 1 has 360: 2,000 · 2^(log(400 / 360) / log 4) is 2,108 tokens; the mean of 2 and 2.108 is geometric.
    assert cells[3]["Data multiplier"].startswith("2.05× [") and cells[3]["Updates"] == "90"
    with drawing.style():
        (picture,) = frontier_curves(results)
    assert picture.table == table and len(picture.alt) <= 300
    assert "Anchored vocabulary 0.47 at 2, 0.71 at 4." in picture.alt
    assert ">Joint training<" in picture.svg and ">Anchored vocabulary<" in picture.svg


def test_without_a_sweep_of_the_baseline_there_is_no_frontier() -> None:
    assert not frontiers(made(curves={"anchored": ANCHORED}))
    assert not frontiers(made(curves={"joint": JOINT})), "nothing to compare"
    assert not frontier_curves(made(curves={"joint": JOINT, "anchored": {8: ANCHORED[8]}}))
