"""Word retrieval on lexicon pairs: P@1 by layer, and by how many subwords a word has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pandas import DataFrame

from prealign.report.estimates import estimates
from prealign.report.formats import NONE, two_decimals
from prealign.report.results import SPLITS, Results, language_label, select
from prealign.report.tables.table import Table, chance, interval_note, layer_names, seed_column, text_table, width_note

_SPLIT_NAMES = "/".join(SPLITS.values())


def retrieval(results: Results, metric: str = "p_at_1") -> list[Table]:
    """Return P@1 per layer, a row for each arm and stage, a table for each target language."""
    rows = select(results.scores, arm=results.arms, task="retrieval", metric=metric, condition=None)
    name = "P@1" if metric == "p_at_1" else "CSLS P@1"
    tables = []
    for tag, own in rows.groupby("language", sort=False, observed=True):
        title = f"Word retrieval, {language_label(str(tag))}: {name} per layer, {_SPLIT_NAMES} pairs"
        layers = layer_names(set(own["layer"]), results)
        tables.append(layer_table(results, title, own, layers, "split", SPLITS, "word pairs"))
    return tables


def layer_table(
    results: Results,
    title: str,
    rows: DataFrame,
    layers: Mapping[Any, str],
    pair: str,
    members: Iterable[str],
    items: str,
    pooled: Mapping[str, str] | None = None,
) -> Table:
    """Return a table with a row for each arm and stage and a column for each layer, with two values in a cell: `0.95/0.94`.

    pair, members: the column whose two values share a cell; pooled: metrics over all layers, and their names;
    items: what intervals of a single seed are over.
    """
    found = estimates(rows[rows["layer"].notna()], "arm", "stage", pair, "layer")
    by_member = found.map(two_decimals).unstack("layer", fill_value=NONE)[list(layers)].unstack(pair, fill_value=NONE)
    index = by_member.index
    columns: dict[str, Any] = {
        name: ["/".join(cells) for cells in by_member[layer].reindex(columns=list(members), fill_value=NONE).to_numpy()]
        for layer, name in layers.items()
    }
    overall = estimates(select(rows, metric=list(pooled or {})), "metric", "arm", "stage")
    columns |= {
        name: overall[metric].reindex(index) for metric, name in (pooled or {}).items() if metric in overall.index
    }
    guesses = {key: chance(own) for key, own in rows.groupby(["arm", "stage", pair], observed=True)}
    columns["Chance"] = ["/".join(guesses.get((*key, member), NONE) for member in members) for key in index]
    columns |= seed_column(found.unstack([pair, "layer"]))
    estimated = [*found, *overall]
    return text_table(results, title, index, columns, [*interval_note(estimated, items), *width_note(estimated)])


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
    columns = {f"{count} subword{'s' * (count != '1')}": column for count, column in cells.items()}
    words = select(rows, split="seen", layer=0).groupby("subwords")["n"].mean()
    counts = ", ".join(f"{words.get(count, 0):,.0f} of {count}" for count in cells)
    note = f"Source words after stage 2, mean over layers and seeds. Seen words tested, on average: {counts}."
    title = f"Word retrieval by subwords, {language_label(language)}: P@1, {_SPLIT_NAMES} pairs"
    return text_table(results, title, cells.index, columns, [note])
