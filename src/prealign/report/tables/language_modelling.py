"""Language modelling: perplexity and bits per byte, overall and on words inside and outside the training lexicon."""

from __future__ import annotations

from prealign.report.formats import times, with_interval
from prealign.report.results import Results
from prealign.report.tables.table import Table, differences, interval_note, seed_column, test_note, text_table


def language_modelling(results: Results) -> list[Table]:
    """Return perplexity and bits per byte by language and arm, difference to the baseline, and gap closed."""
    found = results.lm_cells("perplexity", "bits_per_byte")
    if found.empty:
        return []
    columns = {"Perplexity": found["perplexity"], "Bits per byte": found["bits_per_byte"]}
    gaps = [results.gap_closed(arm, language) for language, arm in found.index]
    gap_columns = {"Gap closed": [with_interval(gap) for gap in gaps]} if any(gaps) else {}
    gap_note = ["Gap closed: 0 is joint training, 1 is merged ids, on the log-perplexity scale."]
    note = [
        *interval_note(found["perplexity"], "documents"),
        *(gap_note if any(gaps) else []),
        *test_note(results, "lm"),
    ]
    cells = {name: [*column.map(with_interval)] for name, column in columns.items()}
    compared = differences(results.compared(), found.index, results.label(results.baseline), ratio=True)
    seeds = seed_column(found[["perplexity"]])
    return [text_table(results, "Language modelling", found.index, cells | compared | gap_columns | seeds, note)]


def inside_outside(results: Results) -> list[Table]:
    """Return target perplexity on the words that the training lexicon has, and on those that it lacks."""
    metrics = {"Inside": "perplexity_inside", "Outside": "perplexity_outside"}
    found = results.lm_cells(*metrics.values())
    found = found[found.index.isin(results.targets, level="language")].dropna(how="all")
    if found.empty:
        return []
    columns = {}
    for part, metric in metrics.items():
        ratios = results.compared(metric=metric).reindex(found.index)["ratio"]
        columns[part] = [*found[metric].map(with_interval)]
        columns[f"{part} / {results.label(results.baseline)}"] = [*ratios.map(times)]
    title = "Perplexity on words inside and outside the training lexicon"
    return [text_table(results, title, found.index, columns | seed_column(found), interval_note(found, "documents"))]
