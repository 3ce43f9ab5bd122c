"""Training curves: validation perplexity and losses against tokens.

1. Points are placed by tokens since the start of training: stage 2 begins where stage 1 ended.
2. Points of one (stage, step) are averaged over the arm's seeds. Unfinished runs are left out, so that every point of a
   line is the mean of the same seeds.
3. The steep first fall is cut off, to leave room for the differences between arms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prealign.report.estimates import Estimate, over_seeds
from prealign.report.figures import drawing as draw
from prealign.report.figures.drawing import Picture
from prealign.report.formats import number
from prealign.report.results import Results, language_label, select

_CUT = 0.15
"""Values are visible after this share of a curve's tokens."""


class Point(NamedTuple):
    """A point of a curve: its stage, tokens since the start of training, and the value over seeds."""

    stage: str
    tokens: float
    value: Estimate


Curves = Mapping[str, list[Point]]
"""A curve for each arm."""


def validation(results: Results) -> list[Picture]:
    """Return validation perplexity, a panel for each language."""
    panels = {language_label(tag): _curves(results, f"validation.{tag}") for tag in results.languages}
    title = "Validation perplexity over training"
    return _picture(results, "validation", title, "perplexity (log scale)", panels, log=True)


def losses(results: Results) -> list[Picture]:
    """Return the language-modelling loss, and the alignment loss where there is one."""
    panels = {"Language modelling": _curves(results, "lm_loss"), "Alignment": _curves(results, "align_loss")}
    return _picture(results, "loss", "Training loss", "loss (nats)", panels, log=False)


def _curves(results: Results, column: str) -> dict[str, list[Point]]:
    return {arm: line for arm in results.arms if len(line := curve(results, arm, column)) > 1}


def curve(results: Results, arm: str, column: str) -> list[Point]:
    """Return an arm's curve of a column of `Results.history`; empty without points, or if none of its runs finished."""
    rows = select(results.history, arm=arm)
    if column == "lm_loss" and "loss" in rows:
        # Stage 1's `loss` includes the alignment loss; without one, stage 2's is not split.
        whole = rows["loss"].where(rows["stage"] == "pretrain")
        rows = rows.assign(lm_loss=rows["lm_loss"].fillna(whole) if "lm_loss" in rows else whole)
    if column not in rows:
        return []
    seeds = rows["seed"].nunique()
    rows = rows[np.isfinite(rows[column]) & rows["step"].notna() & rows["tokens"].notna()]
    points = [
        Point(str(stage), float(own["tokens"].mean()), estimate)
        for (stage, _), own in rows.groupby(["stage", "step"], observed=True)
        if len(own) == seeds and (estimate := over_seeds(list(own[column]), log=column.startswith("validation.")))
    ]
    return sorted(points, key=lambda point: point.tokens)


def _picture(
    results: Results, name: str, title: str, unit: str, panels: Mapping[str, Curves], *, log: bool
) -> list[Picture]:
    drawn = {panel: curves for panel, curves in panels.items() if curves}
    if not drawn:
        return []
    few = max(map(len, drawn.values())) <= draw.FEW_ARMS
    lines, columns = (1, len(drawn)) if few else (len(drawn), 1)
    figure = Figure(figsize=(draw.WIDTH, 3.2 * lines))
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes, (panel, curves) in zip(grid.flat, drawn.items(), strict=True):
        axes.set_title(panel, pad=10)
        _draw(axes, curves, results, log=log)
    for axes in grid[:, 0]:
        axes.set_ylabel(unit)
    for axes in grid[-1]:
        axes.set_xlabel("training tokens")
    facts = [
        f"{panel}, {results.label(arm)}: {number(line[0].value.value)} to {number(line[-1].value.value)}."
        for panel, curves in drawn.items()
        for arm, line in curves.items()
    ]
    ringed = any(_end_of_stage_1(line) for curves in drawn.values() for line in curves.values())
    caption = "The steep start is cut off." + (" A ring marks the end of stage 1." if ringed else "")
    return [draw.picture(figure, name, title, caption, f"{title} against tokens.", facts)]


def _end_of_stage_1(line: Sequence[Point]) -> Point | None:
    """The last point of stage 1, if the curve goes on after it."""
    aligned = [point for point in line if point.stage == "align"]
    return aligned[-1] if aligned and len(aligned) < len(line) else None


def _draw(axes: Axes, curves: Curves, results: Results, *, log: bool) -> None:
    low, high = _range(curves, results.baseline)
    if log:
        draw.log_scale(axes.yaxis, low / 1.05, high * 1.05)
    else:
        axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    looks, ends = draw.looks(results), []
    shade = (
        log and len(curves) <= draw.FEW_ARMS
    )  # the spread of a training loss comes from its batches, not from the arm
    for arm, line in curves.items():
        look, xs = looks[arm], [point.tokens for point in line]
        values = [point.value for point in line]
        draw.curve(axes, xs, values, shade=shade, linewidth=1.9, **look)
        if end := _end_of_stage_1(line):
            axes.plot(end.tokens, end.value.value, "o", color=look["color"], ms=5.5, mfc=draw.PAPER, zorder=3)
        ends.append((xs[-1], values[-1].value, results.label(arm), look["color"]))
    axes.set_xlim(0, max(end[0] for end in ends) * 1.01)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(ticker.EngFormatter(sep=" "))
    draw.end_labels(axes, ends, gap=0.066)


def _range(curves: Curves, base: str) -> tuple[float, float]:
    """Lowest and highest value to show: values after the first fall, of arms that are not far worse than the baseline."""
    ceiling = draw.off_scale(curves[base][-1].value.value if base in curves else None)
    shown = [line for line in curves.values() if line[-1].value.value <= ceiling] or list(curves.values())
    late = [point.value.value for line in shown for point in line if point.tokens >= _CUT * line[-1].tokens]
    return min(late), max(late)
