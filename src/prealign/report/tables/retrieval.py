"""Word retrieval on lexicon pairs: P@1 by layer, and by how many subwords a word has."""

from __future__ import annotations

from pandas import DataFrame, Index

from prealign.report.estimates import estimates
from prealign.report.formats import NONE
from prealign.report.results import SPLITS, Results, language_label, select
from prealign.report.tables.table import (
    Table,
    chance,
    interval_note,
    layer_columns,
    layer_names,
    seed_column,
    text_table,
    width_note,
)  # fmt: skip

_SPLIT_NAMES = "/".join(SPLITS.values())


def retrieval(results: Results, metric: str = "p_at_1") -> list[Table]:
    """Return P@1 per layer, a row for each arm and stage, a table for each target language."""
    rows = select(results.scores, arm=results.arms, task="retrieval", metric=metric, condition=None)
    return [
        _by_layer(results, str(tag), own, metric) for tag, own in rows.groupby("language", sort=False, observed=True)
    ]


def _by_layer(results: Results, language: str, rows: DataFrame, metric: str) -> Table:
    found = estimates(rows, "arm", "stage", "layer", "split")
    cells = layer_columns(found, layer_names(set(rows["layer"]), results), "split", list(SPLITS))
    columns = {name: [*column] for name, column in cells.items()}
    columns["Chance"] = _chances(rows, cells.index)
    columns |= seed_column(found.unstack(["layer", "split"]))
    name = "P@1" if metric == "p_at_1" else "CSLS P@1"
    title = f"Word retrieval, {language_label(language)}: {name} per layer, {_SPLIT_NAMES} pairs"
    note = [*interval_note(found, "word pairs"), *width_note(found)]
    return text_table(results, title, cells.index, columns, note)


def _chances(rows: DataFrame, index: Index) -> list[str]:
    """Chance of both splits in each (arm, stage)."""
    found = {key: chance(group) for key, group in rows.groupby(["arm", "stage", "split"], observed=True)}
    return ["/".join(found.get((*key, split), NONE) for split in SPLITS) for key in index]


def retrieval_by_subwords(results: Results) -> list[Table]:
    """Return P@1 of source words after stage 2 by how many subwords they have, a table for each target language."""
    rows = select(results.scores, arm=results.arms, task="retrieval", metric="p_at_1_forward", stage="pretrain")
    rows = rows[rows["condition"].astype(str).str.startswith("subwords=")]
    return [_by_subwords(results, str(tag), own) for tag, own in rows.groupby("language", sort=False, observed=True)]


def _by_subwords(results: Results, language: str, rows: DataFrame) -> Table:
    rows = rows.assign(subwords=rows["condition"].str.removeprefix("subwords="))
    means = rows.groupby(["arm", "subwords", "split"], observed=True)["value"].mean().dropna().map("{:.2f}".format)
    pairs = means.unstack("split").reindex(columns=list(SPLITS)).fillna(NONE).agg("/".join, axis=1)
    cells = pairs.unstack("subwords").fillna("/".join([NONE] * len(SPLITS)))
    columns = {f"{count} subword{'s' * (count != '1')}": [*column] for count, column in cells.items()}
    words = select(rows, split="seen", layer=0).groupby("subwords")["n"].mean()
    counts = ", ".join(f"{words.get(count, 0):,.0f} of {count}" for count in cells)
    note = f"Source words after stage 2, mean over layers and seeds. Seen words tested, on average: {counts}."
    title = f"Word retrieval by subwords, {language_label(language)}: P@1, {_SPLIT_NAMES} pairs"
    return text_table(results, title, cells.index, columns, [note])
