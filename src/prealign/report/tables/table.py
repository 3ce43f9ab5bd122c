"""Tables as text cells, and the columns and notes that several tables share.

1. A builder averages rows of results.json into cells (`estimates`), formats them, and notes what the intervals are over.
2. It returns a list of tables, empty if the file has no data for it.
3. `text_table` turns a DataFrame into a `Table`; `to_markdown`, the HTML template and the terminal lay it out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from pandas import DataFrame, Index

from prealign.report.estimates import Cells, Estimate, known
from prealign.report.formats import NONE, interval, is_number, number, p_value, quantity, ratio_of, span, with_interval
from prealign.report.results import STAGES, Results, language_label, select


@dataclass(frozen=True)
class Table:
    """Text cells under column names; the first `labels` columns name the row, the others hold numbers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    labels: int = 1

    def blocks(self) -> list[tuple[str, list[tuple[str, ...]]]]:
        """Neighbouring rows under their common first cell, which the rows then leave out."""
        return [(name, [row[1:] for row in rows]) for name, rows in groupby(self.rows, key=lambda row: row[0])]


def to_markdown(table: Table) -> str:
    """Return a GitHub table without its title: numbers to the right, a repeated first cell left empty."""
    rule = [":--" if i < table.labels else "--:" for i in range(len(table.columns))]
    body = [
        (name if i == 0 or table.labels == 1 else "", *cells)
        for name, rows in table.blocks()
        for i, cells in enumerate(rows)
    ]
    lines = [_markdown_row(cells) for cells in (table.columns, rule, *body)]
    return "\n".join(lines) + (f"\n\n{table.note}" if table.note else "") + "\n"


def _markdown_row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells) + " |"


def text_table(
    results: Results,
    title: str,
    index: Index,
    columns: Mapping[str, Iterable[str | Estimate | None]],
    note: Iterable[str] = (),
    **names: str,
) -> Table:
    """Return a table: its label columns from an index of tags, its other columns by name, its note from sentences.

    Cells are text or estimates, which are shown with their intervals. `names` renames label columns.
    """
    readable = {
        "arm": results.label,
        "language": language_label,
        "stage": lambda stage: STAGES.get(stage, f"after {stage}"),
    }
    levels = index.to_frame()
    titles = {"arm": "Arm", "language": "Language", "stage": "Stage"} | names
    labels = {titles.get(level, level): levels[level].map(readable.get(level, str)) for level in levels}
    cells = zip(*labels.values(), *columns.values(), strict=True)
    rows = tuple(tuple(cell if isinstance(cell, str) else with_interval(cell) for cell in row) for row in cells)
    return Table(title, (*labels, *columns), rows, " ".join(note), len(labels))


def differences(compared: DataFrame, index: Index, base: str, *, of: str = "") -> dict[str, list[str]]:
    """Return columns of the difference to the baseline, its p and, where the file has it, Holm's p; {} without any row.

    On the log scale the difference is a ratio. compared: rows of `Results.compared`; index: (language, arm) of each row of
    the table.
    """
    rows = compared.reindex(index)
    if rows["difference"].isna().all():
        return {}
    log = (rows["scale"].dropna() == "log").all()
    bounds = zip(rows["difference"], rows["low"], rows["high"], strict=True)
    if log:
        columns = {f"{of}Ratio to {base}": [ratio_of(*map(exponential, ends)) for ends in bounds]}
    else:
        columns = {f"{of}Difference to {base}": [number(value) + interval(low, high) for value, low, high in bounds]}
    if rows["p"].notna().any():
        columns[f"{of}p"] = [*rows["p"].map(p_value)]
    if rows["p_holm"].notna().any():
        primary = [is_primary is True for is_primary in rows["primary"]]
        corrected = zip(rows["p_holm"].map(p_value), primary, strict=True)
        columns[f"{of}Holm p"] = ["primary" if first else p for p, first in corrected]
    return columns


def exponential(value: float | None) -> float | None:
    """Return e^value; None of a missing number."""
    return math.exp(value) if is_number(value) else None


def consumed_columns(results: Results, arms: Sequence[str]) -> dict[str, list[str]]:
    """Return columns of updates and tokens of text of each arm: an auxiliary loss takes text away."""
    consumed = results.consumed(arms)
    return {name: [*map(quantity, column)] for name, column in consumed.items() if any(map(is_number, column))}


def seed_column(cells: DataFrame) -> dict[str, list[str]]:
    """Return a column of how many seeds the estimates of each row are over; {} if all have equally many."""
    counts = [{estimate.seeds for estimate in known(row)} or {0} for row in cells.to_numpy()]
    return {"Seeds": [span(seeds) for seeds in counts]} if len(set().union(*counts)) > 1 else {}


def interval_note(cells: Cells, items: str) -> list[str]:
    """Return sentences on what the intervals are over."""
    seeds = {estimate.seeds for estimate in known(cells)}
    several = seeds - {1}
    notes = (
        [f"Mean and 95 % t-interval over {span(several)} seeds, which share texts, splits and tests."]
        if several
        else []
    )
    if 1 in seeds:
        only = "Where there is one seed" if several else "One seed"
        notes.append(f"{only}: 95 % interval over {items}; it says nothing about other seeds.")
    return notes


def width_note(cells: Cells) -> list[str]:
    """Return a sentence on the widest interval."""
    bounds = [(estimate.low, estimate.high) for estimate in known(cells)]
    halves = [(high - low) / 2 for low, high in bounds if low is not None and high is not None]
    return [f"The widest interval is ±{max(halves):.2f}."] if halves else []


def test_note(results: Results, task: str) -> list[str]:
    """Return sentences on what differences are paired over, and what Holm's p corrects for."""
    rows = select(results.comparisons, task=task)
    units = set(rows.loc[rows["low"].notna(), "unit"])
    note = [f"Differences are paired over {unit}." for unit in ("seeds", "documents", "items") if unit in units]
    if units - {"seeds"}:
        note.append(
            "Differences of one seed have no p: two runs that differ by rounding alone differ by several per cent."
        )
    if rows["p_holm"].notna().any():
        note.append(
            "Holm p: corrected for the arms of one family, those of a recipe, that are compared with the baseline on the "
            "same number."
        )
    return note


def chance(rows: DataFrame) -> str:
    """Return the score of guessing, mean over rows."""
    mean = rows["chance"].mean()
    return NONE if mean != mean else f"{mean:.2g}"


def layer_names(layers: Iterable[Any], results: Results) -> dict[Any, str]:
    """Return names of layers in order: `emb`, `1` … `L`, `out`.

    Only a preset says whether its embeddings are tied; of other models the last layer keeps its number.
    """
    ordered = sorted(layers)
    model = results.recipe.get("model", {})
    untied = model.get("preset") is not None and not model.get("tie_embeddings", False)
    special = {0: "emb", **({ordered[-1]: "out"} if untied else {})}
    return {layer: special.get(layer, f"{layer:.0f}") for layer in ordered}
