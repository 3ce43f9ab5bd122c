"""Tables: every cell against a hand-worked value or against the row it came from."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

import synthetic_results as synthetic
from prealign.recipe import sweeps
from prealign.report import formats
from prealign.report.results import Results
from prealign.report.tables import budget, data, language_modelling, parity, retrieval, tasks
from prealign.report.tables.table import Table, to_markdown


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (formats.quantity(1.23e13), "12.3 T"),
        (formats.quantity(999_950), "1.00 M"),
        (formats.quantity(4_096_000), "4.10 M"),
        (formats.quantity(950), "950"),
        (formats.quantity(None), "–"),
        (formats.number(75.638), "75.64"),
        (formats.number(-0.12), "−0.120"),
        (formats.number(1234.4), "1,234"),
        (formats.number(12345.6), "12,350"),
        (formats.number(0.79449), "0.794"),
        (formats.number(0.99951), "1.000"),
        (formats.number(99.996), "100.0"),
        (formats.number(0.0), "0.000"),
        (formats.number(float("nan")), "–"),
        (formats.duration(35.24), "35.2 s"),
        (formats.duration(59.97), "1 min 00 s"),
        (formats.duration(155), "2 min 35 s"),
        (formats.duration(3599.7), "1 h 00 min"),
        (formats.duration(3900), "1 h 05 min"),
        (formats.p_value(0.0004), "<0.001"),
        (formats.p_value(0.0317), "0.032"),
        (formats.p_value(None), "–"),
        (formats.interval(None, 2.0), ""),
    ],
)
def test_numbers_as_text(made: str, text: str) -> None:
    assert made == text


@given(st.floats(min_value=1e-2, max_value=1e8))
def test_a_number_is_off_by_no_more_than_its_rounding(value: float) -> None:
    shown = float(formats.number(value).replace(",", ""))
    assert shown == pytest.approx(value, rel=5.1e-4, abs=5.1e-4)


def one_seed() -> dict[str, object]:
    made = synthetic.results(["joint", "prealign"])
    for row in made["scores"]:
        if (row["arm"], row["language"], row["metric"]) == ("prealign", "en-clone", "perplexity"):
            row |= {"value": 331.26, "low": 320.0, "high": 342.5}
    made["comparisons"] = [
        {
            "arm": "prealign", "baseline": "joint", "task": "lm", "language": "en-clone",
            "metric": "perplexity", "difference": math.log(0.8), "low": math.log(0.75), "high": math.log(0.86),
            "p": 0.0123, "unit": "seeds", "scale": "log", "primary": False, "ratio": 0.8,
        }
    ]  # fmt: skip
    return made


def test_language_modelling_row() -> None:
    (table,) = language_modelling.language_modelling(Results(one_seed()))
    cells = dict(zip(table.columns, table.rows[1], strict=True))
    assert cells["Language"] == "English-Clone"
    assert cells["Arm"] == "PreAlign"
    assert cells["Perplexity"] == "331.3 [320.0, 342.5]"
    assert (cells["Ratio to Joint training"], cells["p"]) == ("0.800 [0.750, 0.860]", "0.012")
    assert (cells["Updates"], cells["LM tokens"]) == ("2.40 k", "4.61 M")
    assert table.rows[0][4] == "–"
    assert "interval over documents" in table.note
    assert "Gap closed" not in table.columns


def test_every_perplexity_in_the_table_is_a_mean_of_the_file() -> None:
    made = synthetic.results(synthetic.TWELVE, [0, 1, 2])
    (table,) = language_modelling.language_modelling(Results(made))
    wanted = []
    for language in ("en-clone", "en"):
        for arm in synthetic.TWELVE:
            rows = [
                r for r in made["scores"] if (r["arm"], r["language"], r["metric"]) == (arm, language, "perplexity")
            ]
            wanted.append(math.exp(sum(math.log(row["value"]) for row in rows) / 3))
    shown = [float(row[2].split(" ")[0].replace(",", "")) for row in table.rows]
    assert shown == pytest.approx(wanted, rel=5.1e-4)
    assert "over 3 seeds" in table.note


def test_gap_closed_is_a_column_once_both_bounds_are_there() -> None:
    (table,) = language_modelling.language_modelling(
        Results(synthetic.results(["joint", "prealign", "merged_ids"], [0, 1]))
    )
    gaps = {row[1]: row[table.columns.index("Gap closed")] for row in table.rows if row[0] == "English-Clone"}
    assert gaps["Joint training"].startswith("0.000")
    assert gaps["Merged ids (upper bound)"].startswith("1.000")


def test_seeds_are_a_column_only_when_arms_differ() -> None:
    made = synthetic.results(["joint", "prealign"], [0, 1, 2])
    assert "Seeds" not in language_modelling.language_modelling(Results(made))[0].columns
    made["scores"] = [row for row in made["scores"] if (row["arm"], row["seed"]) != ("prealign", 2)]
    (table,) = language_modelling.language_modelling(Results(made))
    assert [row[table.columns.index("Seeds")] for row in table.rows] == ["3", "2", "3", "2"]
    assert "over 2 to 3 seeds" in table.note


def test_retrieval_has_a_row_for_each_arm_and_stage_and_a_column_for_each_layer() -> None:
    made = synthetic.results()
    (table,) = retrieval.retrieval(Results(made))
    assert table.columns == ("Arm", "Stage", "emb", "1", "2", "3", "4", "out", "Chance")
    assert [row[:2] for row in table.rows] == [
        ("Joint training", "at start"), ("Joint training", "after stage 2"),
        ("PreAlign", "at start"), ("PreAlign", "after stage 1"), ("PreAlign", "after stage 2"),
    ]  # fmt: skip
    values = {
        row["split"]: row["value"]
        for row in synthetic.matching(made["scores"], arm="prealign", metric="p_at_1", stage="align", layer=3)
    }
    assert table.rows[3][5] == f"{values['seen']:.2f}/{values['held_out']:.2f}"
    assert table.rows[3][-1] == "0.001/0.0033"


def test_retrieval_by_subwords_is_a_mean_over_layers_and_seeds() -> None:
    rows = [
        {"arm": arm, "seed": seed, "task": "retrieval", "language": "en-clone", "metric": "p_at_1_forward", "layer": layer,
         "condition": condition, "split": split, "stage": stage, "value": value + 0.1 * layer + 0.04 * seed, "n": n}
        for arm, value in (("joint", 0.0), ("prealign", 0.5)) for seed in (0, 1) for layer in (0, 1)
        for condition, n in (("subwords=1", 30 + 2 * seed), ("subwords=3+", 12), (None, 42))
        for split in ("seen", "held_out") for stage in ("align", "pretrain")
        if (split, condition) != ("held_out", "subwords=3+")
    ]  # fmt: skip
    (table,) = retrieval.retrieval_by_subwords(Results({"recipe": {"arms": ["joint", "prealign"]}, "scores": rows}))
    assert table.columns == ("Arm", "1 subword", "3+ subwords")
    assert table.rows == (("Joint training", "0.07/0.07", "0.07/–"), ("PreAlign", "0.57/0.57", "0.57/–"))
    assert "31 of 1, 12 of 3+" in table.note


def test_the_last_layer_is_the_output_embedding_only_where_it_is_known_to_be() -> None:
    made = synthetic.results()
    made["recipe"]["model"] = {"preset": None, "pretrained": "some/model", "tie_embeddings": False}
    assert retrieval.retrieval(Results(made))[0].columns[-2] == "5"
    made["recipe"]["model"] = {"preset": "nano", "tie_embeddings": True}
    assert retrieval.retrieval(Results(made))[0].columns[-2] == "5"


def test_budget_adds_stages_and_compares_totals() -> None:
    (table,) = budget.budget(Results(synthetic.results()))
    assert table.rows == (
        ("Joint training", "2 · pretrain", "2,800", "5.73 M", "5.73 M", "20.6 T", "2 min 38 s", ""),
        ("Joint training", "total", "2,800", "5.73 M", "5.73 M", "20.6 T", "2 min 38 s", "1.00×"),
        ("PreAlign", "1 · align", "400", "819 k", "512 k", "5.90 T", "48.2 s", ""),
        ("PreAlign", "2 · pretrain", "2,000", "4.10 M", "4.10 M", "14.7 T", "1 min 54 s", ""),
        # 5.9 + 14.72 = 20.62 T, 48.2 + 113.9 = 162.1 s, 819,200 + 4,096,000 = 4,915,200
        ("PreAlign", "total", "2,400", "4.92 M", "4.61 M", "20.6 T", "2 min 42 s", "1.00×"),
    )


def test_a_budget_over_unequal_seeds_says_so() -> None:
    made = synthetic.results(["joint", "prealign"], [0, 1])
    made["budget"] = [
        row for row in made["budget"] if (row["seed"], row["stage"], row["arm"]) != (1, "pretrain", "prealign")
    ]
    (table,) = budget.budget(Results(made))
    assert (table.columns[-1], [row[-1] for row in table.rows]) == ("Seeds", ["2", "2", "2", "1", "1"])


def test_switching_shows_expected_beside_realised() -> None:
    made = synthetic.results()
    made["switching"][0] |= {
        "ratio": 0.1,
        "coverage": 0.8,
        "expected": 0.08,
        "realised": 0.076,
        "switched_words": 123_456,
    }
    (table,) = budget.switching(Results(made))
    cells = dict(zip(table.columns, table.rows[0], strict=True))
    assert (cells["Expected"], cells["Realised"], cells["Realised / expected"]) == (
        "8.00 %",
        "7.60 %",
        "0.95×",
    )
    assert (cells["Mode"], cells["Switched words"]) == ("input-only", "123 k")


def test_corpus_and_lexicon() -> None:
    made = synthetic.results()
    assert data.corpus(made)[0].rows[0] == ("English", "train", "8,300", "10,790,000", "44,820,000")
    assert data.lexicon(made)[0].rows == (("English-Clone", "6,120", "306", "93.80 %"),)


def test_the_tokenizer_takes_tokens_for_words_and_bytes() -> None:
    held_out = {"en": {"bytes": 50, "tokens": 15, "words": 10}, "zh": {"bytes": 30, "tokens": 20}}
    (table,) = data.tokenizer({"tokenizer": {"new_tokens": 0, "held_out": held_out}})
    assert table.columns == ("Language", "Tokens a word", "Bytes a token")
    assert table.rows == (("English", "1.500", "3.333"), ("Chinese", "–", "1.500"))
    for counts, before in zip(held_out.values(), (15, 30), strict=True):
        counts["base_tokens"] = before
    rows = [{"arm": arm, "seed": 0, "translations": 7, "pieces": 3} for arm in ("joint", "prealign")]
    (table,) = data.tokenizer({"tokenizer": {"new_tokens": 10, "held_out": held_out}, "new_rows": rows})
    assert table.columns[1:] == ("Tokens a word", "Tokens a word, before", "Bytes a token", "Bytes a token, before")
    assert table.rows == (("English", "1.500", "1.500", "3.333", "3.333"), ("Chinese", "–", "–", "1.500", "1.000"))
    assert "10 tokens are new." in table.note and "translations (7 tokens)" in table.note and "(3; means" in table.note


def test_what_the_file_does_not_have_gives_no_table() -> None:
    empty = {"schema": 2, "name": "t", "recipe": {}, "scores": []}
    makers = (
        language_modelling.language_modelling,
        retrieval.retrieval,
        language_modelling.inside_outside,
        tasks.transfer,
        tasks.knowledge,
        parity.tokens_to_parity,
        budget.budget,
        budget.switching,
    )
    assert [make(Results(empty)) for make in makers] == [[]] * 8
    assert [make(empty) for make in (data.corpus, data.tokenizer, data.lexicon)] == [[]] * 3


# --- transfer, knowledge, tokens to parity ------------------------------------------------------------------


def score(arm: str, seed: int, task: str, language: str, metric: str, condition: str | None, value: float):
    return {"arm": arm, "seed": seed, "stage": "pretrain", "task": task, "language": language, "metric": metric,
            "condition": condition, "value": value, "low": value - 0.1, "high": value + 0.1, "chance": 0.25}  # fmt: skip


def test_transfer_by_hand() -> None:
    """Gap closed, seed by seed: 1 - 0.1/0.2 = 0.5 and 1 - 0.1/0.4 = 0.75; their mean is 0.625, not 1 - 0.2/0.6."""
    values = {
        ("joint", 0): (0.8, 0.6), ("joint", 1): (0.9, 0.5), ("prealign", 0): (0.8, 0.7), ("prealign", 1): (0.9, 0.8),
        ("anchored", 0): (0.8, 0.4),
    }  # fmt: skip
    rows = []
    for (arm, seed), (source, target) in values.items():
        rows += [score(arm, seed, "transfer", "en", "accuracy", "era", source)]
        rows += [score(arm, seed, "transfer", "en-clone", "accuracy", "era", target)]
        rows += [score(arm, seed, "transfer", "en-clone", "transfer_gap", "era", source - target)]
    made = {"recipe": {"arms": ["joint", "prealign", "anchored"]}, "scores": rows}
    made["comparisons"] = [{
        "arm": "prealign", "baseline": "joint", "task": "transfer", "language": "en-clone", "metric": "accuracy",
        "condition": condition, "difference": difference, "low": 0.01, "high": 0.39, "p": 0.04, "p_holm": 0.08,
        "unit": "seeds", "scale": "linear", "primary": False,
    } for condition, difference in (("xnli", 0.9), ("era", 0.2))]  # fmt: skip
    (table,) = tasks.transfer(Results(made))
    cells = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    assert table.title == "Zero-shot transfer, era"
    assert [cells[arm]["English-Clone"].split()[0] for arm in ("Joint training", "PreAlign")] == ["0.550", "0.750"]
    assert cells["PreAlign"]["Gap"].split()[0] == "0.100"
    assert cells["PreAlign"]["Gap closed"].split()[0] == "0.625"
    assert cells["Joint training"]["Gap closed"].split()[0] == "0.000"
    assert cells["Anchored vocabulary"]["Gap closed"] == "−1.000"
    assert cells["PreAlign"]["Difference to Joint training"] == "0.200 [0.010, 0.390]"
    assert (cells["PreAlign"]["p"], cells["PreAlign"]["Holm p"]) == ("0.040", "0.080")
    assert [row[-1] for row in table.rows] == ["2", "2", "1"] and table.columns[-1] == "Seeds"
    assert "chance 0.25" in table.note


def test_no_share_of_a_gap_that_the_baseline_does_not_have() -> None:
    rows = [
        score(arm, 0, "transfer", "de", "transfer_gap", "xnli", gap) for arm, gap in (("joint", 0.0), ("prealign", 0.1))
    ]
    assert tasks.gap_share(Results({"recipe": {}, "scores": rows}), "prealign", "de", "xnli") is None


def test_transfer_shows_mixed_pairs_after_the_languages_and_a_table_for_each_task() -> None:
    made = synthetic.whole()
    made["scores"] += [{**r, "condition": "xnli"} for r in made["scores"] if r["task"] == "transfer"]
    era, xnli = tasks.transfer(Results(made))
    assert era.columns[1:5] == ("English", "English-Clone", "English > English-Clone", "English-Clone > English")
    assert (era.title, xnli.title) == ("Zero-shot transfer, era", "Zero-shot transfer, xnli")
    assert [row[:7] for row in era.rows] == [row[:7] for row in xnli.rows], "the same numbers under another name"
    assert "p" not in xnli.columns, "the comparisons are of the other task"


def test_transfer_tells_what_was_left_out_and_cut() -> None:
    made = synthetic.whole()
    without = tasks.transfer(Results(made))
    rows = {
        "joint": (3, {"train": 0, "en": 1, "en-clone": 0}),
        "prealign": (3, {"train": 0, "en": 1204, "en-clone": 2}),
    }
    made["transfer"] = [
        {"arm": arm, "seed": 0, "task": "era", "train_examples": 9, "tested": tested, "truncated": cut}
        for arm, (tested, cut) in rows.items()
    ]
    made["transfer"].append({"arm": "joint", "seed": 1, "task": "era", "truncated": rows["joint"][1]})  # an older run
    (table,) = tasks.transfer(Results(made))
    assert table.note == without[0].note + (
        " Training examples left out because a test set has them: 3. Truncated examples: 1 to 1,204 of the test in English, "
        "0 to 2 of the test in English-Clone."
    )
    made["transfer"] = [row | {"tested": 0, "truncated": {"train": 0}} for row in made["transfer"]]
    assert tasks.transfer(Results(made)) == without


def test_knowledge_by_names_with_k_in_order_and_the_difference_at_the_largest() -> None:
    made = synthetic.whole()
    lexicon, outside = tasks.knowledge(Results(made))
    assert (lexicon.title, outside.title) == ("Knowledge, names: lexicon", "Knowledge, names: outside")
    assert lexicon.columns[:8] == ("Arm", "Asked in", "k=1", "k=4", "k=16", "k=64", "control", "two hop")
    assert "chance 0.1." in lexicon.note and "Differences are at k=64." in lexicon.note
    for table, names in ((lexicon, "lexicon"), (outside, "outside")):
        for row in table.rows:
            arm = next(arm for arm in made["recipe"]["arms"] if Results(made).label(arm) == row[0])
            language = {"English": "en", "English-Clone": "en-clone"}[row[1]]
            for cell, taught in zip(row[2:8], ("k=1", "k=4", "k=16", "k=64", "control", "two_hop"), strict=True):
                found = synthetic.matching(
                    made["scores"], arm=arm, language=language, condition=f"{taught}|names={names}"
                )
                assert float(cell.split()[0]) == pytest.approx(sum(r["value"] for r in found) / 3, abs=5.1e-4)
    assert [row[8] for row in lexicon.rows[:3]] == ["–", "–", "0.125 [0.025, 0.225]"]


def test_a_crossing_is_interpolated_in_log_perplexity() -> None:
    """400 to 100 over 10 tokens: 200 is half-way on the log scale."""
    assert parity.crossing([(10, 400.0), (20, 100.0)], 200.0) == (pytest.approx(15.0), False)
    assert parity.crossing([(10, 400.0), (20, 100.0), (30, 300.0), (40, 90.0)], 100.0) == (20, False)
    assert parity.crossing([(10, 80.0)], 100.0) == (10, True), "at most: it was not measured before"
    assert parity.crossing([(10, 400.0), (20, 101.0)], 100.0) is None


def test_tokens_to_parity_count_stage_1_and_the_seeds_that_never_get_there() -> None:
    def run(arm: str, seed: int, stage: str, *course: tuple[int, float]):
        points = [{"step": i, "tokens": t, "validation": {"en-clone": v}} for i, (t, v) in enumerate(course)]
        return {"arm": arm, "seed": seed, "stage": stage, "points": points}

    arms = ["joint", "prealign", "merged_ids"]
    made = {"recipe": {"arms": arms, "seeds": [0, 1, 2]}}
    made["scores"] = [score(arm, s, "lm", "en-clone", "perplexity", None, 9.0) for arm in arms for s in range(3)]
    made["budget"] = [{"arm": "prealign", "seed": s, "stage": "align", "tokens": 20} for s in range(3)]
    made["history"] = [run("joint", s, "pretrain", (50, 400.0), (100, 200.0)) for s in range(3)]
    made["history"] += [run("prealign", s, "align", (20, 900.0)) for s in range(3)]
    made["history"] += [
        run("prealign", 0, "pretrain", (30, 400.0), (50, 100.0)),  # 20 + 40 of 100 tokens
        run("prealign", 1, "pretrain", (20, 200.0), (80, 100.0)),  # 20 + 20
        run("prealign", 2, "pretrain", (40, 400.0), (80, 201.0)),  # never
    ]
    made["history"] += [
        run("merged_ids", s, "pretrain", (25, 150.0), (100, 90.0)) for s in range(3)
    ]  # before the first
    assert parity.shares(Results(made), "prealign", "en-clone") == [
        (pytest.approx(0.6), False),
        (pytest.approx(0.4), False),
        None,
    ]
    (table,) = parity.tokens_to_parity(Results(made))
    # On the log scale: the mean of log .6 and log .4 is log .49, and t(0.975, 1) = 12.706 times half their distance.
    reach = math.exp(12.7062 * math.log(0.6 / 0.4) / 2)
    low, high = math.sqrt(0.24) / reach, math.sqrt(0.24) * reach
    assert table.rows == (
        ("English-Clone", "Joint training", "1.000 [1.000, 1.000]", "0 of 3", "3"),
        ("English-Clone", "PreAlign", f"0.490 [{low:.3f}, {high:.3f}]", "1 of 3", "2"),
        ("English-Clone", "Merged ids (upper bound)", "≤0.250 [0.250, 0.250]", "0 of 3", "3"),
    )
    assert "upper bound" in table.note
    made["scores"] = [row for row in made["scores"] if row["arm"] == "joint"]
    assert parity.tokens_to_parity(Results(made)) == [], "unfinished runs do not count"


def test_words_inside_and_outside_the_lexicon() -> None:
    made = synthetic.whole(["joint", "prealign"], [0], coverages=False)
    value = {
        r["metric"]: r["value"]
        for r in synthetic.matching(made["scores"], arm="prealign", task="lm", language="en-clone")
    }
    made["comparisons"].append({
        "arm": "prealign", "baseline": "joint", "task": "lm", "language": "en-clone", "metric": "perplexity_outside",
        "difference": math.log(0.75), "low": None, "high": None, "p": None, "ratio": 0.75, "scale": "log",
    })  # fmt: skip
    (table,) = language_modelling.inside_outside(Results(made))
    assert [row[1] for row in table.rows] == ["Joint training", "PreAlign"]
    shown = dict(zip(table.columns, table.rows[1], strict=True))
    for name in ("Inside", "Outside"):
        assert shown[name].startswith(formats.number(value[f"perplexity_{name.lower()}"]))
    assert (shown["Inside / Joint training"], shown["Outside / Joint training"]) == ("–", "0.750")


def test_holm_is_a_column_where_the_file_has_it() -> None:
    made = one_seed()
    assert "Holm p" not in language_modelling.language_modelling(Results(made))[0].columns
    made["comparisons"][0]["p_holm"] = 0.0246
    (table,) = language_modelling.language_modelling(Results(made))
    assert dict(zip(table.columns, table.rows[1], strict=True))["Holm p"] == "0.025"
    assert "Holm" in table.note
    made["comparisons"][0]["primary"] = True
    (table,) = language_modelling.language_modelling(Results(made))
    assert dict(zip(table.columns, table.rows[1], strict=True))["Holm p"] == "primary"


def test_the_language_specific_gain_by_hand() -> None:
    """Seed 0: German 0.8, English 1.0; seed 1: 0.9 and 1.2. Ratios 0.8 and 0.75; the mean is geometric."""
    values = {("joint", 0): (100, 50), ("prealign", 0): (80, 50), ("joint", 1): (200, 40), ("prealign", 1): (180, 48)}
    rows = [
        score(arm, seed, "lm", language, "perplexity", None, value)
        for (arm, seed), pair in values.items()
        for language, value in zip(("de", "en"), pair, strict=True)
    ]
    results = Results({"recipe": {"arms": ["joint", "prealign"]}, "scores": rows})
    found = results.specific_gain("prealign", "de")
    assert found is not None and found.value == pytest.approx(math.sqrt(0.8 * 0.75)) and found.seeds == 2
    assert results.specific_gain("prealign", "en") is None and results.specific_gain("joint", "de") is None
    (table,) = language_modelling.language_modelling(results)
    cells = {row[1]: row[table.columns.index("Specific gain")] for row in table.rows if row[0] == "German"}
    assert cells["Joint training"] == "–" and cells["PreAlign"].startswith("0.775 [")


def test_no_interval_of_a_perplexity_is_below_0() -> None:
    rows = [score("joint", seed, "lm", "de", "perplexity", None, value) for seed, value in enumerate((10.0, 1000.0))]
    found = Results({"recipe": {"arms": ["joint"]}, "scores": rows}).perplexity("joint", "de")
    assert found is not None and found.low is not None and found.high is not None
    assert found.value == pytest.approx(100) and 0 < found.low < found.value
    assert found.value / found.low == pytest.approx(found.high / found.value)


def test_points_of_a_sweep_are_in_no_main_table() -> None:
    made = synthetic.whole()
    for make in (
        language_modelling.language_modelling,
        language_modelling.inside_outside,
        tasks.transfer,
        tasks.knowledge,
        budget.budget,
    ):
        assert all("cover" not in str(table.rows) for table in make(Results(made)))
    made["scores"] = [row for row in made["scores"] if row["arm"] == "joint" or "cover" in row["arm"]]
    made["budget"] = []
    assert Results(made).arms == ["joint", "cover_25", "cover_50", "cover_75"], "or no method would be left"


def test_numbers_that_arms_train_by() -> None:
    recipe = {"switch": {"ratio": 0.05}, "sustain": {"weight": 0.0}, "variants": {
        "a": {"extends": "prealign_no_cs", "set": {"align.steps": 7}}, "b": {"extends": "a", "set": {"switch.ratio": 0.3}},
    }}  # fmt: skip
    wanted = {
        ("prealign", "switch.ratio"): 0.05,
        ("a", "switch.ratio"): 0.0,
        ("b", "switch.ratio"): 0.3,
        ("b", "align.steps"): 7,
        ("prealign_sustained", "sustain.weight"): 0.1,
        ("joint", "no.such"): None,
    }
    assert {pair: sweeps.setting(recipe, *pair) for pair in wanted} == wanted
    recipe["sustain"]["weight"] = 0.4
    assert [sweeps.setting(recipe, arm, "sustain.weight") for arm in ("prealign", "prealign_sustained")] == [0.0, 0.4]


def test_markdown_escapes_and_leaves_repeated_names_out() -> None:
    table = Table("T", ("A", "B", "C"), (("x", "1|2", "<b>"), ("x", "y", "3")), "Note.", labels=2)
    assert to_markdown(table) == ("| A | B | C |\n| :-- | :-- | --: |\n| x | 1\\|2 | &lt;b> |\n|  | y | 3 |\n\nNote.\n")


def test_rows_of_all_tables_are_as_wide_as_their_heads() -> None:
    made = synthetic.results(synthetic.TWELVE, [0, 1])
    makers = (language_modelling.language_modelling, retrieval.retrieval, budget.budget, budget.switching)
    for table in [*(table for make in makers for table in make(Results(made))), *data.corpus(made)]:
        assert {len(row) for row in table.rows} == {len(table.columns)}
        assert not re.search("nan|None", str(table.rows))
