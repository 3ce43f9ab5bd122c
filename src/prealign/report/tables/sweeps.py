"""Tables of sweeps: the numbers of an arm over one setting, such as the share of the dictionary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pandas import DataFrame, MultiIndex

from prealign.recipe.sweeps import Sweep, setting
from prealign.report.estimates import estimates
from prealign.report.formats import NONE, is_number, number, ratio
from prealign.report.results import SPLITS, Results, language_label, select
from prealign.report.tables.table import Table, consumed_columns, interval_note, seed_column, text_table

Points = Sequence[tuple[float, str]]
"""(value of the setting, arm), by value."""
_METRICS = {"": "perplexity", " inside": "perplexity_inside", " outside": "perplexity_outside"}


def measured_sweeps(results: Results) -> list[tuple[Sweep, Points]]:
    """Return the sweeps with two points or more that have a perplexity; the extended arm is a point at its own value."""
    found: list[tuple[Sweep, Points]] = []
    for sweep in results.sweeps:
        arms = [arm for arm in (sweep.extends, *sweep.variants) if results.perplexity_languages([arm])]
        values = {arm: setting(results.recipe, arm, sweep.key) for arm in arms}
        points = sorted((float(v), arm) for arm, v in values.items() if isinstance(v, (int, float)) and is_number(v))
        found += [(sweep, points)] if len(points) > 1 else []
    return found


def sweep_tables(results: Results) -> list[Table]:
    """Return the table of each sweep."""
    return [sweep_table(results, sweep, points) for sweep, points in measured_sweeps(results)]


def sweep_table(results: Results, sweep: Sweep, points: Points) -> Table:
    """Return the numbers of a sweep: perplexities, gap closed, and mean P@1 over layers after stage 2."""
    base, arms = results.baseline, [arm for _, arm in points]
    rows = [base, *arms] if base not in arms and base in results.all_arms else arms
    cells = _perplexities(results, sweep, rows)
    columns: dict[str, Any] = {name: [*column] for name, column in cells.dropna(axis=1, how="all").items()}
    for tag in results.targets:
        if any(specific := [results.specific_gain(arm, tag) for arm in rows]):
            columns[f"Specific gain, {language_label(tag)}"] = [*map(ratio, specific)]
    for tag in results.targets:
        for split in SPLITS:
            means = [results.mean_p_at_1(arm, tag, "pretrain", split) for arm in rows]
            if any(mean is not None for mean in means):
                columns[f"P@1 {SPLITS[split]}, {language_label(tag)}"] = [number(mean) for mean in means]
    columns |= _accuracies(results, rows) | consumed_columns(results, rows) | seed_column(cells)
    note = [
        "A language's column is its test perplexity; inside and outside: on words that the training lexicon has, or lacks. "
        "If the sweep varies the lexicon, these words differ from row to row, and the baseline has no value.",
        *interval_note(cells, "documents"),
        "P@1: mean over layers after stage 2. Specific gain: the target's ratio to the baseline over the source's.",
    ]
    values = [NONE] * (len(rows) - len(arms)) + [f"{value:g}" for value, _ in points]
    title = f"{results.label(sweep.extends)} over {sweep.key}"
    index = MultiIndex.from_arrays([values, rows], names=[sweep.key, "arm"])
    return text_table(results, title, index, columns, note)


def _perplexities(results: Results, sweep: Sweep, arms: Sequence[str]) -> DataFrame:
    """Estimates of perplexities and gap closed: a row for each arm, a column for each language and part."""
    cells = {}
    for tag in results.languages:
        for part, metric in _METRICS.items():
            # Each lexicon decides which words are inside, so the baseline's words are not those of the sweep.
            hidden = {results.baseline} if part and sweep.key.startswith("lexicon.") else set()
            cells[f"{language_label(tag)}{part}"] = [
                None if arm in hidden else results.perplexity(arm, tag, metric) for arm in arms
            ]
        if tag != results.source:
            cells[f"Gap closed, {language_label(tag)}"] = [results.gap_closed(arm, tag) for arm in arms]
    return DataFrame(cells, dtype=object)


def _accuracies(results: Results, arms: Sequence[str]) -> dict[str, list[Any]]:
    rows = select(results.scores, metric="accuracy", arm=list(arms))
    columns = {}
    for (condition, tag), own in rows.groupby(["condition", "language"], sort=False, observed=True, dropna=False):
        found = estimates(own, "arm")
        if found.notna().any():
            columns[f"{condition}, {language_label(tag)}"] = [found.get(arm) for arm in arms]
    return columns
