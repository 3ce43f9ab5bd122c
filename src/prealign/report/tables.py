"""The report's tables, built once as text cells; markdown, HTML and the terminal only lay them out.

1. Each builder picks its rows of results.json, formats the cells and notes what its intervals are.
2. A builder returns a list, empty when the file has nothing for it: word retrieval has one table a language.
3. `to_markdown` is the renderer for pages; HTML is a template, the terminal belongs to the CLI.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from prealign.report import results as ask
from prealign.report.formats import (
    NONE,
    duration,
    interval,
    number,
    p_value,
    quantity,
    share,
    times,
    with_interval,
)
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
    scores = ask.select(results["scores"], task="lm")
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
        **_against_baseline(results, keys, base),
    }
    gaps = [ask.gap_closed(results, arm, language) for language, arm in keys]
    if any(gaps):
        columns["Gap closed"] = [with_interval(gap) for gap in gaps]
    seeds = {estimate.seeds for estimate in found.values() if estimate}
    if len(seeds) > 1:
        columns["Seeds"] = [str(estimate.seeds) if (estimate := found[key]) else "0" for key in keys]
    note = " ".join([*_interval_note(found.values(), "documents"), *_gap_note(gaps), *_test_note(results)])
    return [Table("Language modelling", tuple(columns), tuple(zip(*columns.values(), strict=True)), note, 2)]


def _against_baseline(results: Results, keys: Sequence[tuple[str, str]], base: str) -> dict[str, list[str]]:
    rows = [ask.comparison(results, arm, language) for language, arm in keys]
    if not any(rows):
        return {}
    return {
        f"Difference to {base}": [
            number(row["difference"]) + interval(row["low"], row["high"]) if row else NONE for row in rows
        ],
        "Ratio": [times(row.get("ratio")) if row else NONE for row in rows],
        "p": [p_value(row["p"]) if row else NONE for row in rows],
    }


def _interval_note(estimates: Iterable[Estimate | None], items: str) -> list[str]:
    found = [estimate for estimate in estimates if estimate]
    counts = sorted({estimate.seeds for estimate in found if estimate.seeds > 1})
    notes = []
    if counts:
        span = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        notes.append(f"Mean and 95 % t-interval over {span} seeds.")
    if any(estimate.seeds == 1 for estimate in found):
        only = "Where there is one seed" if counts else "One seed"
        notes.append(f"{only}: 95 % interval over {items}; it says nothing about other seeds.")
    return notes


def _gap_note(gaps: Sequence[Estimate | None]) -> list[str]:
    if not any(gaps):
        return []
    return ["Gap closed: 0 is joint training, 1 is merged ids, on the log-perplexity scale."]


def _test_note(results: Results) -> list[str]:
    units = {row.get("unit") for row in results.get("comparisons", []) if row["task"] == "lm"}
    return [f"Differences are paired over {unit}." for unit in ("seeds", "documents") if unit in units]


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
    scores = ask.select(results["scores"], task="retrieval", metric=metric)
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
    body = tuple(
        (
            ask.arm_label(arm),
            STAGES[stage],
            *(pair(arm, stage, layer) for layer in layers),
            "/".join(_chance(chances.get((arm, stage, split), [])) for split in SPLITS),
        )
        for arm, stage in keys
    )
    name = "P@1" if metric == "p_at_1" else "CSLS P@1"
    title = f"Word retrieval, {ask.language_label(language)}: {name} per layer, {'/'.join(SPLITS.values())} pairs"
    note = " ".join([*_interval_note(found.values(), "word pairs"), *_width_note(found.values())])
    return Table(title, ("Arm", "Stage", *layers.values(), "Chance"), body, note, 2)


def _chance(rows: Iterable[Row]) -> str:
    mean = ask.mean([row["chance"] for row in rows if row.get("chance") is not None])
    return NONE if mean is None else f"{mean:.2g}"


def _width_note(estimates: Iterable[Estimate | None]) -> list[str]:
    halves = [
        (estimate.high - estimate.low) / 2
        for estimate in estimates
        if estimate and estimate.low is not None and estimate.high is not None
    ]
    return [f"The widest interval is ±{max(halves):.2f}."] if halves else []


# --- budget, switching, data ------------------------------------------------------------------------------


def budget(results: Results) -> list[Table]:
    """Tokens, FLOPs, seconds and steps of each arm by stage and in total, means over seeds."""
    rows = results.get("budget", [])
    body: list[tuple[str, ...]] = []
    for arm in ask.arm_order(results):
        by_stage = ask.group(ask.select(rows, arm=arm), "stage")
        for stage in ("align", "pretrain"):
            if (stage,) in by_stage:
                name = {"align": "1 · align", "pretrain": "2 · pretrain"}[stage]
                body.append((ask.arm_label(arm), name, *_amounts(by_stage[(stage,)]), ""))
        if by_stage:
            ratio = times(ask.budget_ratio(results, arm))
            body.append((ask.arm_label(arm), "total", *_amounts(ask.finished(results, arm)), ratio))
    columns = (
        "Arm",
        "Stage",
        "Steps",
        "Tokens",
        "FLOPs",
        "Time",
        f"FLOPs / {ask.arm_label(ask.baseline(results))}",
    )
    return [Table("Training budget", columns, tuple(body), "Means over seeds.", 2)] if body else []


def _amounts(rows: Sequence[Row]) -> tuple[str, str, str, str]:
    """Sums over stages, then the mean over seeds."""
    by_seed = ask.group(rows, "seed").values()

    def mean_total(key: str) -> float | None:
        return ask.mean([math.fsum(row[key] for row in stages) for stages in by_seed])

    steps = mean_total("steps") if all("steps" in row for row in rows) else None
    shown = NONE if steps is None else f"{steps:,.0f}"
    return (
        shown,
        quantity(mean_total("tokens")),
        quantity(mean_total("flops")),
        duration(mean_total("seconds")),
    )


def switching(results: Results) -> list[Table]:
    """Expected (ratio × coverage) against realised share of switched words, by arm; means over seeds."""
    body = []
    rows = results.get("switching", [])
    for arm in ask.arm_order(results):
        own = ask.select(rows, arm=arm)
        if not own:
            continue
        expected, realised, tokens = (
            ask.mean([row[key] for row in own if row.get(key) is not None])
            for key in ("expected", "realised", "realised_tokens")
        )
        body.append(
            (
                ask.arm_label(arm),
                " or ".join(sorted({row["mode"] for row in own})).replace("_", "-"),
                share(ask.mean([row["ratio"] for row in own])),
                share(ask.mean([row["coverage"] for row in own])),
                share(expected),
                share(realised),
                times(realised / expected if realised is not None and expected else None),
                share(tokens),
                quantity(math.fsum(row.get("switched_words", 0) for row in own)),
            )
        )
    columns = (
        "Arm", "Mode", "Ratio", "Coverage", "Expected", "Realised", "Realised / expected", "Of tokens",
        "Switched words",
    )  # fmt: skip
    note = "Expected is ratio × coverage; a realised share far from it is a bug. Words are summed over seeds."
    return [Table("Code-switching", columns, tuple(body), note, 2)] if body else []


def corpus(results: Results) -> list[Table]:
    """Documents, tokens and bytes by language and split; coverage of the lexicon."""
    body = tuple(
        (
            ask.language_label(language),
            split,
            f"{counts['documents']:,}",
            f"{counts['tokens']:,}",
            f"{counts['bytes']:,}",
        )
        for language, splits in results.get("corpus", {}).items()
        for split, counts in splits.items()
    )
    columns = ("Language", "Split", "Documents", "Tokens", "Bytes")
    return [Table("Corpus", columns, body, labels=2)] if body else []


def lexicon(results: Results) -> list[Table]:
    """Groups of the lexicon, how many are held out, and the share of source tokens it covers per target."""
    found = results.get("lexicon")
    if not found:
        return []
    rows = tuple(
        (ask.language_label(target), f"{found['groups']:,}", f"{found['held_out']:,}", share(covered))
        for target, covered in found["coverage"].items()
    )
    columns = ("Target", "Translation groups", "Held out", "Coverage of source tokens")
    return [Table("Lexicon", columns, rows)]
