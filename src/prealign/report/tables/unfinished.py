"""Runs that ended early, and why: arms and seeds whose numbers were not finite."""

from __future__ import annotations

from prealign.report.results import Results
from prealign.report.tables.table import Table


def unfinished(results: Results) -> list[Table]:
    """Return a row for each run that ended early; no table without such runs."""
    rows = tuple(
        (results.label(row["arm"]), str(row["seed"]), f"unfinished: {row['reason']}")
        for row in results.section("unfinished")
    )
    note = "No number on this page is over these runs."
    return [Table("Unfinished runs", ("Arm", "Seed", "Why"), rows, note, labels=3)] if rows else []
