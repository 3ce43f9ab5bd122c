"""Whether the alignment of stage 1 is established: P@1 of seen words after stage 1, and its price.

1. P@1 is that of the sample that stage 1 itself measures (`alignment` in results.json). Results without it have the scores
   of word retrieval after stage 1 instead.
2. Both are means over the layers that stage 1 aligns: the blocks if it aligns all layers, else the one embedding.
3. Below `ESTABLISHED`, what follows is no test of the method. The finding and the note of the table say so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from pandas import DataFrame, Series

from prealign.recipe.arms import ARMS
from prealign.recipe.methods import ESTABLISHED
from prealign.report.formats import NONE, percent
from prealign.report.results import Results, language_label, select
from prealign.report.tables.table import Table, layer_names, text_table

_STAGE = "align"


def established(results: Results) -> list[Table]:
    """Return P@1 of seen words after stage 1, by arm and target language, with the steps and FLOPs of stage 1."""
    found = reached(results)
    if found.empty:
        return []
    spent = select(results.budget, stage=_STAGE).groupby("arm", observed=True)[["steps", "flops"]].mean()
    whole = select(results.budget, stage="total").groupby("arm", observed=True)["flops"].mean()
    arms = [arm for arm, _ in found.index]
    columns = {
        "P@1, seen": [f"{value:.2f}" for value in found["value"]],
        "Established": ["yes" if value >= ESTABLISHED else "no" for value in found["value"]],
        "Goal": [NONE if math.isnan(until) else f"{until:g}" for until in found["until"]],
        "Steps": [
            _number(spent["steps"], arm) + (f" of at most {most:,.0f}" if until == until else "")
            for arm, most, until in zip(arms, found["most"], found["until"], strict=True)
        ],
        "Share of its FLOPs": [
            percent(spent["flops"].get(arm, math.nan) / whole.get(arm, math.nan)) if arm in whole else NONE
            for arm in arms
        ],
    }
    note = [
        "Means over seeds, and over the blocks of the model (one embedding for arms that align only that). The words are a "
        "sample of those that stage 1 trained.",
        *not_established(results),
    ]
    return [text_table(results, "Alignment after stage 1", found.index, columns, note)]


def not_established(results: Results) -> Iterator[str]:
    """Yield a sentence if the alignment of an arm is not established: which arms, how far they are, what to change."""
    found = reached(results)
    low = found[found["value"] < ESTABLISHED]
    if low.empty:
        return
    arms = "; ".join(
        f"{results.label(arm)} ({language_label(language)} {value:.2f})"
        for (arm, language), value in low["value"].items()
    )
    yield (
        f"The alignment was not established: after stage 1, P@1 of the words that it trained is below {ESTABLISHED} in "
        f"{arms}. What follows is no test of aligning first. Raise align.steps, or set align.until: 0.9."
    )


def reached(results: Results) -> DataFrame:
    """Return value, until and most by arm and language, means over seeds; empty without stage 1."""
    rows = DataFrame(results.section("alignment")).reindex(
        columns=["arm", "language", "stage", "value", "until", "most"]
    )
    rows = rows[rows["stage"] == _STAGE]
    if rows.empty:
        rows = _from_scores(results).assign(until=math.nan, most=math.nan)
    rows = results.typed(rows[["arm", "language", "value", "until", "most"]])
    rows = select(rows, arm=results.arms).astype({"until": float, "most": float})
    rows = rows[np.isfinite(rows["value"])]
    return rows.groupby(["arm", "language"], observed=True)[["value", "until", "most"]].mean()


def _from_scores(results: Results) -> DataFrame:
    """Return the mean score over the aligned layers, a row for each arm, seed and language."""
    keys = {"task": "retrieval", "metric": "p_at_1", "condition": None, "stage": _STAGE, "split": "seen"}
    rows = select(results.scores, **keys)
    if rows.empty:
        return DataFrame(columns=["arm", "seed", "language", "value"])
    names = layer_names(set(rows["layer"].dropna()), results)
    wanted = {"embedding": ("emb",), "output": ("out",)}
    inner = tuple(name for name in names.values() if name not in ("emb", "out"))
    layers = rows["arm"].astype(str).map(lambda arm: wanted.get(_aligned(results, arm), inner))
    here = [names.get(layer) in allowed for layer, allowed in zip(rows["layer"], layers, strict=True)]
    groups = rows[here].groupby(["arm", "seed", "language"], observed=True)
    return groups["value"].mean().reset_index()


def _aligned(results: Results, arm: str) -> str:
    """Return the layers that stage 1 of an arm aligns, by its phases, or in a file without them by the arm's settings."""
    phases = results.content.get("arms", {}).get(arm, {}).get("phases", [])
    objectives = [one for phase in phases if phase["name"] == _STAGE for one in phase["objectives"]]
    settings = ARMS[arm].set if arm in ARMS else {}
    return next((one["layers"] for one in objectives if "layers" in one), settings.get("align.layers", "all"))


def _number(steps: Series, arm: str) -> str:
    found = steps.get(arm, math.nan)
    return NONE if math.isnan(found) else f"{found:,.0f}"
