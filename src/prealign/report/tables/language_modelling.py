"""Language modelling: perplexity and bits per byte, on words inside and outside the lexicon, and mixing of languages."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from prealign.report.formats import NONE, ratio, ratio_of, with_interval
from prealign.report.results import Results, language_label
from prealign.report.tables.table import (
    Table,
    consumed_columns,
    differences,
    exponential,
    interval_note,
    seed_column,
    test_note,
    text_table,
)


def language_modelling(results: Results) -> list[Table]:
    """Return perplexity and bits per byte by language and arm, beside the baseline, and what the arm was trained on."""
    found = results.lm_cells("perplexity", "bits_per_byte")
    if found.empty:
        return []
    base = results.label(results.baseline)
    specific = [results.specific_gain(arm, language) for language, arm in found.index]
    gaps = [results.gap_closed(arm, language) for language, arm in found.index]
    columns = {
        "Perplexity": found["perplexity"],
        "Bits per byte": found["bits_per_byte"],
        **differences(results.compared(), found.index, base),
        **({"Specific gain": [ratio(own) for own in specific]} if any(specific) else {}),
        **({"Gap closed": gaps} if any(gaps) else {}),
        **consumed_columns(results, found.index.get_level_values("arm")),
        **seed_column(found[["perplexity"]]),
    }
    note = [*interval_note(found["perplexity"], "documents"), "Perplexities are averaged and compared as logarithms."]
    if any(specific):
        note.append(f"Specific gain: the target's ratio to {base} over the source's; below 1, the target gained more.")
    if any(gaps):
        note.append("Gap closed: 0 is joint training, 1 is merged ids, on the log-perplexity scale.")
    table = text_table(results, "Language modelling", found.index, columns, [*note, *test_note(results, "lm")])
    return [_with_before(results, table)]


def _with_before(results: Results, table: Table) -> Table:
    """Add a row for the pretrained model before training, above the arms of each language."""
    before = results.lm_before
    if before.empty:
        return table
    rows: list[tuple[str, ...]] = []
    metrics = {"Perplexity": "perplexity", "Bits per byte": "bits_per_byte"}
    for tag in results.languages:
        known = {column: with_interval(before.get((metric, tag))) for column, metric in metrics.items()}
        cells = (known.get(column, NONE) for column in table.columns[2:])
        own = [row for row in table.rows if row[0] == language_label(tag)]
        rows += [(language_label(tag), "Before training", *cells), *own] if own else []
    return replace(table, rows=tuple(rows))


def inside_outside(results: Results) -> list[Table]:
    """Return target perplexity on the words that the training lexicon has, and on those that it lacks."""
    metrics = {"Inside": "perplexity_inside", "Outside": "perplexity_outside"}
    found = results.lm_cells(*metrics.values())
    found = found[found.index.isin(results.targets, level="language")].dropna(how="all")
    if found.empty:
        return []
    columns = {}
    for part, metric in metrics.items():
        rows = results.compared(metric=metric).reindex(found.index)
        bounds = zip(rows["difference"], rows["low"], rows["high"], strict=True)
        columns[part] = found[metric]
        columns[f"{part} / {results.label(results.baseline)}"] = [ratio_of(*map(exponential, ends)) for ends in bounds]
    title = "Perplexity on words inside and outside the training lexicon"
    return [text_table(results, title, found.index, columns | seed_column(found), interval_note(found, "documents"))]


def mixing(results: Results) -> list[Table]:
    """Return how much of the probability, and of what a model writes, is in another language; none if not measured."""
    metrics = {
        "Mass on other languages": "foreign_mass",
        "Language factor": "language_factor",
        "Perplexity within": "perplexity_within",
        "Words of the wrong language": "foreign_words",
    }
    found = results.lm_cells(*metrics.values()).dropna(how="all")
    if found.empty:
        return []
    columns: dict[str, Any] = {name: found[metric] for name, metric in metrics.items()}
    for name, metric in (("Factor", "language_factor"), ("Within", "perplexity_within")):
        rows = results.compared(metric=metric).reindex(found.index)
        bounds = zip(rows["difference"], rows["low"], rows["high"], strict=True)
        columns[f"{name} / {results.label(results.baseline)}"] = [ratio_of(*map(exponential, ends)) for ends in bounds]
    note = [
        "Perplexity = language factor × perplexity within the language, over tokens that are not of another language. Mass: "
        "probability of all tokens of other languages. Words: in what the model writes after the beginning of a document.",
        *interval_note(found, "documents"),
    ]
    return [text_table(results, "Mixing of languages", found.index, columns | seed_column(found), note)]
