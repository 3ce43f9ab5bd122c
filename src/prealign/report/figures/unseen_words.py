"""Retrieval of words and sentences that were never trained, per layer, as pictures."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prealign.report import results as ask
from prealign.report.figures import drawing as draw
from prealign.report.figures.drawing import Picture
from prealign.report.results import STAGES, Estimate, Results
from prealign.report.tables.unseen_words import Kind, _layers, kinds


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
