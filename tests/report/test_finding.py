"""The finding follows the numbers: better, worse, unclear, untested."""

from __future__ import annotations

import math
from typing import Any

import pytest

import synthetic_results as synthetic
from prealign.report.finding import Finding
from prealign.report.finding import finding as finding_of
from prealign.report.results import Results


def finding(made: dict[str, Any]) -> Finding:
    return finding_of(Results(made))


def with_difference(
    language: str, low: float | None, high: float | None, made: dict[str, Any] | None = None
) -> dict[str, Any]:
    made = made or synthetic.results(["joint", "prealign"], [0, 1, 2])
    for row in made["comparisons"]:
        if row["language"] == language:
            row |= {"low": low, "high": high}
    return made


def test_a_gain_is_told_with_its_size_and_its_cost() -> None:
    made = synthetic.results(seeds=[0, 1, 2])
    values = {"joint": 400.0, "prealign": 300.0}
    for row in made["scores"]:
        if (row["language"], row["metric"]) == ("en-clone", "perplexity"):
            row["value"] = values[row["arm"]]
    for row in made["comparisons"]:
        if row["language"] == "en-clone":
            row |= {
                "difference": math.log(0.75),
                "low": math.log(0.7),
                "high": math.log(0.8),
                "ratio": 0.75,
                "p": 0.002,
            }
        else:
            row |= {"p": 0.013, "p_holm": 0.039}
    found = finding(made)
    assert found.verdict == "better"
    assert found.headline.startswith(
        "PreAlign lowers English-Clone perplexity by 25.0 % (400.0 → 300.0) "
        "against Joint training at 1.00× its training FLOPs; "
    )
    assert "English shows no clear change" in found.headline
    said = "English-Clone: ratio 0.750 [0.700, 0.800], the primary comparison, p = 0.002, paired over seeds."
    assert said in found.details
    (english,) = (line for line in found.details if line.startswith("English: "))
    assert english.endswith(", Holm p = 0.039, paired over seeds.")
    assert any(line.startswith("English-Clone: language-specific gain 0.7") for line in found.details)


def test_harm_is_called_harm() -> None:
    found = finding(synthetic.results(["joint", "prealign"], [0, 1, 2], effect=-1.0))
    assert found.verdict == "worse"
    assert "does not help: it raises English-Clone perplexity" in found.headline
    assert "lowers" not in found.headline


def test_an_interval_with_zero_in_it_is_no_gain() -> None:
    found = finding(with_difference("en-clone", -0.9, 0.1))
    assert found.verdict == "unclear"
    assert "no clear difference to English-Clone perplexity" in found.headline


@pytest.mark.parametrize(("p", "says"), [(0.049, "English pays for it"), (0.05, "English shows no clear change")])
def test_a_comparison_that_is_not_primary_counts_by_its_corrected_p(p: float, says: str) -> None:
    made = with_difference("en", 0.5, 2.0)
    for row in made["comparisons"]:
        row |= {"p_holm": p} if row["language"] == "en" else {}
    assert says in finding(made).headline


def test_a_price_paid_in_the_source_is_in_the_headline() -> None:
    assert "English pays for it" in finding(with_difference("en", 0.5, 2.0)).headline


def test_nothing_is_claimed_without_an_interval() -> None:
    found = finding(with_difference("en-clone", None, None))
    assert found.verdict == "untested"
    assert "no interval to test it" in found.headline


@pytest.mark.parametrize("arms", [["joint"], ["prealign"], ["joint", "merged_ids"]])
def test_no_pair_to_compare_is_said(arms: list[str]) -> None:
    found = finding(synthetic.results(arms))
    assert found.verdict == "untested"
    assert found.headline.startswith("There is no pair")


def test_without_language_modelling_there_is_no_finding() -> None:
    made = synthetic.results()
    made["scores"] = [row for row in made["scores"] if row["task"] != "lm"]
    assert "no finding on perplexity" in finding(made).headline


