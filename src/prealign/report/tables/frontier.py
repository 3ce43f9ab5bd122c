"""The table of a frontier: perplexities over the target's share, and the gain at equal source perplexity."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean
from typing import Any

from pandas import DataFrame, MultiIndex

from prealign.report.estimates import Estimate
from prealign.report.formats import NONE, number, percent, quantity, ratio, times
from prealign.report.frontier import Frontier, Reading
from prealign.report.results import Results, language_label, select
from prealign.report.tables.table import Table, consumed_columns, interval_note, text_table

OUTSIDE = "outside the measured range"


def frontier_table(results: Results, frontier: Frontier) -> Table:
    """Return a row for each arm and value of the setting, in the order of the curves."""
    rows = [(arm, value, name) for arm, points in frontier.curves.items() for value, name in points]
    variants = [name for _, _, name in rows]
    target, source = language_label(frontier.language), language_label(results.source)
    base = results.label(frontier.baseline)
    own = [arm != frontier.baseline for arm, _, _ in rows]
    pairs = [*zip(own, variants, strict=True)]
    perplexities = [[results.perplexity(name, tag) for name in variants] for tag in (results.source, frontier.language)]
    columns: dict[str, Any] = {
        **_read(results, frontier, variants),
        f"{source} perplexity": perplexities[0],
        f"{target} perplexity": perplexities[1],
        f"{target} at equal {source} / {base}": [_cell(frontier.gain(name), ratio) if o else NONE for o, name in pairs],
        "Data multiplier": [_cell(frontier.multiplier(name), _times) if o else NONE for o, name in pairs],
        **consumed_columns(results, variants),
    }
    index = MultiIndex.from_arrays(
        [[arm for arm, _, _ in rows], [f"{value:g}" for _, value, _ in rows]], names=["arm", frontier.key]
    )
    note = [
        f"{target} at equal {source}: perplexity over that of {base} at the same {source} perplexity, read off the curve of "
        f"{base} seed by seed. Data multiplier: how many times the {target} tokens of the arm {base} reads for the same "
        f"{target} perplexity; tokens of all stages, share and passes of stage 2. Curves are linear between points, in "
        f"logarithms; nothing is extrapolated ({OUTSIDE}).",
        *interval_note(perplexities[0], "documents"),
    ]
    return text_table(results, f"Frontier of {target} and {source} over {frontier.key}", index, columns, note)


def _read(results: Results, frontier: Frontier, variants: list[str]) -> dict[str, list[str]]:
    """Columns of what was read of the target: share and passes in stage 2, tokens in all stages, means over seeds."""
    names = ["arm", "language", "share", "passes"]
    read = DataFrame(results.section("mixture")).reindex(columns=names)
    means = select(read, language=frontier.language).groupby("arm")[names[2:]].mean().reindex(variants)
    tokens = [[one.tokens for one in frontier.seeds[name].values() if one.tokens] for name in variants]
    return {
        "Share": [*means["share"].map(percent)],
        "Tokens": [quantity(fmean(own)) if own else NONE for own in tokens],
        "Passes": [*means["passes"].map(number)],
    }


def _cell(reading: Reading, write: Callable[[Estimate], str]) -> str:
    if reading.estimate is None:
        return OUTSIDE
    outside = (
        f" ({reading.outside} of {reading.outside + reading.estimate.seeds} seeds outside)" if reading.outside else ""
    )
    return f"{write(reading.estimate)}{outside}"


def _times(estimate: Estimate) -> str:
    low, high = estimate.low, estimate.high
    return times(estimate.value) + (f" [{low:.2f}, {high:.2f}]" if low is not None and high is not None else "")
