"""Retrieval of what no arm was trained on: words of test dictionaries, and parallel sentences.

1. A table of each kind and language, a row an arm and stage, P@1 beside CSLS or MEXA at every layer.
2. A figure for each language, a panel a measure, a line an arm after stage 2.
3. Tables of what was asked: words of the test dictionaries, and why some were not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from prealign.report import results as ask
from prealign.report.formats import NONE, with_interval
from prealign.report.results import STAGES, Results, Row
from prealign.report.tables.table import Table, chance, interval_note, layer_names, make_table, seed_counts, width_note

DICTIONARY = "dictionary"
"""The condition of scores of test dictionaries."""


class Kind(NamedTuple):
    """Scores of one data set: its rows, two metrics by their names, and what they are called."""

    rows: list[Row]
    title: str
    metrics: Mapping[str, str]
    items: str


def kinds(results: Results, language: str) -> list[Kind]:
    """Return what was measured of a language: its test dictionary, then its sets of sentences."""
    words = ask.select(results["scores"], task="retrieval", language=language, condition=DICTIONARY)
    names = {"p_at_1": "P@1", "csls_p_at_1": "CSLS P@1"}
    found = [Kind(words, "words of the test dictionary", names, "words")] if words else []
    rows = ask.select(results["scores"], task="sentence_retrieval", language=language)
    names = {"p_at_1": "P@1", "mexa": "MEXA"}
    for (condition,), own in ask.group(rows, "condition").items():
        found.append(Kind(own, f"sentences of {condition}", names, "sentences"))
    return found


def retrieval_tables(results: Results) -> list[Table]:
    """Return the tables of every target language."""
    return [
        _table(results, language, kind)
        for language in ask.target_languages(results)
        for kind in kinds(results, language)
    ]


def _layers(results: Results, kind: Kind) -> dict[int, str]:
    layers = sorted({row["layer"] for row in kind.rows if row["layer"] is not None})
    if kind.items == "words":
        return layer_names(layers, results)
    # A sentence has no state in the output embedding.
    return {layer: str(layer) if layer else "emb" for layer in layers}


def _table(results: Results, language: str, kind: Kind) -> Table:
    layers = _layers(results, kind)
    cells = ask.group(kind.rows, "arm", "stage", "metric", "layer")
    found = {cell: ask.estimate(rows) for cell, rows in cells.items()}
    keys = [
        (arm, stage)
        for arm in ask.arm_order(results)
        for stage in STAGES
        if any((arm, stage, metric, layer) in cells for metric in kind.metrics for layer in layers)
    ]

    def pair(arm: str, stage: str, layer: int) -> str:
        both = [found.get((arm, stage, metric, layer)) for metric in kind.metrics]
        return "/".join(f"{estimate.value:.2f}" if estimate else NONE for estimate in both)

    columns = {
        "Arm": [ask.arm_label(arm) for arm, _ in keys],
        "Stage": [STAGES[stage] for _, stage in keys],
        **{name: [pair(*key, layer) for key in keys] for layer, name in layers.items()},
    }
    for metric, name in (("mexa_mean", "MEXA, mean"), ("mexa_max", "MEXA, best layer")):
        pooled = [found.get((*key, metric, None)) for key in keys]
        columns |= {name: [with_interval(estimate) for estimate in pooled]} if any(pooled) else {}
    guesses = ask.group(kind.rows, "metric")
    columns["Chance"] = ["/".join(chance(guesses.get((metric,), [])) for metric in kind.metrics)] * len(keys)
    columns |= seed_counts([[found.get((*key, m, layer)) for m in kind.metrics for layer in layers] for key in keys])
    what = "/".join(kind.metrics.values())
    note = [*interval_note(found.values(), kind.items), *width_note(found.values())]
    return make_table(f"{ask.language_label(language)}, {kind.title}: {what} per layer", columns, note, 2)


def asked_dictionaries(results: Results) -> list[Table]:
    """Return how many words of each test dictionary are asked for, and why the others are not."""
    tests = results.get("tests")
    if not tests:
        return []
    rows = tuple(
        (
            ask.language_label(found["target"]),
            *(f"{found[key]:,}" for key in ("words", "asked", "asked_back", "pairs")),
            "; ".join(f"{count:,} {reason}" for reason, count in found["dropped"].items()) or NONE,
        )
        for found in tests["dictionaries"]
    )
    columns = ("Target", "Words", "Asked", "Asked backward", "Pairs", "Not asked, and why")
    note = f"{tests['kept_out']:,} words of the training dictionaries were left out of the lexicon: they are tested."
    return [Table("Test dictionaries", columns, rows, note)]
