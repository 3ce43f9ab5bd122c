"""Tables as text cells, and the columns and notes that several tables share.

1. A builder averages rows of results.json into cells (`estimates`), formats them, and notes what the intervals are over.
2. It returns a list of tables, empty if the file has no data for it.
3. `text_table` turns a DataFrame into a `Table`; `to_markdown`, the HTML template and the terminal lay it out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from pandas import DataFrame, Index

from prealign.report.estimates import Cells, Estimate, known
from prealign.report.formats import NONE, interval, number, p_value, span, times, with_interval
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


def differences(
    compared: DataFrame, index: Index, base: str, *, of: str = "", ratio: bool = False
) -> dict[str, list[str]]:
    """Return columns of the difference to the baseline, its p and, where the file has it, Holm's p; {} without any row.

    compared: rows of `Results.compared`; index: (language, arm) of each row of the table.
    """
    rows = compared.reindex(index)
    if rows["difference"].isna().all():
        return {}
    bounds = zip(rows["difference"], rows["low"], rows["high"], strict=True)
    columns = {f"{of}Difference to {base}": [number(value) + interval(low, high) for value, low, high in bounds]}
    if ratio:
        columns["Ratio"] = [*rows["ratio"].map(times)]
    columns[f"{of}p"] = [*rows["p"].map(p_value)]
    if rows["p_holm"].notna().any():
        columns[f"{of}Holm p"] = [*rows["p_holm"].map(p_value)]
    return columns


def seed_column(cells: DataFrame) -> dict[str, list[str]]:
    """Return a column of how many seeds the estimates of each row are over; {} if all have equally many."""
    counts = [{estimate.seeds for estimate in known(row)} or {0} for row in cells.to_numpy()]
    return {"Seeds": [span(seeds) for seeds in counts]} if len(set().union(*counts)) > 1 else {}


def interval_note(cells: Cells, items: str) -> list[str]:
    """Return sentences on what the intervals are over."""
    seeds = {estimate.seeds for estimate in known(cells)}
    several = seeds - {1}
    notes = [f"Mean and 95 % t-interval over {span(several)} seeds."] if several else []
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
    units = set(rows.loc[rows["p"].notna(), "unit"])
    note = [f"Differences are paired over {unit}." for unit in ("seeds", "documents", "items") if unit in units]
    if rows["p_holm"].notna().any():
        note.append("Holm p: corrected for all arms that are compared with the baseline on the same number.")
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
