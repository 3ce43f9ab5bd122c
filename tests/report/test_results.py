"""Reading and asking results.json: hand-worked numbers, and messages for files that are not one."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from pandas import DataFrame

import synthetic_results as synthetic
from prealign.errors import PrealignError, ResultsError
from prealign.recipe.arms import ARMS
from prealign.report.estimates import Estimate, estimate, estimates
from prealign.report.results import Results, language_label, select
from prealign.report.results_file import read_results


def score(arm: str, seed: int, value: float | None, language: str = "en-clone", **more: object) -> dict[str, object]:
    return {
        "arm": arm, "seed": seed, "task": "lm", "language": language, "metric": "perplexity", "value": value,
        "low": 1.0, "high": 9.0, "stage": "pretrain", **more,
    }  # fmt: skip


def small(*scores: dict[str, object], **sections: object) -> dict[str, object]:
    return {"schema": 2, "name": "t", "recipe": {"arms": [], "seeds": []}, "scores": list(scores), **sections}


def scores(*rows: dict[str, object]) -> DataFrame:
    return Results(small(*rows)).scores


def test_a_written_file_reads_back_unchanged(tmp_path: Path) -> None:
    made = synthetic.results()
    (tmp_path / "results.json").write_text(json.dumps(made), encoding="utf-8")
    assert read_results(tmp_path / "results.json") == made


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read"),
        (b'{"schema": 2,\n oops}', "results.json:2: not JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[]", "a list"),
        (b'{"schema": 7}', "`schema` is 7"),
        (b'{"schema": 2, "name": "x", "scores": []}', "`recipe` is missing"),
        (
            b'{"schema": 2, "name": "x", "recipe": {}, "scores": [{"arm": "joint"}]}',
            "scores[0]: `seed` is missing",
        ),
        (b'{"schema": 2, "name": "x", "recipe": {}, "scores": {}}', "`scores` is not a list"),
    ],
)
def test_a_file_that_is_none_is_refused_with_its_name(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "results.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PrealignError) as caught:
        read_results(path)
    assert str(path) in str(caught.value)
    assert says in str(caught.value)


def test_the_same_score_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(small(score("joint", 0, 2.0), score("joint", 0, 3.0))), encoding="utf-8")
    with pytest.raises(PrealignError, match="2 scores for"):
        read_results(path)


def test_three_seeds_give_the_t_interval_of_their_mean() -> None:
    found = estimate(scores(*(score("joint", seed, value) for seed, value in enumerate((1.0, 2.0, 3.0)))))
    assert found is not None
    assert (found.value, found.seeds) == (2.0, 3)
    # t(0.975, 2) = 4.302653 and the standard error is 1 / sqrt(3)
    assert found.high - found.value == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)


def test_one_seed_keeps_its_interval_over_items() -> None:
    assert estimate(scores(score("joint", 0, 5.0))) == Estimate(5.0, 1.0, 9.0, 1)


@pytest.mark.parametrize("bad", [None, math.nan, math.inf])
def test_a_diverged_seed_leaves_the_mean_and_is_told(bad: float | None) -> None:
    rows = [score("joint", 0, 4.0), score("joint", 1, 6.0), score("joint", 2, bad)]
    found = estimate(scores(*rows))
    assert found is not None
    assert (found.value, found.seeds) == (5.0, 2)
    assert Results(small(*rows)).unfinished_runs == [("joint", 2)]
    assert estimate(scores(rows[2])) is None


def test_a_planned_run_without_scores_is_unfinished() -> None:
    made = small(score("joint", 0, 4.0))
    made["recipe"] = {"arms": ["joint", "prealign"], "seeds": [0]}
    assert Results(made).unfinished_runs == [("prealign", 0)]


def test_select_treats_an_absent_key_as_none() -> None:
    rows = DataFrame([{"a": 1}, {"a": 1, "b": 2}, {"a": 3, "b": 2}])
    assert list(select(rows, a=1, b=None).index) == [0]
    assert list(select(rows, a=[1, 3], b=2).index) == [1, 2]


def test_cells_come_in_the_order_of_the_recipe_and_diverged_ones_stay() -> None:
    made = small(score("b", 0, 1.0), score("a", 0, math.nan), score("a", 0, 4.0, "en"))
    made["recipe"] = {"arms": ["b", "a"]}
    found = estimates(Results(made).scores, "language", "arm")
    assert list(found.index) == [("en-clone", "b"), ("en-clone", "a"), ("en", "a")]
    assert [cell and cell.value for cell in found] == [1.0, None, 4.0]


def test_half_the_log_gap_closed() -> None:
    # log 400 - log 200 is half of log 400 - log 100, for any scale of the seed
    rows = [
        score(arm, seed, value * scale)
        for seed, scale in ((0, 1.0), (1, 3.0))
        for arm, value in (("joint", 400.0), ("prealign", 200.0), ("merged_ids", 100.0))
    ]
    values = {arm: Results(small(*rows)).gap_closed(arm, "en-clone") for arm in ("joint", "prealign", "merged_ids")}
    assert {arm: found and round(found.value, 12) for arm, found in values.items()} == {
        "joint": 0.0, "prealign": 0.5, "merged_ids": 1.0,
    }  # fmt: skip
    assert values["prealign"] is not None
    assert values["prealign"].seeds == 2


def test_no_gap_without_a_bound_or_with_one_that_is_no_better() -> None:
    bounds = [score("joint", 0, 100.0), score("prealign", 0, 90.0)]
    assert Results(small(*bounds)).gap_closed("prealign", "en-clone") is None
    assert Results(small(*bounds, score("merged_ids", 0, 100.0))).gap_closed("prealign", "en-clone") is None


def test_a_seed_that_stopped_after_stage_1_does_not_lower_the_mean_budget() -> None:
    rows = [
        {"arm": "prealign", "seed": seed, "stage": stage, "flops": flops}
        for seed, stage, flops in ((0, "align", 2.0), (0, "pretrain", 6.0), (1, "align", 2.0))
    ]
    rows.append({"arm": "joint", "seed": 0, "stage": "pretrain", "flops": 4.0})
    made = small(budget=rows)
    total = select(Results(made).budget, arm="prealign", stage="total")
    assert list(total["flops"]) == [8.0], "of seed 0 alone"
    assert Results(made).budget_ratio("prealign") == 2.0


def test_arms_keep_the_recipes_order_and_no_run_is_lost() -> None:
    made = small(score("late", 0, 1.0), score("prealign", 0, 1.0), score("joint", 0, 1.0))
    made["recipe"] = {"arms": ["joint", "prealign", "never_ran"]}
    assert Results(made).arms == ["joint", "prealign", "late"]


def test_every_named_arm_has_a_label_of_its_own() -> None:
    labels = {arm: Results(small()).label(arm) for arm in ARMS}
    assert len(set(labels.values())) == len(ARMS)
    assert [arm for arm, label in labels.items() if arm == label] == []


def test_a_variant_is_described_by_what_it_changes() -> None:
    made = small()
    made["recipe"] = {"variants": {"loud": {"extends": "prealign", "set": {"switch.ratio": 0.5}}}}
    assert Results(made).description("loud") == "PreAlign with switch.ratio = 0.5"
    assert Results(made).description("joint") == ARMS["joint"].description


def test_what_the_file_says_of_an_arm_goes_before_what_this_version_knows() -> None:
    about = {"label": "PreAlign!", "description": "aligned first", "citation": "Li et al. 2024", "phases": []}
    made = Results(small(arms={"prealign": about}))
    assert (made.label("prealign"), made.description("prealign")) == ("PreAlign!", "aligned first")
    assert (made.citation("prealign"), made.citation("joint")) == ("Li et al. 2024", "")
    assert made.label("joint") == "Joint training"


def test_the_main_arm_is_not_the_best_but_the_one_asked_about() -> None:
    assert Results(synthetic.results(["joint", "prealign_sustained", "prealign"])).main_arm == "prealign"
    assert Results(synthetic.results(["merged_ids", "joint", "anchored"])).main_arm == "anchored"
    assert Results(synthetic.results(["joint", "merged_ids"])).main_arm is None


def test_targets_come_before_the_source_and_have_names() -> None:
    assert Results(synthetic.results()).languages == ["en-clone", "en"]
    assert [language_label(tag) for tag in ("en-clone", "de", "xx")] == ["English-Clone", "German", "xx"]


WRONG: list[tuple[tuple[str | int, ...], object]] = [
    (("name",), 5),
    (("recipe",), []),
    (("recipe", "arms"), "joint"),
    (("recipe", "seeds"), ["0"]),
    (("environment",), "cpu"),
    (("arms",), ["joint"]),
    (("scores", 0, "arm"), None),
    (("scores", 0, "seed"), "0"),
    (("scores", 0, "value"), "12.5"),
    (("scores", 0, "layer"), 1.5),
    (("budget", 0, "flops"), None),
    (("history", 0, "points"), {}),
    (("history", 0, "points", 0), None),
    (("history", 0, "points", 0, "validation"), [1.0]),
    (("corpus",), {"en": {"train": 3}}),
    (("lexicon",), {"reading": [{"target": 3}]}),
    (("tokenizer",), {"held_out": {"en": {"bytes": "x"}}}),
    (("tests",), {"dictionaries": [{"dropped": []}]}),
    (("parts",), [{"environment": None}]),
]


@pytest.mark.parametrize(("place", "value"), WRONG, ids=lambda part: str(part)[:40])
def test_a_value_of_another_type_is_named_with_its_place(
    tmp_path: Path, place: tuple[str | int, ...], value: object
) -> None:
    content: Any = json.loads(json.dumps(synthetic.whole()))
    inside: Any = content
    for part in place[:-1]:
        inside = inside[part]
    inside[place[-1]] = value
    (tmp_path / "results.json").write_text(json.dumps(content))
    shown = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)[1:]
    with pytest.raises(ResultsError, match=r"results\.json: not a results\.json of schema") as error:
        read_results(tmp_path / "results.json")
    assert shown.split("[")[0].split(".")[0] in str(error.value)


def test_what_prealign_writes_has_the_types_of_the_schema(tmp_path: Path) -> None:
    for path in sorted((Path(__file__).parents[2] / "docs" / "results").glob("*/results.json")):
        assert path.parent.name == "performance" or read_results(path)["scores"] is not None
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(ResultsError, match=r"deep\.json"):
        read_results(tmp_path / "deep.json")
