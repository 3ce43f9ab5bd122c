"""The report's tables, built once as text cells; markdown, HTML and the terminal only lay them out.

1. Each builder picks its rows of results.json, formats the cells and notes what its intervals are.
2. A builder returns a list, empty when the file has nothing for it: word retrieval has one table a language.
3. `to_markdown` is the renderer for pages; HTML is a template, the terminal belongs to the CLI.
4. Here are language modelling and word retrieval; `applied`, `parity`, `variants` and `amounts` have the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from prealign.report import results as ask
from prealign.report.formats import NONE, interval, number, p_value, span, times, with_interval
from prealign.report.results import SPLITS, STAGES, Estimate, Results, Row


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


# --- language modelling -----------------------------------------------------------------------------------


def language_modelling(results: Results) -> list[Table]:
    """Perplexity and bits per byte by language and arm, difference to the baseline, and gap closed."""
    scores = ask.select(results["scores"], task="lm", condition=None)
    cells = ask.group(scores, "language", "arm", "metric")
    keys = [
        (language, arm)
        for language in ask.languages(results)
        for arm in ask.arm_order(results)
        if (language, arm, "perplexity") in cells or (language, arm, "bits_per_byte") in cells
    ]
    if not keys:
        return []
    base = ask.arm_label(ask.baseline(results))
    found = {key: ask.estimate(cells.get((*key, "perplexity"), [])) for key in keys}
    columns = {
        "Language": [ask.language_label(language) for language, _ in keys],
        "Arm": [ask.arm_label(arm) for _, arm in keys],
        "Perplexity": [with_interval(found[key]) for key in keys],
        "Bits per byte": [with_interval(ask.estimate(cells.get((*key, "bits_per_byte"), []))) for key in keys],
        **differences([ask.comparison(results, arm, language) for language, arm in keys], base, ratio=True),
    }
    gaps = [ask.gap_closed(results, arm, language) for language, arm in keys]
    if any(gaps):
        columns["Gap closed"] = [with_interval(gap) for gap in gaps]
    columns |= seed_counts([[found[key]] for key in keys])
    note = [*interval_note(found.values(), "documents"), *_gap_note(gaps), *test_note(results, "lm")]
    return [make_table("Language modelling", columns, note, 2)]


def make_table(title: str, columns: Mapping[str, Sequence[str]], note: Iterable[str], labels: int = 1) -> Table:
    """A table from its columns by name, its note from sentences."""
    return Table(title, tuple(columns), tuple(zip(*columns.values(), strict=True)), " ".join(note), labels)


def differences(rows: Sequence[Row | None], base: str, *, of: str = "", ratio: bool = False) -> dict[str, list[str]]:
    """Columns of the difference to the baseline, its p and, where the file has it, Holm's p; {} without any row."""
    if not any(rows):
        return {}
    known = [row or {} for row in rows]
    columns = {
        f"{of}Difference to {base}": [
            number(row.get("difference")) + interval(row.get("low"), row.get("high")) for row in known
        ]
    }
    if ratio:
        columns["Ratio"] = [times(row.get("ratio")) for row in known]
    columns[f"{of}p"] = [p_value(row.get("p")) for row in known]
    if any(row.get("p_holm") is not None for row in known):
        columns[f"{of}Holm p"] = [p_value(row.get("p_holm")) for row in known]
    return columns


def seed_counts(rows: Sequence[Iterable[Estimate | None]]) -> dict[str, list[str]]:
    """A column of how many seeds the cells of each row are over; {} where all cells have equally many."""
    counts = [{estimate.seeds for estimate in row if estimate} or {0} for row in rows]
    return {"Seeds": [span(own) for own in counts]} if len(set().union(*counts)) > 1 else {}


def interval_note(estimates: Iterable[Estimate | None], items: str) -> list[str]:
    """Sentences on what the intervals are over."""
    found = [estimate for estimate in estimates if estimate]
    counts = {estimate.seeds for estimate in found if estimate.seeds > 1}
    notes = [f"Mean and 95 % t-interval over {span(counts)} seeds."] if counts else []
    if any(estimate.seeds == 1 for estimate in found):
        only = "Where there is one seed" if counts else "One seed"
        notes.append(f"{only}: 95 % interval over {items}; it says nothing about other seeds.")
    return notes


def _gap_note(gaps: Sequence[Estimate | None]) -> list[str]:
    if not any(gaps):
        return []
    return ["Gap closed: 0 is joint training, 1 is merged ids, on the log-perplexity scale."]


def test_note(results: Results, task: str) -> list[str]:
    """Sentences on what differences are paired over, and what Holm's p corrects for."""
    rows = ask.select(results.get("comparisons", []), task=task)
    units = {row.get("unit") for row in rows if row.get("p") is not None or "p_holm" not in row}
    note = [f"Differences are paired over {unit}." for unit in ("seeds", "documents", "items") if unit in units]
    corrected = any(row.get("p_holm") is not None for row in rows)
    return note + ["Holm p: corrected for all arms that meet the baseline on that number."] * corrected