def test_the_best_method_is_named_when_it_is_another() -> None:
    found = finding(synthetic.results(["joint", "prealign", "prealign_sustained", "merged_ids"], [0, 1]))
    assert any(
        line.startswith("Lowest English-Clone perplexity of the 3 methods: PreAlign, sustained")
        for line in found.details
    )
    assert found.headline.startswith("PreAlign lowers")


def test_the_best_method_is_named_with_the_gap_it_closes() -> None:
    made = synthetic.whole()
    (line,) = [line for line in finding(made).details if line.startswith("Lowest")]
    value = {
        (r["arm"], r["seed"]): math.log(r["value"])
        for r in made["scores"]
        if (r["language"], r["metric"]) == ("en-clone", "perplexity")
    }
    gap = [
        (value["joint", s] - value["prealign_sustained", s]) / (value["joint", s] - value["merged_ids", s])
        for s in range(3)
    ]
    assert "of the 3 methods: PreAlign, sustained" in line
    assert f"it closes {sum(gap) / 3:.3f} [" in line and line.endswith("] of the gap.")


@pytest.mark.parametrize(
    ("low", "high", "says"),
    [(0.025, 0.225, "better"), (-0.3, -0.1, "worse"), (-0.1, 0.2, "no clear difference"), (None, None, "not tested")],
)
def test_transfer_and_knowledge_have_a_line_each(low: float | None, high: float | None, says: str) -> None:
    made = synthetic.whole()
    for row in made["comparisons"]:
        if row["task"] != "lm":
            row |= {"low": low, "high": high}
    lines = [line for line in finding(made).details if line.startswith(("Zero-shot", "Knowledge"))]
    assert [line.split(":")[0] for line in lines[:1]] == ["Zero-shot transfer, era, English-Clone"]
    assert [line.split(", English")[0] for line in lines[1:]] == [
        "Knowledge at k=64 (names: lexicon)", "Knowledge at k=64 (names: outside)",
    ]  # fmt: skip
    assert all(says in line and "accuracy 0." in line for line in lines)
    assert not any("not on this page" in line for line in finding(made).details)


def test_limits_are_told() -> None:
    made = synthetic.results(["joint", "prealign"], [0, 1, 2])
    assert not any("One seed" in line for line in finding(made).details)
    made["scores"] = [row for row in made["scores"] if (row["arm"], row["seed"]) != ("prealign", 2)]
    made["scores"].append({**made["scores"][0], "task": "summaries", "metric": "accuracy"})
    text = " ".join(finding(made).details)
    assert "PreAlign (seed 2)" in text
    assert "summaries (1 scores)" in text


def test_one_seed_tests_nothing_and_ends_with_the_command_that_adds_two() -> None:
    made = synthetic.results()
    made["command"] = "prealign run recipes/demo.yaml 'seeds=[0]' --force"
    found = finding(made)
    assert found.verdict == "untested"
    assert "PreAlign has English-Clone perplexity" in found.headline
    assert "% lower in one seed (4" in found.headline and found.headline.count("in one seed") == 2
    assert "English-Clone: ratio 0.8" in found.details[0] and "one seed, interval over documents" in found.details[0]
    # 158.4 + 48.2 + 113.9 = 320.5 s, twice
    assert found.details[-1] == (
        "One seed: intervals are over test items, and another seed may give another result. "
        "`prealign run recipes/demo.yaml 'seeds=[0,1,2]'` adds two, 10 min 41 s of training here."
    )
    made["command"] = "prealign merge a b"
    assert finding(made).details[-1].endswith("another seed may give another result.")


def test_two_targets_both_get_their_clause() -> None:
    made, other = synthetic.results(), synthetic.results(language="de")
    for section in ("scores", "comparisons"):
        made[section] += [row for row in other[section] if row["language"] == "de"]
    headline = finding(made).headline
    assert "English-Clone perplexity" in headline
    assert "German perplexity" in headline
