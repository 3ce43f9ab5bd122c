"""Retrieval of what no arm was trained on: words of test dictionaries, and parallel sentences.

1. A table of each kind and language, a row an arm and stage, P@1 beside CSLS or MEXA at every layer.
2. A figure for each language, a panel a measure, a line an arm after stage 2.
3. Tables of what was asked: words of the test dictionaries, and why some were not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prealign.report import drawing as draw
from prealign.report import results as ask
from prealign.report.drawing import Picture
from prealign.report.formats import NONE, with_interval
from prealign.report.results import STAGES, Estimate, Results, Row
from prealign.report.tables import Table, chance, interval_note, layer_names, make_table, seed_counts, width_note

DICTIONARY = "dictionary"
"""The condition of scores of test dictionaries."""


class Kind(NamedTuple):
    """Scores of one data set: its rows, two metrics by their names, and what they are called."""

    rows: list[Row]
    title: str
    metrics: Mapping[str, str]
    items: str


def kinds(results: Results, language: str) -> list[Kind]:
    """Return what was measured of a language: its test dictionary, then its sets of sentences."""
    words = ask.select(results["scores"], task="retrieval", language=language, condition=DICTIONARY)
    names = {"p_at_1": "P@1", "csls_p_at_1": "CSLS P@1"}
    found = [Kind(words, "words of the test dictionary", names, "words")] if words else []
    rows = ask.select(results["scores"], task="sentence_retrieval", language=language)
    names = {"p_at_1": "P@1", "mexa": "MEXA"}
    for (condition,), own in ask.group(rows, "condition").items():
        found.append(Kind(own, f"sentences of {condition}", names, "sentences"))
    return found


def retrieval_tables(results: Results) -> list[Table]:
    """Return the tables of every target language."""
    return [
        _table(results, language, kind)
        for language in ask.target_languages(results)
        for kind in kinds(results, language)
    ]


def _layers(results: Results, kind: Kind) -> dict[int, str]:
    layers = sorted({row["layer"] for row in kind.rows if row["layer"] is not None})
    if kind.items == "words":
        return layer_names(layers, results)
    # A sentence has no state in the output embedding.
    return {layer: str(layer) if layer else "emb" for layer in layers}


def _table(results: Results, language: str, kind: Kind) -> Table:
    layers = _layers(results, kind)
    cells = ask.group(kind.rows, "arm", "stage", "metric", "layer")
    found = {cell: ask.estimate(rows) for cell, rows in cells.items()}
    keys = [
        (arm, stage)
        for arm in ask.arm_order(results)
        for stage in STAGES
        if any((arm, stage, metric, layer) in cells for metric in kind.metrics for layer in layers)
    ]

    def pair(arm: str, stage: str, layer: int) -> str:
        both = [found.get((arm, stage, metric, layer)) for metric in kind.metrics]
        return "/".join(f"{estimate.value:.2f}" if estimate else NONE for estimate in both)

    columns = {
        "Arm": [ask.arm_label(arm) for arm, _ in keys],
        "Stage": [STAGES[stage] for _, stage in keys],
        **{name: [pair(*key, layer) for key in keys] for layer, name in layers.items()},
    }
    for metric, name in (("mexa_mean", "MEXA, mean"), ("mexa_max", "MEXA, best layer")):
        pooled = [found.get((*key, metric, None)) for key in keys]
        columns |= {name: [with_interval(estimate) for estimate in pooled]} if any(pooled) else {}
    guesses = ask.group(kind.rows, "metric")
    columns["Chance"] = ["/".join(chance(guesses.get((metric,), [])) for metric in kind.metrics)] * len(keys)
    columns |= seed_counts([[found.get((*key, m, layer)) for m in kind.metrics for layer in layers] for key in keys])
    what = "/".join(kind.metrics.values())
    note = [*interval_note(found.values(), kind.items), *width_note(found.values())]
    return make_table(f"{ask.language_label(language)}, {kind.title}: {what} per layer", columns, note, 2)


def retrieval_pictures(results: Results) -> list[Picture]:
    """Return a picture for each target language: how the arms end, layer by layer."""
    return [
        _picture(results, language, found)
        for language in ask.target_languages(results)
        if (found := kinds(results, language))
    ]


def _picture(results: Results, language: str, found: Sequence[Kind]) -> Picture:
    panels = [(kind, metric) for kind in found for metric in kind.metrics]
    figure = Figure(figsize=(draw.WIDTH, 3.3 * len(found)))
    grid = figure.subplots(len(found), 2, squeeze=False)
    for (kind, metric), axes in zip(panels, grid.flat, strict=True):
        axes.set_title(f"{kind.title}: {kind.metrics[metric]}", pad=10)
        _lines(axes, results, kind, metric)
    label, name = ask.language_label(language), f"unseen-{language}"
    title = f"Alignment with {label} on what was never trained on"
    caption = "After stage 2, and before any training (at start); level and dotted: chance. Bands are 95 % intervals."
    summary = " ".join(
        f"{ask.arm_label(arm)}, {kind.title}, best layer: {max(values):.2f} {kind.metrics[metric]}."
        for kind, metric in panels
        for arm in ask.arm_order(results)
        if (values := [e.value for e in _line(kind, metric, arm).values()])
    )
    return Picture(name, title, f"{title}, by layer and arm. {summary}", caption, draw.svg_text(figure, name))


def _line(kind: Kind, metric: str, arm: str, stage: str = "pretrain") -> dict[int, Estimate]:
    return ask.by_layer(ask.select(kind.rows, arm=arm, metric=metric, stage=stage))


def _lines(axes: Axes, results: Results, kind: Kind, metric: str) -> None:
    layers, ends, highest = _layers(results, kind), [], 0.05
    # Words that both languages write alike are found by a model that knows nothing: chance is no floor.
    if start := _line(kind, metric, ask.baseline(results), "init"):
        xs, ys = list(start), [estimate.value for estimate in start.values()]
        axes.plot(xs, ys, color=draw.MUTED, linestyle=(0, (1, 1)), linewidth=1.2)
        ends.append((xs[-1], ys[-1], STAGES["init"], draw.MUTED))
        highest = max(highest, *ys)
    for arm in ask.arm_order(results):
        line, look = _line(kind, metric, arm), draw.looks(results)[arm]
        if not line:
            continue
        xs, ys = list(line), [estimate.value for estimate in line.values()]
        axes.plot(xs, ys, color=look.colour, linestyle=look.dash, linewidth=1.9, marker="o", markersize=3.5)
        draw.band(axes, xs, [(e.low, e.high) for e in line.values()], look.colour)
        ends.append((xs[-1], ys[-1], ask.arm_label(arm), look.colour))
        highest = max([highest, *ys, *(e.high for e in line.values() if e.high is not None)])
    for guess in sorted({row["chance"] for row in ask.select(kind.rows, metric=metric) if row["chance"] is not None}):
        axes.axhline(guess, color=draw.MUTED, linewidth=0.9, linestyle=(0, (1, 1.5)))
    # As high as the lines go: on real languages P@1 is often far below 1.
    axes.set(
        ylim=(-0.02 * highest, min(1.02, 1.1 * highest)), xlim=(min(layers) - 0.2, max(layers) + 0.2), xlabel="layer"
    )
    axes.set_xticks(list(layers), list(layers.values()))
    axes.grid(axis="x", visible=False)
    draw.end_labels(axes, ends, gap=0.075)


def asked_dictionaries(results: Results) -> list[Table]:
    """Return how many words of each test dictionary are asked for, and why the others are not."""
    tests = results.get("tests")
    if not tests:
        return []
    rows = tuple(
        (
            ask.language_label(found["target"]),
            *(f"{found[key]:,}" for key in ("words", "asked", "asked_back", "pairs")),
            "; ".join(f"{count:,} {reason}" for reason, count in found["dropped"].items()) or NONE,
        )
        for found in tests["dictionaries"]
    )
    columns = ("Target", "Words", "Asked", "Asked backward", "Pairs", "Not asked, and why")
    note = f"{tests['kept_out']:,} words of the training dictionaries were left out of the lexicon: they are tested."
    return [Table("Test dictionaries", columns, rows, note)]
