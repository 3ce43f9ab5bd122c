"""Tables: every cell against a hand-worked value or against the row it came from."""

from __future__ import annotations

import re

import pytest
import synthetic
from hypothesis import given
from hypothesis import strategies as st

from prealign.report import formats, tables
from prealign.report import results as ask
from prealign.report.tables import Table


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
            "metric": "perplexity", "difference": -81.5, "low": -95.0, "high": -60.25, "p": 0.0123,
            "unit": "documents", "ratio": 0.8025,
        }
    ]  # fmt: skip
    return made


def test_language_modelling_row() -> None:
    (table,) = tables.language_modelling(one_seed())
    cells = dict(zip(table.columns, table.rows[1], strict=True))
    assert cells["Language"] == "English-Clone"
    assert cells["Arm"] == "PreAlign"
    assert cells["Perplexity"] == "331.3 [320.0, 342.5]"
    assert cells["Difference to Joint training"] == "−81.50 [−95.00, −60.25]"
    assert (cells["Ratio"], cells["p"]) == ("0.80×", "0.012")
    assert table.rows[0][4] == "–"
    assert "interval over documents" in table.note
    assert "Gap closed" not in table.columns


def test_every_perplexity_in_the_table_is_a_mean_of_the_file() -> None:
    made = synthetic.results(synthetic.TWELVE, [0, 1, 2])
    (table,) = tables.language_modelling(made)
    wanted = []
    for language in ("en-clone", "en"):
        for arm in synthetic.TWELVE:
            rows = [
                r for r in made["scores"] if (r["arm"], r["language"], r["metric"]) == (arm, language, "perplexity")
            ]
            wanted.append(sum(row["value"] for row in rows) / 3)
    shown = [float(row[2].split(" ")[0].replace(",", "")) for row in table.rows]
    assert shown == pytest.approx(wanted, rel=5.1e-4)
    assert "over 3 seeds" in table.note


def test_gap_closed_is_a_column_once_both_bounds_are_there() -> None:
    (table,) = tables.language_modelling(synthetic.results(["joint", "prealign", "merged_ids"], [0, 1]))
    gaps = {row[1]: row[table.columns.index("Gap closed")] for row in table.rows if row[0] == "English-Clone"}
    assert gaps["Joint training"].startswith("0.000")
    assert gaps["Merged ids (upper bound)"].startswith("1.000")


def test_seeds_are_a_column_only_when_arms_differ() -> None:
    made = synthetic.results(["joint", "prealign"], [0, 1, 2])
    assert "Seeds" not in tables.language_modelling(made)[0].columns
    made["scores"] = [row for row in made["scores"] if (row["arm"], row["seed"]) != ("prealign", 2)]
    (table,) = tables.language_modelling(made)
    assert [row[table.columns.index("Seeds")] for row in table.rows] == ["3", "2", "3", "2"]
    assert "over 2 to 3 seeds" in table.note


def test_retrieval_has_a_row_for_each_arm_and_stage_and_a_column_for_each_layer() -> None:
    made = synthetic.results()
    (table,) = tables.retrieval(made)
    assert table.columns == ("Arm", "Stage", "emb", "1", "2", "3", "4", "out", "Chance")
    assert [row[:2] for row in table.rows] == [
        ("Joint training", "at start"), ("Joint training", "after stage 2"),
        ("PreAlign", "at start"), ("PreAlign", "after stage 1"), ("PreAlign", "after stage 2"),
    ]  # fmt: skip
    values = {
        row["split"]: row["value"]
        for row in ask.select(made["scores"], arm="prealign", metric="p_at_1", stage="align", layer=3)
    }
    assert table.rows[3][5] == f"{values['seen']:.2f}/{values['held_out']:.2f}"
    assert table.rows[3][-1] == "0.001/0.0033"


def test_the_last_layer_is_the_output_embedding_only_where_it_is_known_to_be() -> None:
    made = synthetic.results()
    made["recipe"]["model"] = {"preset": None, "pretrained": "some/model", "tie_embeddings": False}
    assert tables.retrieval(made)[0].columns[-2] == "5"
    made["recipe"]["model"] = {"preset": "nano", "tie_embeddings": True}
    assert tables.retrieval(made)[0].columns[-2] == "5"


def test_budget_adds_stages_and_compares_totals() -> None:
    (table,) = tables.budget(synthetic.results())
    assert table.rows == (
        ("Joint training", "2 · pretrain", "2,800", "5.73 M", "20.6 T", "2 min 38 s", ""),
        ("Joint training", "total", "2,800", "5.73 M", "20.6 T", "2 min 38 s", "1.00×"),
        ("PreAlign", "1 · align", "400", "819 k", "5.90 T", "48.2 s", ""),
        ("PreAlign", "2 · pretrain", "2,000", "4.10 M", "14.7 T", "1 min 54 s", ""),
        # 5.9 + 14.72 = 20.62 T, 48.2 + 113.9 = 162.1 s, 819,200 + 4,096,000 = 4,915,200
        ("PreAlign", "total", "2,400", "4.92 M", "20.6 T", "2 min 42 s", "1.00×"),
    )


def test_switching_shows_expected_beside_realised() -> None:
    made = synthetic.results()
    made["switching"][0] |= {
        "ratio": 0.1,
        "coverage": 0.8,
        "expected": 0.08,
        "realised": 0.076,
        "switched_words": 123_456,
    }
    (table,) = tables.switching(made)
    cells = dict(zip(table.columns, table.rows[0], strict=True))
    assert (cells["Expected"], cells["Realised"], cells["Realised / expected"]) == (
        "8.00 %",
        "7.60 %",
        "0.95×",
    )
    assert (cells["Mode"], cells["Switched words"]) == ("input-only", "123 k")


def test_corpus_and_lexicon() -> None:
    made = synthetic.results()
    assert tables.corpus(made)[0].rows[0] == ("English", "train", "8,300", "10,790,000", "44,820,000")
    assert tables.lexicon(made)[0].rows == (("English-Clone", "6,120", "306", "93.80 %"),)


def test_what_the_file_does_not_have_gives_no_table() -> None:
    empty = {"schema": 1, "name": "t", "recipe": {}, "scores": []}
    makers = (
        tables.language_modelling,
        tables.retrieval,
        tables.budget,
        tables.switching,
        tables.corpus,
        tables.lexicon,
    )
    assert [make(empty) for make in makers] == [[]] * 6


def test_markdown_escapes_and_leaves_repeated_names_out() -> None:
    table = Table("T", ("A", "B", "C"), (("x", "1|2", "<b>"), ("x", "y", "3")), "Note.", labels=2)
    assert tables.to_markdown(table) == (
        "| A | B | C |\n| :-- | :-- | --: |\n| x | 1\\|2 | &lt;b> |\n|  | y | 3 |\n\nNote.\n"
    )


def test_rows_of_all_tables_are_as_wide_as_their_heads() -> None:
    made = synthetic.results(synthetic.TWELVE, [0, 1])
    for make in (tables.language_modelling, tables.retrieval, tables.budget, tables.switching, tables.corpus):
        for table in make(made):
            assert {len(row) for row in table.rows} == {len(table.columns)}
            assert not re.search("nan|None", str(table.rows))
