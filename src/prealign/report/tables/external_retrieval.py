"""Retrieval on external test sets, which no arm was trained on: test dictionaries and parallel sentences.

1. A table for each set and language, a row for each arm and stage: P@1 beside CSLS P@1 (words) or MEXA (sentences) at
   every layer.
2. A table of the test dictionaries: how many words are tested, and why others are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pandas import DataFrame

from prealign.report.formats import NONE
from prealign.report.results import Results, language_label, select
from prealign.report.tables.retrieval import layer_table
from prealign.report.tables.table import Table, layer_names

DICTIONARY = "dictionary"
"""The condition of scores of test dictionaries."""
_POOLED = {"mexa_mean": "MEXA, mean", "mexa_max": "MEXA, best layer"}
"""Metrics over all layers."""


class TestSet(NamedTuple):
    """The scores of one test set, its title, its two metrics with their names, and what its items are."""

    rows: DataFrame
    title: str
    metrics: Mapping[str, str]
    items: str

    def layers(self, results: Results) -> dict[Any, str]:
        """Return the names of the layers. A sentence has no state in the output embedding."""
        found = sorted(self.rows["layer"].dropna().unique())
        return layer_names(found, results) if self.items == "words" else {x: f"{x:.0f}" if x else "emb" for x in found}


def test_sets(results: Results, language: str) -> list[TestSet]:
    """Return the test sets of a language: its dictionary, then its sets of sentences."""
    scores = select(results.scores, arm=results.arms, language=language)
    words = select(scores, task="retrieval", condition=DICTIONARY)
    names = {"p_at_1": "P@1", "csls_p_at_1": "CSLS P@1"}
    found = [] if words.empty else [TestSet(words, "words of the test dictionary", names, "words")]
    names = {"p_at_1": "P@1", "mexa": "MEXA"}
    sentences = select(scores, task="sentence_retrieval").groupby("condition", sort=False)
    return found + [TestSet(rows, f"sentences of {name}", names, "sentences") for name, rows in sentences]


def retrieval_tables(results: Results) -> list[Table]:
    """Return the tables of every target language."""
    tables = []
    for tag in results.targets:
        for tests in test_sets(results, tag):
            title = f"{language_label(tag)}, {tests.title}: {'/'.join(tests.metrics.values())} per layer"
            layers, metrics = tests.layers(results), list(tests.metrics)
            tables.append(layer_table(results, title, tests.rows, layers, "metric", metrics, tests.items, _POOLED))
    return tables


def tested_dictionaries(results: Results) -> list[Table]:
    """Return how many words of each test dictionary are tested, and why the others are not."""
    tests = results.content.get("tests")
    if not tests:
        return []
    rows = tuple(
        (
            language_label(found["target"]),
            *(f"{found[key]:,}" for key in ("words", "asked", "asked_back", "pairs")),
            "; ".join(f"{count:,} {reason}" for reason, count in found["dropped"].items()) or NONE,
        )
        for found in tests["dictionaries"]
    )
    columns = ("Target", "Words", "Tested", "Tested backward", "Pairs", "Not tested, and why")
    note = f"{tests['kept_out']:,} words of the training dictionaries were left out of the lexicon because they are tested."
    return [Table("Test dictionaries", columns, rows, note)]
