"""Alignment during training: P@1 of every layer through both stages, one heat map for each arm and split."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from statistics import fmean
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from pandas import DataFrame

from prealign.report.figures import drawing as draw
from prealign.report.figures.drawing import Picture
from prealign.report.formats import quantity, span
from prealign.report.results import SPLITS, Results, language_label
from prealign.report.tables.table import layer_names

_STAGES = {"align": "stage 1", "pretrain": "stage 2"}
"""Names of stages; a further stage has its own."""


class Moment(NamedTuple):
    """A measurement in training: its stage and step, and P@1 of each layer, means over seeds, by split."""

    stage: str
    step: float
    layers: dict[str, list[float]]


def moments(results: Results, arm: str, language: str) -> list[Moment]:
    """Return an arm's measurements in order.

    Measurements of seeds are paired by their place in the stage: matched budgets shift steps by one or two.
    """
    made = []
    runs = [run for run in results.section("dynamics") if (run["arm"], run["language"]) == (arm, language)]
    for stage in dict.fromkeys(run["stage"] for run in runs):
        for points in zip(*(run["points"] for run in runs if run["stage"] == stage), strict=False):
            splits = [split for split in SPLITS if all(point.get(split) for point in points)]
            layers = {
                split: DataFrame([point[split] for point in points]).mean().fillna(0.0).tolist() for split in splits
            }
            made.append(Moment(stage, fmean(point["step"] for point in points), layers))
    return made


def dynamics(results: Results) -> list[Picture]:
    """Return P@1 of every layer over both stages, a picture for each language: baseline, main arm, then the others."""
    arms = list(dict.fromkeys([results.baseline, *filter(None, [results.main_arm]), *results.arms]))
    pictures = []
    for language in dict.fromkeys(run["language"] for run in results.section("dynamics")):
        found = {arm: made for arm in arms if (made := moments(results, arm, language))}
        if found:
            pictures.append(_picture(results, language, found))
    return pictures


def _picture(results: Results, language: str, found: dict[str, list[Moment]]) -> Picture:
    splits = [split for split in SPLITS if any(split in moment.layers for own in found.values() for moment in own)]
    target, name = language_label(language), f"dynamics-{language}"
    title = f"Word alignment with {target} during training"
    facts = [
        f"{results.label(arm)}, {SPLITS[split]} pairs: {_ends(own, split)}."
        for arm, own in found.items()
        for split in splits
        if split in own[-1].layers
    ]
    runs = [(run["arm"], run["language"], run["stage"]) for run in results.section("dynamics")]
    seeds = {runs.count((arm, language, "pretrain")) for arm in found}
    further = any(moment.stage not in _STAGES for own in found.values() for moment in own)
    border = (
        "a line is the border between two stages" if further else "the line is the border between stage 1 and stage 2"
    )
    caption = (
        f"Colour: P@1 of word retrieval with {target} at each layer, embedding at the bottom; {border}. "
        f"Mean over seeds ({span(seeds)})."
    )
    summary = f"{title}: mean P@1 over layers."
    return draw.picture(_figure(results, found, splits), name, title, caption, summary, facts)


def _figure(results: Results, found: dict[str, list[Moment]], splits: Sequence[str]) -> Figure:
    columns = min(3, len(found))
    lines = math.ceil(len(found) / columns) * len(splits)
    figure = Figure(figsize=(draw.WIDTH, 0.4 + 1.75 * lines))
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_visible(False)
    for i, (arm, own) in enumerate(found.items()):
        for j, split in enumerate(splits):
            axes = grid[i // columns * len(splits) + j, i % columns]
            shown = [moment for moment in own if split in moment.layers]
            axes.set_visible(bool(shown))
            if shown:
                axes.set_title("" if j else results.label(arm))
                axes.set_ylabel("" if i % columns else f"{SPLITS[split]} pairs")
                _heat_map(axes, results, shown, split)
    bar = figure.colorbar(
        ScalarMappable(Normalize(0, 1), draw.HEAT), ax=grid, boundaries=[i / 20 for i in range(21)],
        ticks=[0, 0.25, 0.5, 0.75, 1], aspect=40, label="P@1",
    )  # fmt: skip
    bar.outline.set_visible(False)
    figure.supxlabel("training step, log-spaced", fontsize=9, color=draw.MUTED)
    return figure


def _ends(own: Sequence[Moment], split: str) -> str:
    """P@1, mean over layers, at the first measurement and at the end of each stage."""
    last = {moment.stage: moment for moment in own}
    shown = [("first", own[0]), *((f"end of {_STAGES.get(stage, stage)}", m) for stage, m in last.items())]
    return ", ".join(f"{when} {fmean(m.layers[split]):.2f}" for when, m in shown if split in m.layers)


def _heat_map(axes: Axes, results: Results, own: Sequence[Moment], split: str) -> None:
    """Columns are measurements, rows layers with the embedding at the bottom."""
    values = list(zip(*(moment.layers[split] for moment in own), strict=True))
    layers = layer_names(range(len(values)), results)
    axes.pcolormesh(values, cmap=draw.HEAT, vmin=0, vmax=1, edgecolors="face", linewidth=0.3)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    stages, stop = [], 0
    for stage, moments_of in groupby(own, lambda moment: moment.stage):
        start, stop = stop, stop + len([*moments_of])
        stages.append((_STAGES.get(stage, stage), start, stop))
        if start:
            axes.axvline(start, color=draw.INK, linewidth=1.6)
    # Steps are written where there is room: every so many measurements, and never right before the border.
    apart, ticks = max(2, math.ceil(len(own) / 8)), []
    for stage, start, stop in stages:
        ticks += [i for i in range(start, stop, apart) if i == start or stop - i >= 0.8 * apart or stop == len(own)]
        under = axes.get_xaxis_transform()
        axes.text((start + stop) / 2, -0.21, stage, transform=under, ha="center", va="top", fontsize=8)
    axes.set_xticks([i + 0.5 for i in ticks], [quantity(own[i].step) for i in ticks], fontsize=7.5)
    shown = range(0, len(layers), math.ceil(len(layers) / 9))
    axes.set_yticks([layer + 0.5 for layer in shown], [layers[layer] for layer in shown], fontsize=7.5)
    axes.tick_params(length=0, labelcolor=draw.INK)
