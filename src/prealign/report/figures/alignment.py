"""Word alignment: P@1 by layer at start and after each stage; a panel for each arm, or heat maps if there are many arms."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from pandas import DataFrame

from prealign.report.estimates import estimates
from prealign.report.figures import drawing as draw
from prealign.report.figures.drawing import Picture
from prealign.report.results import SPLITS, STAGES, Results, language_label, select
from prealign.report.tables.table import layer_names


def alignment(results: Results) -> list[Picture]:
    """Return a picture for each target language: P@1 by layer at start and after each stage."""
    rows = select(results.scores, arm=results.arms, task="retrieval", metric="p_at_1", condition=None)
    return [_alignment(results, str(tag), own) for tag, own in rows.groupby("language", sort=False, observed=True)]


def _alignment(results: Results, language: str, rows: DataFrame) -> Picture:
    arms = [arm for arm in results.arms if arm in set(rows["arm"])]
    few = len(arms) <= draw.FEW_ARMS
    figure = (_panels if few else _heat_maps)(results, arms, rows)
    target, name = language_label(language), f"alignment-{language}"
    how = (
        "Solid: pairs seen in training; dashed: held-out pairs; dotted: chance. Bands are 95 % intervals."
        if few
        else "A cell is the share of words whose translation comes first; – marks a stage that an arm does not have."
    )
    facts = list(_facts(results, language))
    title, summary = (
        f"Word alignment with {target}, layer by layer",
        f"P@1 with {target} by layer, for {len(arms)} arms.",
    )
    return draw.picture(figure, name, title, " ".join([how, *facts]), summary, facts)


def _facts(results: Results, language: str) -> Iterator[str]:
    """Mean P@1 over layers of the main arm and the baseline, stage by stage, in words."""
    for arm in filter(None, (results.main_arm, results.baseline)):
        stages = []
        for stage, when in STAGES.items():
            means = {split: results.mean_p_at_1(arm, language, stage, split) for split in SPLITS}
            shown = [f"{mean:.2f} {SPLITS[split]}" for split, mean in means.items() if mean is not None]
            stages += [f"{when} {', '.join(shown)}"] if shown else []
        if stages:
            yield f"{results.label(arm)}, mean over layers: {'; '.join(stages)}."


def _panels(results: Results, arms: Sequence[str], rows: DataFrame) -> Figure:
    layers = layer_names(set(rows["layer"]), results)
    columns = min(2, len(arms))
    lines = math.ceil(len(arms) / columns)
    figure = Figure(figsize=(draw.WIDTH * columns / 2, 3.3 * lines))
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True)
    for axes in grid.flat[len(arms) :]:
        axes.remove()
    for arm, axes in zip(arms, grid.flat, strict=False):
        axes.set_title(results.label(arm), pad=10)
        axes.set_ylim(-0.02, 1.02)
        axes.yaxis.set_major_locator(ticker.MultipleLocator(0.25))
        draw.layer_axis(axes, layers)
        _lines(axes, select(rows, arm=arm), draw.looks(results)[arm]["color"])
    for axes in grid[:, 0]:
        axes.set_ylabel("P@1 (translation comes first)")
    return figure


def _lines(axes: Axes, rows: DataFrame, colour: str) -> None:
    """Lines of one arm: light to dark by stage, solid for seen pairs, dashed for held-out pairs."""
    pale = [(1 + part) / 2 for part in to_rgb(colour)]
    shades: dict[str, tuple[Any, float]] = {"init": ("#aab3bc", 1.2), "align": (pale, 2.0), "pretrain": (colour, 2.4)}
    found = estimates(rows, "stage", "split", "layer").dropna()
    ends = []
    for stage, (shade, width) in shades.items():
        for split, dash in (("held_out", (0, (3, 1.5))), ("seen", "-")):
            if (stage, split) not in found.index:
                continue
            line = found[stage, split]
            look: dict[str, Any] = {
                "color": shade,
                "linewidth": width,
                "linestyle": dash,
                "marker": "o",
                "markersize": width + 1,
            }
            draw.curve(axes, line.index, line, **look)
            if split == "seen":
                ends.append((line.index[-1], line.iloc[-1].value, STAGES[stage], shade))
    draw.chance_lines(axes, rows)
    draw.end_labels(axes, ends, gap=0.075)


def _heat_maps(results: Results, arms: Sequence[str], rows: DataFrame) -> Figure:
    layers = layer_names(set(rows["layer"]), results)
    stages = [stage for stage in STAGES if stage in set(rows["stage"])]
    splits = [split for split in SPLITS if split in set(rows["split"])]
    cells = estimates(rows, "split", "stage", "arm", "layer").dropna().map(lambda estimate: estimate.value)
    figure = Figure(figsize=(draw.WIDTH, len(splits) * (0.6 + 0.25 * len(arms))))
    grid = figure.subplots(len(splits), len(stages), squeeze=False, sharex=True, sharey=True)
    for split, line in zip(splits, grid, strict=True):
        for stage, axes in zip(stages, line, strict=True):
            values = [[cells.get((split, stage, arm, layer), math.nan) for layer in layers] for arm in arms]
            _heat_map(axes, values, numbers=len(layers) * len(stages) <= 24)
            axes.set_title(f"{STAGES[stage]}, {SPLITS[split]} pairs")
            axes.set_xticks([i + 0.5 for i in range(len(layers))], list(layers.values()))
            axes.set_yticks([i + 0.5 for i in range(len(arms))], [results.label(arm) for arm in arms])
            axes.tick_params(length=0, labelcolor=draw.INK)
    return figure


def _heat_map(axes: Axes, values: Sequence[Sequence[float]], numbers: bool) -> None:
    """values: (arms, layers), NaN where an arm does not have the stage."""
    axes.pcolormesh(values, cmap=draw.HEAT, vmin=0, vmax=1, edgecolors=draw.PAPER, linewidth=1)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_ylim(len(values), 0)
    for i, line in enumerate(values):
        for j, value in enumerate(line):
            missing = math.isnan(value)
            colour = draw.MUTED if missing else draw.ON_DARK if value > 0.45 else draw.ON_LIGHT
            if missing or numbers:
                text = "–" if missing else f"{value:.2f}".removeprefix("0")
                axes.text(j + 0.5, i + 0.5, text, ha="center", va="center", fontsize=7, color=colour)
