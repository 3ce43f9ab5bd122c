"""Figures: what is drawn, that it is the same twice, and that labels keep out of each other's way."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree

import matplotlib
import pytest
import synthetic
from hypothesis import given
from hypothesis import strategies as st

from prealign.report import curves, drawing, figures

Made = dict[str, object]


@pytest.fixture(scope="module")
def two() -> dict[str, figures.Picture]:
    return {picture.name: picture for picture in figures.pictures(synthetic.results())}


@pytest.fixture(scope="module")
def many() -> dict[str, figures.Picture]:
    return {picture.name: picture for picture in figures.pictures(synthetic.results(synthetic.TWELVE, [0, 1, 2]))}


def words(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_the_alignment_picture_comes_first(two: dict[str, figures.Picture]) -> None:
    assert list(two) == ["alignment-en-clone", "perplexity", "validation", "loss"]


def test_a_panel_for_each_arm_with_its_stages_named(two: dict[str, figures.Picture]) -> None:
    found = words(two["alignment-en-clone"].svg)
    assert {"Joint training", "PreAlign", "emb", "out"} <= set(found)
    assert (found.count("at start"), found.count("after stage 1"), found.count("after stage 2")) == (2, 1, 2)


def test_many_arms_share_a_heat_map_with_dashes_for_missing_stages(many: dict[str, figures.Picture]) -> None:
    found = words(many["alignment-en-clone"].svg)
    assert {"after stage 1, seen pairs", "after stage 1, held-out pairs"} <= set(found)
    without_stage_1 = [arm for arm in synthetic.TWELVE if arm not in synthetic.STAGE_1]
    assert found.count("–") == len(without_stage_1) * (synthetic.BLOCKS + 2) * 2


def test_an_arm_far_off_is_pointed_at_with_its_number(many: dict[str, figures.Picture]) -> None:
    found = words(many["perplexity"].svg)
    assert any(re.fullmatch(r"2,[89]\d\d", word) for word in found)
    assert "Target only (lower bound) ↑" in words(many["validation"].svg)


def test_the_alternative_text_has_the_numbers(two: dict[str, figures.Picture]) -> None:
    made = synthetic.results()
    for row in made["scores"]:
        if row["metric"] == "perplexity":
            assert f"{row['value']:.4g}" in two["perplexity"].alt or f"{row['value']:.2f}" in two["perplexity"].alt


def test_no_figure_without_its_data() -> None:
    made = synthetic.results(["joint"])
    names = [picture.name for picture in figures.pictures(made)]
    assert names == ["alignment-en-clone", "validation", "loss"]
    assert figures.pictures({**made, "scores": [], "history": []}) == []


def test_switch_rates_are_drawn_only_where_they_differ() -> None:
    made = synthetic.results(["joint", "prealign", "prealign_sustained"])
    assert not figures.switch_rates(made)
    made["switching"][1]["expected"] = 0.2
    (picture,) = figures.switch_rates(made)
    assert "PreAlign, sustained: expected 20.00 %" in picture.alt


def test_the_same_bytes_twice_and_no_trace_in_matplotlib(two: dict[str, figures.Picture]) -> None:
    before = dict(matplotlib.rcParams)
    again = figures.pictures(synthetic.results())
    assert [picture.svg for picture in again] == [picture.svg for picture in two.values()]
    assert dict(matplotlib.rcParams) == before


def test_svg_ids_are_unique_over_all_figures(two: dict[str, figures.Picture]) -> None:
    ids = [found for picture in two.values() for found in re.findall(r'\bid="([^"]+)"', picture.svg)]
    assert len(ids) == len(set(ids)) > 0


def test_svg_has_no_style_sheet_date_or_picture_of_text(two: dict[str, figures.Picture]) -> None:
    for picture in two.values():
        assert picture.svg.startswith("<svg")
        assert not re.search("<style|<metadata|<image|DejaVu", picture.svg)


def test_an_arm_keeps_its_colour_when_others_join_behind_it() -> None:
    few, more = (
        drawing.looks(synthetic.results(arms)) for arms in (["joint", "prealign"], ["joint", "prealign", "anchored"])
    )
    assert few["prealign"] == more["prealign"]
    everyone = drawing.looks(synthetic.results(synthetic.TWELVE))
    assert len({(look.colour, str(look.dash)) for look in everyone.values()}) == len(synthetic.TWELVE)


def test_stage_2_begins_where_stage_1_ended() -> None:
    made = synthetic.results()
    line = curves.course(made, "prealign", lambda point, _: point.get("lm_loss"))
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
    line = curves.course(made, "joint", lambda point, _: point.get("loss"))
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