def inside_outside(results: Results) -> list[Table]:
    """Target perplexity on the words that the training lexicon has, and on those it has not."""
    parts = {"Inside": "perplexity_inside", "Outside": "perplexity_outside"}
    scores = ask.select(results["scores"], task="lm", condition=None)
    found = {cell: ask.estimate(rows) for cell, rows in ask.group(scores, "language", "arm", "metric").items()}
    keys = [
        (language, arm)
        for language in ask.target_languages(results)
        for arm in ask.arm_order(results)
        if any(found.get((language, arm, metric)) for metric in parts.values())
    ]
    if not keys:
        return []
    columns = {
        "Language": [ask.language_label(language) for language, _ in keys],
        "Arm": [ask.arm_label(arm) for _, arm in keys],
    }
    cells = {part: [found.get((*key, metric)) for key in keys] for part, metric in parts.items()}
    for part, metric in parts.items():
        rows = [ask.comparison(results, arm, language, metric=metric) or {} for language, arm in keys]
        columns[part] = [with_interval(estimate) for estimate in cells[part]]
        columns[f"{part} / {ask.arm_label(ask.baseline(results))}"] = [times(row.get("ratio")) for row in rows]
    columns |= seed_counts(list(zip(*cells.values(), strict=True)))
    note = interval_note([estimate for own in cells.values() for estimate in own], "documents")
    return [make_table("Perplexity on words inside and outside the training lexicon", columns, note, 2)]


# --- word retrieval ---------------------------------------------------------------------------------------


def layer_names(layers: Iterable[int], results: Results) -> dict[int, str]:
    """Names of layers in order: `emb`, `1` … `L`, `out`.

    Only a preset says whether its embeddings are tied; of other models the last layer keeps its number.
    """
    ordered = sorted(layers)
    model = results["recipe"].get("model", {})
    untied = model.get("preset") is not None and not model.get("tie_embeddings", False)
    special = {0: "emb", **({ordered[-1]: "out"} if untied else {})}
    return {layer: special.get(layer, str(layer)) for layer in ordered}


def retrieval(results: Results, metric: str = "p_at_1") -> list[Table]:
    """P@1 per layer, a row for each arm and stage, a table for each target language."""
    scores = ask.select(results["scores"], task="retrieval", metric=metric, condition=None)
    return [
        _retrieval_table(results, language, rows, metric) for (language,), rows in ask.group(scores, "language").items()
    ]


def _retrieval_table(results: Results, language: str, rows: list[Row], metric: str) -> Table:
    layers = layer_names({row["layer"] for row in rows}, results)
    cells = ask.group(rows, "arm", "stage", "layer", "split")
    keys = [
        (arm, stage)
        for arm in ask.arm_order(results)
        for stage in STAGES
        if any((arm, stage, layer, split) in cells for layer in layers for split in SPLITS)
    ]
    found = {cell: ask.estimate(group) for cell, group in cells.items()}

    def pair(arm: str, stage: str, layer: int) -> str:
        both = [found.get((arm, stage, layer, split)) for split in SPLITS]
        return "/".join(f"{estimate.value:.2f}" if estimate else NONE for estimate in both)

    chances = ask.group(rows, "arm", "stage", "split")
    columns = {
        "Arm": [ask.arm_label(arm) for arm, _ in keys],
        "Stage": [STAGES[stage] for _, stage in keys],
        **{name: [pair(*key, layer) for key in keys] for layer, name in layers.items()},
        "Chance": ["/".join(chance(chances.get((*key, split), [])) for split in SPLITS) for key in keys],
        **seed_counts([[found.get((*key, layer, split)) for layer in layers for split in SPLITS] for key in keys]),
    }
    name = "P@1" if metric == "p_at_1" else "CSLS P@1"
    title = f"Word retrieval, {ask.language_label(language)}: {name} per layer, {'/'.join(SPLITS.values())} pairs"
    return make_table(title, columns, [*interval_note(found.values(), "word pairs"), *width_note(found.values())], 2)


def retrieval_by_subwords(results: Results) -> list[Table]:
    """P@1 of source words after stage 2 by how many subwords they have, a table for each target language."""
    scores = ask.select(results["scores"], task="retrieval", metric="p_at_1_forward", stage="pretrain")
    found = [row for row in scores if str(row.get("condition")).startswith("subwords=")]
    return [_subwords_table(results, language, rows) for (language,), rows in ask.group(found, "language").items()]


def _subwords_table(results: Results, language: str, rows: list[Row]) -> Table:
    arms = [arm for arm in ask.arm_order(results) if ask.select(rows, arm=arm)]
    conditions = sorted({row["condition"] for row in rows})

    def cell(arm: str, condition: str) -> str:
        parts = [ask.select(rows, arm=arm, condition=condition, split=split) for split in SPLITS]
        means = [ask.mean([row["value"] for row in own]) for own in parts]
        return "/".join(NONE if mean is None else f"{mean:.2f}" for mean in means)

    def words(condition: str) -> str:
        first = [row["n"] for row in ask.select(rows, condition=condition, split="seen") if row["layer"] == 0]
        return f"{ask.mean(first) or 0:,.0f}"

    names = {condition: condition.removeprefix("subwords=") for condition in conditions}
    columns = {
        "Arm": [ask.arm_label(arm) for arm in arms],
        **{
            f"{name} subword{'s' * (name != '1')}": [cell(arm, condition) for arm in arms]
            for condition, name in names.items()
        },
    }
    title = f"Word retrieval by subwords, {ask.language_label(language)}: P@1, {'/'.join(SPLITS.values())} pairs"
    counts = ", ".join(f"{words(condition)} of {name}" for condition, name in names.items())
    note = f"Source words after stage 2, mean over layers and seeds. Seen words asked, on average: {counts}."
    return make_table(title, columns, [note])


def chance(rows: Iterable[Row]) -> str:
    """What guessing gives, on average over rows."""
    mean = ask.mean([row["chance"] for row in rows if row.get("chance") is not None])
    return NONE if mean is None else f"{mean:.2g}"


def width_note(estimates: Iterable[Estimate | None]) -> list[str]:
    """A sentence on the widest interval."""
    halves = [
        (estimate.high - estimate.low) / 2
        for estimate in estimates
        if estimate and estimate.low is not None and estimate.high is not None
    ]
    return [f"The widest interval is ±{max(halves):.2f}."] if halves else []
