"""Language modelling: perplexity and bits per byte, overall and on words inside and outside the training lexicon."""

from __future__ import annotations

from prealign.report.formats import times
from prealign.report.results import Results
from prealign.report.tables.table import Table, differences, interval_note, seed_column, test_note, text_table


def language_modelling(results: Results) -> list[Table]:
    """Return perplexity and bits per byte by language and arm, difference to the baseline, and gap closed."""
    found = results.lm_cells("perplexity", "bits_per_byte")
    if found.empty:
        return []
    gaps = [results.gap_closed(arm, language) for language, arm in found.index]
    columns = {
        "Perplexity": found["perplexity"],
        "Bits per byte": found["bits_per_byte"],
        **differences(results.compared(), found.index, results.label(results.baseline), ratio=True),
        **({"Gap closed": gaps} if any(gaps) else {}),
        **seed_column(found[["perplexity"]]),
    }
    note = interval_note(found["perplexity"], "documents")
    if any(gaps):
        note.append("Gap closed: 0 is joint training, 1 is merged ids, on the log-perplexity scale.")
    return [text_table(results, "Language modelling", found.index, columns, [*note, *test_note(results, "lm")])]


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
        columns[part] = found[metric]
        columns[f"{part} / {results.label(results.baseline)}"] = [*ratios.map(times)]
    title = "Perplexity on words inside and outside the training lexicon"
    return [text_table(results, title, found.index, columns | seed_column(found), interval_note(found, "documents"))]
