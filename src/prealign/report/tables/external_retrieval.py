"""Retrieval on external test sets: test dictionaries and parallel sentences.

1. A table for each set and language, a row for each arm and stage: P@1 beside CSLS P@1 (words) or MEXA (sentences) at
   every layer.
2. For each test dictionary a table by stratum: queries that are trained, have a trained relative, or neither.
3. A table of the test dictionaries: how many words are tested, and why others are not.
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
STRATA = {"trained": "trained elsewhere", "relative": "a relative trained", "unrelated": "neither trained"}
"""Strata of the queries of test dictionaries, by what took part in training: the query, an answer, or a relative."""
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


def strata_tables(results: Results) -> list[Table]:
    """Return P@1 of test dictionaries by stratum, a table for each target language; none of results without strata."""
    tables = []
    for tag in results.targets:
        rows = select(results.scores, arm=results.arms, language=tag, task="retrieval", metric="p_at_1")
        rows = rows[rows["condition"].astype(str).str.startswith(f"{DICTIONARY}|")]
        present = [name for name in STRATA if (rows["condition"] == f"{DICTIONARY}|{name}").any()]
        if not present:
            continue
        names = "/".join(STRATA[name] for name in present)
        title = f"{language_label(tag)}, words of the test dictionary by what was trained: P@1 per layer, {names}"
        layers = layer_names(rows["layer"].dropna().unique(), results)
        members = [f"{DICTIONARY}|{name}" for name in present]
        tables.append(layer_table(results, title, rows, layers, "condition", members, "words"))
    return tables


def tested_dictionaries(results: Results) -> list[Table]:
    """Return how many words of each test dictionary are tested, and why the others are not."""
    tests = results.content.get("tests")
    if not tests:
        return []
    strata = {
        name: label for name, label in STRATA.items() if all(name in one["strata"] for one in tests["dictionaries"])
    }
    rows = tuple(
        (
            language_label(found["target"]),
            *(f"{found[key]:,}" for key in ("words", "asked", "asked_back", "pairs")),
            *(f"{found['strata'][name]:,}" for name in strata),
            "; ".join(f"{count:,} {reason}" for reason, count in found["dropped"].items()) or NONE,
        )
        for found in tests["dictionaries"]
    )
    names = (label.capitalize() for label in strata.values())
    columns = ("Target", "Words", "Tested", "Tested backward", "Pairs", *names, "Not tested, and why")
    return [Table("Test dictionaries", columns, rows, " ".join(f"{line}." for line in told_of_tests(tests)))]


def told_of_tests(tests: Mapping[str, Any]) -> list[str]:
    """Return sentences, without full stops, on what left the training lexicon, and on the strata of the queries."""
    lines = [
        f"{one['count']:,} {reason} left the training lexicon{_examples(one)}"
        for reason, one in tests["kept_out"].items()
    ]
    for found in tests["dictionaries"]:
        if sizes := found["strata"]:
            parts = ", ".join(f"{sizes[name]:,} {label}" for name, label in STRATA.items())
            lines.append(f"{language_label(found['target'])} queries in both directions: {parts}")
    return lines


def _examples(tally: Mapping[str, Any]) -> str:
    return f", such as {'; '.join(tally['examples'])}" if tally["examples"] else ""
