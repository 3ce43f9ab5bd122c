"""Retrieval on external test sets, by layer: a row of panels for each set, a panel for each metric."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas import Series

from prealign.report.estimates import estimates
from prealign.report.figures import drawing as draw
from prealign.report.figures.drawing import Picture
from prealign.report.results import STAGES, Results, language_label, select
from prealign.report.tables.external_retrieval import TestSet, test_sets


def external_retrieval(results: Results) -> list[Picture]:
    """Return a picture for each target language: retrieval after stage 2, layer by layer."""
    return [_picture(results, tag, found) for tag in results.targets if (found := test_sets(results, tag))]


def _picture(results: Results, language: str, found: Sequence[TestSet]) -> Picture:
    figure = Figure(figsize=(draw.WIDTH, 3.3 * len(found)))
    grid = figure.subplots(len(found), 2, squeeze=False)
    panels = [(tests, metric) for tests in found for metric in tests.metrics]
    for (tests, metric), axes in zip(panels, grid.flat, strict=True):
        axes.set_title(f"{tests.title}: {tests.metrics[metric]}", pad=10)
        _lines(axes, results, tests, metric)
    label, name = language_label(language), f"unseen-{language}"
    title = f"Alignment with {label} on external test sets"
    caption = "After stage 2, and before training (at start). Dotted horizontal line: chance. Bands are 95 % intervals."
    best = [_best_layers(results, own) for own in found]
    return draw.picture(figure, name, title, caption, f"Retrieval with {label} by layer. Best layer:", best)


def _best_layers(results: Results, tests: TestSet) -> str:
    """Both metrics of baseline and main arm after stage 2, each in its best layer."""
    best = {
        arm: [f"{max(e.value for e in line):.2f}" for m in tests.metrics if len(line := _line(tests, m, arm))]
        for arm in (results.baseline, results.main_arm)
        if arm in results.arms
    }
    values = ", ".join(f"{results.label(arm)} {'/'.join(own)}" for arm, own in best.items() if own)
    return f"{tests.title}, {'/'.join(tests.metrics.values())}: {values}."


def _line(tests: TestSet, metric: str, arm: str, stage: str = "pretrain") -> Series:
    """Estimates of an arm by layer."""
    return estimates(select(tests.rows, arm=arm, metric=metric, stage=stage), "layer").dropna()


def _lines(axes: Axes, results: Results, tests: TestSet, metric: str) -> None:
    ends, highest = [], 0.05
    # Words that both languages write alike are found without training, so the untrained model is shown beside chance.
    start = _line(tests, metric, results.baseline, "init")
    if len(start):
        values = [estimate.value for estimate in start]
        axes.plot(start.index, values, color=draw.MUTED, linestyle=(0, (1, 1)), linewidth=1.2)
        ends.append((start.index[-1], values[-1], STAGES["init"], draw.MUTED))
        highest = max(highest, *values)
    for arm in results.arms:
        line, look = _line(tests, metric, arm), draw.looks(results)[arm]
        if not len(line):
            continue
        draw.curve(axes, line.index, line, linewidth=1.9, marker="o", markersize=3.5, **look)
        ends.append((line.index[-1], line.iloc[-1].value, results.label(arm), look["color"]))
        highest = max([highest, *(end for e in line for end in (e.value, e.high) if end is not None)])
    draw.chance_lines(axes, select(tests.rows, metric=metric))
    # As high as the lines go: on real languages P@1 is often far below 1.
    axes.set_ylim(-0.02 * highest, min(1.02, 1.1 * highest))
    draw.layer_axis(axes, tests.layers(results))
    draw.end_labels(axes, ends, gap=0.075)
