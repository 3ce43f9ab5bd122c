"""The scores of one arm with one seed: from its finished stages to a table for the terminal."""

from __future__ import annotations

from typing import Any

from prealign.files import read_json
from prealign.report.formats import NONE, interval, number
from prealign.report.tables.table import Table
from prealign.run.folder import STAGE_FILE
from prealign.run.stages import ArmRun


def arm_scores(arm_run: ArmRun) -> list[dict[str, Any]]:
    """Return every score of a finished arm, as entries of results.json."""
    records = [read_json(arm_run.folder(stage) / STAGE_FILE) for stage in arm_run.marks()]
    return [score for record in records for score in record.get("scores", [])]


def scores_table(scores: list[dict[str, Any]]) -> Table:
    """Return the scores of the final model that no layer has: perplexity, transfer, knowledge."""
    rows = []
    for score in scores:
        if score["layer"] is None:
            value = number(score["value"]) + interval(score["low"], score["high"])
            rows.append((score["task"], score["language"], score["metric"], score["condition"] or NONE, value))
    note = "95 % interval over test items. Scores by layer: add --json."
    return Table("Scores", ("Task", "Language", "Metric", "Condition", "Value"), tuple(rows), note, labels=4)
