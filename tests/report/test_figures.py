"""Figures: what is drawn, that it is the same twice, and that labels keep out of each other's way."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree

import matplotlib
import pytest
from hypothesis import given
from hypothesis import strategies as st

import synthetic_results as synthetic
from prealign.report.figures import curves, drawing
from prealign.report.figures.drawing import Picture
from prealign.report.figures.dynamics import dynamics, moments
from prealign.report.figures.sweeps import sweep_curves
from prealign.report.page import pictures
from prealign.report.results import Results

Made = dict[str, object]


@pytest.fixture(scope="module")
def two() -> dict[str, Picture]:
    return {picture.name: picture for picture in pictures(Results(synthetic.results()))}


@pytest.fixture(scope="module")
def many() -> dict[str, Picture]:
    return {picture.name: picture for picture in pictures(Results(synthetic.results(synthetic.TWELVE, [0, 1, 2])))}


def words(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_a_figure_of_the_course_of_training_comes_before_the_alignment_picture() -> None:
    made = synthetic.whole(["joint", "prealign"], [0], coverages=False)
    assert [picture.name for picture in pictures(Results(made))][:2] == ["dynamics-en-clone", "alignment-en-clone"]


def test_the_alignment_picture_comes_first(two: dict[str, Picture]) -> None:
    assert list(two) == ["alignment-en-clone", "perplexity", "validation", "loss"]


def test_a_panel_for_each_arm_with_its_stages_named(two: dict[str, Picture]) -> None:
    found = words(two["alignment-en-clone"].svg)
    assert {"Joint training", "PreAlign", "emb", "out"} <= set(found)
    assert (found.count("at start"), found.count("after stage 1"), found.count("after stage 2")) == (2, 1, 2)


def test_many_arms_share_a_heat_map_with_dashes_for_missing_stages(many: dict[str, Picture]) -> None:
    found = words(many["alignment-en-clone"].svg)
    assert {"after stage 1, seen pairs", "after stage 1, held-out pairs"} <= set(found)
    without_stage_1 = [arm for arm in synthetic.TWELVE if arm not in synthetic.STAGE_1]
    assert found.count("–") == len(without_stage_1) * (synthetic.BLOCKS + 2) * 2


def test_an_arm_far_off_is_pointed_at_with_its_number(many: dict[str, Picture]) -> None:
    found = words(many["perplexity"].svg)
    assert any(re.fullmatch(r"2,[89]\d\d", word) for word in found)
    assert "Target text alone ↑" in words(many["validation"].svg)


def test_the_alternative_text_has_the_numbers(two: dict[str, Picture]) -> None:
    made = synthetic.results()
    for row in made["scores"]:
        if row["metric"] == "perplexity":
            assert f"{row['value']:.4g}" in two["perplexity"].alt or f"{row['value']:.2f}" in two["perplexity"].alt


def test_alternative_texts_are_short_and_say_where_more_is(many: dict[str, Picture]) -> None:
    whole = {picture.name: picture for picture in pictures(Results(synthetic.whole()))}
    texts = [picture.alt for picture in (*many.values(), *whole.values())]
    assert max(map(len, texts)) <= 300
    assert many["perplexity"].alt.endswith("The tables have more.")
    assert drawing.alt_text("A.", ["b" * 297]) == "A. " + "b" * 297
    assert drawing.alt_text("A.", ["b" * 298]) == "A. The tables have more."


def test_no_figure_without_its_data() -> None:
    made = synthetic.results(["joint"])
    names = [picture.name for picture in pictures(Results(made))]
    assert names == ["alignment-en-clone", "validation", "loss"]
    assert pictures(Results({**made, "scores": [], "history": []})) == []


def test_dynamics_put_the_baseline_beside_the_main_arm_with_the_border_of_stages() -> None:
    made = synthetic.whole()
    with drawing.style():
        (picture,) = dynamics(Results(made))
    found = words(picture.svg)
    assert [word for word in found if word in ("Joint training", "PreAlign", "PreAlign, sustained")] == [
        "Joint training", "PreAlign", "PreAlign, sustained",
    ]  # fmt: skip
    assert (found.count("stage 1"), found.count("stage 2")) == (2 * 2, 3 * 2), "two splits; joint has no stage 1"
    assert {"seen pairs", "held-out pairs", "emb", "out", "P@1"} <= set(found)
    assert "<image" not in picture.svg
    assert dynamics(Results({**made, "dynamics": []})) == dynamics(Results(synthetic.results())) == []


def test_dynamics_are_means_over_seeds_that_may_end_a_step_apart() -> None:
    made = synthetic.results(["joint"], [0, 1])
    made["dynamics"] = [
        {"arm": "joint", "seed": seed, "stage": "pretrain", "language": "en-clone", "points": [
            {"step": 1, "tokens": 8, "seen": [0.0, 0.2], "held_out": [0.0, 0.0]},
            {"step": last, "tokens": 8 * last, "seen": [high, 0.5], "held_out": [0.1, 0.1]},
        ]}
        for seed, last, high in ((0, 10, 0.4), (1, 12, 0.8))
    ]  # fmt: skip
    first, second = moments(Results(made), "joint", "en-clone")
    assert (first.step, first.layers["seen"]) == (1.0, [0.0, 0.2])
    assert (second.step, second.layers["seen"]) == (11.0, pytest.approx([0.6, 0.5]))
    assert "end of stage 2 0.55" in dynamics(Results(made))[0].alt


def test_a_sweep_is_drawn_with_the_arm_it_extends_at_its_own_value() -> None:
    made = synthetic.whole()
    with drawing.style():
        (picture,) = sweep_curves(Results(made))
    found = words(picture.svg)
    assert [word for word in found if word in ("0.25", "0.5", "0.75", "1")] == ["0.25", "0.5", "0.75", "1"] * 2
    assert picture.table is not None
    columns = dict(zip(picture.table.columns, zip(*picture.table.rows, strict=True), strict=True))
    assert columns["lexicon.coverage"] == ("–", "0.25", "0.5", "0.75", "1")
    assert columns["Arm"] == ("Joint training", "cover_25", "cover_50", "cover_75", "PreAlign")
    for arm, shown, p_at_1 in zip(
        ("joint", "cover_25", "cover_50", "cover_75", "prealign"), columns["English-Clone inside"],
        columns["P@1 seen, English-Clone"], strict=True,
    ):  # fmt: skip
        if arm == "joint":
            assert shown == "–", "words inside another lexicon are other words"
            continue
        own = [r for r in made["scores"] if r["arm"] == arm]
        inside = [r["value"] for r in own if r["metric"] == "perplexity_inside"]
        seen = [r["value"] for r in own if (r["metric"], r["stage"], r["split"]) == ("p_at_1", "pretrain", "seen")]
        assert float(shown.split()[0].replace(",", "")) == pytest.approx(sum(inside) / 3, rel=5.1e-4)
        assert float(p_at_1) == pytest.approx(sum(seen) / len(seen), abs=5.1e-4)


def test_one_variant_is_no_sweep_and_stays_in_the_tables() -> None:
    made = synthetic.whole()
    made["recipe"]["variants"] = {"cover_25": made["recipe"]["variants"]["cover_25"]}
    assert sweep_curves(Results(made)) == []
    assert "cover_25" in Results(made).arms


def test_the_same_bytes_twice_and_no_trace_in_matplotlib(two: dict[str, Picture]) -> None:
    before = dict(matplotlib.rcParams)
    again = pictures(Results(synthetic.results()))
    assert [picture.svg for picture in again] == [picture.svg for picture in two.values()]
    assert dict(matplotlib.rcParams) == before


def test_svg_ids_are_unique_over_all_figures(two: dict[str, Picture]) -> None:
    ids = [found for picture in two.values() for found in re.findall(r'\bid="([^"]+)"', picture.svg)]
    assert len(ids) == len(set(ids)) > 0


def test_svg_has_no_style_sheet_date_or_picture_of_text(two: dict[str, Picture]) -> None:
    for picture in two.values():
        assert picture.svg.startswith("<svg")
        assert not re.search("<style|<metadata|<image|DejaVu", picture.svg)


def test_an_arm_keeps_its_colour_when_others_join_behind_it() -> None:
    few, more = (
        drawing.looks(Results(synthetic.results(arms)))
        for arms in (["joint", "prealign"], ["joint", "prealign", "anchored"])
    )
    assert few["prealign"] == more["prealign"]
    everyone = drawing.looks(Results(synthetic.results(synthetic.TWELVE)))
    assert len({str(look) for look in everyone.values()}) == len(synthetic.TWELVE)


def test_stage_2_begins_where_stage_1_ended() -> None:
    made = synthetic.results()
    line = curves.curve(Results(made), "prealign", "lm_loss")
    assert [point.tokens for point in line if point.stage == "align"][-1] == 819_200
    assert next(point.tokens for point in line if point.stage == "pretrain") == 819_200 + 4_096_000 // 40
    assert line[-1].tokens == 819_200 + 4_096_000


def test_a_curve_is_the_mean_of_the_finished_seeds() -> None:
    made = synthetic.results(["joint"], [0, 1, 2])
    made["scores"] = [row for row in made["scores"] if row["seed"] != 2]
    made["history"] = [
        {"arm": "joint", "seed": seed, "stage": "pretrain", "points": [
            {"step": step, "tokens": 10 * step, "loss": value * step} for step in steps
        ]}
        for seed, value, steps in ((0, 1.0, (1, 2, 3)), (1, 3.0, (1, 2)), (2, 99.0, (1, 2, 3)))
    ]  # fmt: skip
    line = curves.curve(Results(made), "joint", "lm_loss")
    assert [(point.tokens, point.value.value, point.value.seeds) for point in line] == [
        (10.0, 2.0, 2),
        (20.0, 4.0, 2),
    ]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.01, 0.08))
def test_labels_keep_order_and_distance_inside_the_axes(values: list[float], gap: float) -> None:
    places = drawing.spread(values, gap)
    ordered = [place for _, place in sorted(zip(values, places, strict=True))]
    assert all(upper - lower >= gap - 1e-9 for lower, upper in pairwise(sorted(places)))
    assert ordered == sorted(ordered)
    assert min(places) >= -1e-9
    assert max(places) <= 1 + 1e-9


def test_labels_with_room_stay_and_a_crowd_spreads_both_ways() -> None:
    assert drawing.spread([0.9, 0.1], 0.1) == pytest.approx([0.9, 0.1])
    assert drawing.spread([0.5, 0.5, 0.5], 0.1) == pytest.approx([0.4, 0.5, 0.6])
    assert drawing.spread([0.0, 0.0], 0.1) == pytest.approx([0.0, 0.1])
