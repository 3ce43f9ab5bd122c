"""Tables and figures of external test sets, of mixtures and of switching by language."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binom

import synthetic_results as synthetic
from prealign.files import write_json
from prealign.report.figures.alignment import alignment
from prealign.report.figures.external_retrieval import external_retrieval
from prealign.report.page import pictures, write_markdown, write_report
from prealign.report.results import Results
from prealign.report.results_file import read_results
from prealign.report.tables import budget
from prealign.report.tables import external_retrieval as external
from prealign.report.tables.language_modelling import language_modelling
from prealign.report.tables.retrieval import retrieval
from prealign.report.tables.table import Table

ARMS = ["joint", "prealign", "prealign_anchored"]
LEVEL = {"joint": 0.02, "prealign": 0.2, "prealign_anchored": 0.4}


def row(arm: str, seed: int, stage: str, task: str, metric: str, layer: int | None, value: float) -> dict[str, Any]:
    return {
        "arm": arm, "seed": seed, "task": task, "language": "de", "metric": metric, "layer": layer, "value": value,
        "low": max(0.0, value - 0.03), "high": value + 0.03, "n": 300, "chance": 0.001 if task == "retrieval" else 1 / 300,
        "condition": "dictionary" if task == "retrieval" else "flores200", "signature": "x", "stage": stage, "split": "test",
    }  # fmt: skip


def made(seeds: list[int] | None = None) -> dict[str, Any]:
    """Results with German as target, a test dictionary, sentences, shares and rates."""
    seeds = seeds or [0]
    found = synthetic.results(ARMS, seeds, language="de")
    found["recipe"]["pretrain"] = {"batch_size": 10**6, "context": 128}  # so large that an arm reads all that is made
    for arm in ARMS:
        for seed in seeds:
            for stage in ("init", "align", "pretrain"):
                if stage == "align" and arm == "joint":
                    continue
                level = LEVEL[arm] * (stage != "init") + 0.01 * seed
                for layer in range(synthetic.BLOCKS + 2):
                    found["scores"] += [
                        row(arm, seed, stage, "retrieval", "p_at_1", layer, level),
                        row(arm, seed, stage, "retrieval", "csls_p_at_1", layer, level + 0.05),
                    ]
                for layer in range(synthetic.BLOCKS + 1):
                    found["scores"] += [
                        row(arm, seed, stage, "sentence_retrieval", "p_at_1", layer, level + 0.1 + layer / 50),
                        row(arm, seed, stage, "sentence_retrieval", "mexa", layer, level + layer / 50),
                    ]
                for metric, value in (("mexa_mean", level + 0.04), ("mexa_max", level + 0.08)):
                    found["scores"].append(row(arm, seed, stage, "sentence_retrieval", metric, None, value))
            found["mixture"] = found.get("mixture", []) + [
                {"arm": arm, "seed": seed, "language": language, "documents": 90, "tokens": round(1_000_000 * share),
                 "share": share + 0.001, "expected": share, "passes": 1 / share}
                for language, share in (("en", 0.8), ("de", 0.2))
            ]  # fmt: skip
    found["tests"] = {
        "kept_out": {"words of test dictionaries": {"count": 37, "examples": ["okay", "waves"]}},
        "dictionaries": [
            {"target": "de", "words": 1500, "asked": 1203, "asked_back": 1790, "pairs": 1990, "summary": "…",
             "dropped": {"fewer than 5 times in the en text": 297},
             "strata": {"trained": 0, "relative": 2400, "unrelated": 593}}
        ],
    }  # fmt: skip
    return found


def table(found: list[Table], title: str) -> Table:
    (one,) = [own for own in found if title in own.title]
    return one


def test_a_table_a_kind_with_both_measures_per_layer() -> None:
    found = external.retrieval_tables(Results(made()))
    words, sentences = table(found, "test dictionary"), table(found, "sentences of flores200")
    assert words.title == "German, words of the test dictionary: P@1/CSLS P@1 per layer"
    assert words.columns == ("Arm", "Stage", "emb", "1", "2", "3", "4", "out", "Chance")
    assert [cells[:2] for cells in words.rows] == [
        (Results(made()).label(arm), stage)
        for arm in ARMS
        for stage in ("at start", "after stage 1", "after stage 2")
        if (arm, stage) != ("joint", "after stage 1")
    ]
    assert words.rows[-1][2:] == (*["0.40/0.45"] * 6, "0.001/0.001")
    # The last layer of a sentence is block 4, not the output embedding.
    assert sentences.columns == (
        "Arm", "Stage", "emb", "1", "2", "3", "4", "MEXA, mean", "MEXA, best layer", "Chance",
    )  # fmt: skip
    assert sentences.rows[-1][2:7] == ("0.50/0.40", "0.52/0.42", "0.54/0.44", "0.56/0.46", "0.58/0.48")
    assert sentences.rows[-1][7:] == ("0.440 [0.410, 0.470]", "0.480 [0.450, 0.510]", "0.0033/0.0033")
    assert "95 % interval over sentences" in sentences.note and "The widest interval is ±0.03." in sentences.note


def test_seeds_are_averaged() -> None:
    words = table(external.retrieval_tables(Results(made([0, 1, 2]))), "test dictionary")
    assert words.rows[-1][2] == "0.41/0.46" and "over 3 seeds" in words.note


def test_other_tables_are_what_they_were() -> None:
    """Scores of test dictionaries have the task of word retrieval: no table or figure of that may take them in."""
    plain, more = Results(synthetic.results(ARMS, [0], language="de")), Results(made())
    for make in (retrieval, language_modelling):
        assert make(more) == make(plain)
    assert more.mean_p_at_1("prealign", "de", "pretrain", "seen") == plain.mean_p_at_1(
        "prealign", "de", "pretrain", "seen"
    )
    assert alignment(more) == alignment(plain)
    assert not external.retrieval_tables(plain) and not external_retrieval(plain)
    assert not external.tested_dictionaries(plain) and not budget.mixture(plain)


def test_the_figure_says_in_words_where_arms_end() -> None:
    (picture,) = [own for own in pictures(Results(made())) if own.name == "unseen-de"]
    assert picture.alt == (
        "Retrieval with German by layer. Best layer: "
        "words of the test dictionary, P@1/CSLS P@1: Joint training 0.02/0.07, PreAlign 0.20/0.25. "
        "sentences of flores200, P@1/MEXA: Joint training 0.20/0.10, PreAlign 0.38/0.28."
    )
    for name in ("Joint training", "PreAlign, anchored", "at start"):
        assert len(re.findall(f">{name}<", picture.svg)) == 4, "a line a panel, named at its end"


def test_strata_are_a_table_of_their_own() -> None:
    found = made([0, 1])
    assert not external.strata_tables(Results(found)), "scores without strata"
    for one in list(found["scores"]):
        if one.get("condition") == "dictionary" and one["metric"] == "p_at_1":
            for stratum, lower in (("relative", 0), ("unrelated", 0.02)):
                found["scores"].append(one | {"condition": f"dictionary|{stratum}", "value": one["value"] - lower})
    (table,) = external.strata_tables(Results(found))
    assert table.title.endswith("P@1 per layer, a relative trained/neither trained")
    assert table.rows[-1][2] == "0.41/0.39"
    assert external.retrieval_tables(Results(found)) == external.retrieval_tables(Results(made([0, 1])))


def test_what_was_asked_and_what_was_read() -> None:
    (asked,) = external.tested_dictionaries(Results(made()))
    assert asked.columns[5:8] == ("Trained elsewhere", "A relative trained", "Neither trained")
    assert asked.rows == (
        ("German", "1,500", "1,203", "1,790", "1,990", "0", "2,400", "593", "297 fewer than 5 times in the en text"),
    )
    assert asked.note == (
        "37 words of test dictionaries left the training lexicon, such as okay; waves. "
        "German queries in both directions: 0 trained elsewhere, 2,400 a relative trained, 593 neither trained."
    )
    (read,) = budget.mixture(Results(made()))
    assert read.rows[0] == ("Joint training", "English", "800 k", "80.00 %", "80.10 %", "1.25")
    assert len(read.rows) == 2 * len(ARMS)


def test_switching_is_told_by_language_where_there_are_several_ways() -> None:
    found = made()
    rates = {"expected": 0.03, "realised": 0.0306, "switched_words": 306, "words": 10_000}
    for own in found["switching"]:
        own["switched"] = {"en": {"de": rates}}
    assert budget.switching_by_language(Results(found)) == []
    for own in found["switching"]:
        own["switched"]["de"] = {"en": {**rates, "realised": 0.015, "switched_words": 150}}
    (told,) = budget.switching_by_language(Results(found))
    assert told.rows[:2] == (
        ("PreAlign", "English → German", "3.00 %", "3.06 %", "1.02×", "+0.4", "306"),
        ("PreAlign", "German → English", "3.00 %", "1.50 %", "0.50×", "-8.8", "150"),
    )


def test_standard_errors_are_those_of_binomial_draws() -> None:
    rows = [{"expected": p, "realised": k / n, "switched_words": k} for p, k, n in ((0.03, 306, 10_000), (0.1, 8, 40))]
    far, spread = 306 - 300 + 8 - 4, math.hypot(binom.std(10_000, 0.03), binom.std(40, 0.1))
    assert budget.standard_errors(rows) == pytest.approx(far / spread)
    nothing = {"expected": 0.03, "realised": 0.0, "switched_words": 0, "source_words": 10_000}
    assert budget.standard_errors([nothing]) == pytest.approx(-300 / binom.std(10_000, 0.03))
    assert budget.standard_errors([{"expected": 0.0, "realised": 0.0, "switched_words": 0}]) is None
    assert budget.standard_errors([rows[0], {**rows[1], "independent": False}]) is None, "not binomial"


@pytest.mark.parametrize("seeds", [[0], [0, 1]])
def test_the_pages_show_them(tmp_path: Path, seeds: list[int]) -> None:
    write_json(tmp_path / "results.json", made(seeds))
    found = Results(read_results(tmp_path / "results.json"))
    write_report(found, tmp_path / "report.html")
    write_markdown(found, tmp_path / "page.md", tmp_path / "figures")
    page = (tmp_path / "page.md").read_text()
    for title in (
        "Alignment with German on external test sets",
        "Test dictionaries",
        "What stage 2 read",
    ):
        assert f"## {title}" in page and title in (tmp_path / "report.html").read_text()
    assert page.index("on external test sets") < page.index("## Language modelling"), "it leads, beside word alignment"
    assert (tmp_path / "figures" / "unseen-de.svg").exists()
