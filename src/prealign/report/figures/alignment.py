"""The report's figures, drawn from results.json; the same results give the same bytes.

1. Alignment in the course of training comes from `dynamics`.
2. Alignment: P@1 by layer before and after each stage; one panel an arm, or a heat map when arms are many.
3. Perplexities: every arm's test perplexity with its interval, a panel for each language.
4. Retrieval of test dictionaries and of sentences comes from `unseen`.
5. Training curves come from `curves`, curves over a setting from `variants`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prealign.report import results as ask
from prealign.report.figures import drawing as draw
from prealign.report.figures.curves import losses, validation
from prealign.report.figures.drawing import Picture
from prealign.report.figures.dynamics import dynamics
from prealign.report.figures.sweeps import sweep_curves
from prealign.report.figures.unseen_words import retrieval_pictures
from prealign.report.formats import number
from prealign.report.results import SPLITS, STAGES, Estimate, Results, Row
from prealign.report.tables.table import layer_names

MANY_ARMS = 4
"""More arms than this share a heat map instead of having a panel each."""


def pictures(results: Results) -> list[Picture]:
    """Return every figure that the results have data for, the alignment in training first."""
    with draw.style():
        makers = (dynamics, alignment, retrieval_pictures, perplexities, validation, losses, sweep_curves)
        return [picture for make in makers for picture in make(results)]


# --- alignment per layer ----------------------------------------------------------------------------------


def alignment(results: Results) -> list[Picture]:
    """P@1 by layer before and after each stage, one picture for each target language."""
    rows = ask.select(results["scores"], task="retrieval", metric="p_at_1", condition=None)
    return [_alignment(results, language, own) for (language,), own in ask.group(rows, "language").items()]


def _alignment(results: Results, language: str, rows: list[Row]) -> Picture:
    arms = [arm for arm in ask.arm_order(results) if ask.select(rows, arm=arm)]
    few = len(arms) <= MANY_ARMS
    figure = (_alignment_panels if few else _alignment_heat)(results, arms, rows)
    target, name = ask.language_label(language), f"alignment-{language}"
    how = (
        "Solid: pairs seen in training; dashed: held-out pairs; dotted: chance. Bands are 95 % intervals."
        if few
        else "A cell is the share of words whose translation comes first; – marks a stage an arm lacks."
    )
    summary = alignment_summary(results, language)
    return Picture(
        name,
        f"Word alignment with {target}, layer by layer",
        f"P@1 of word retrieval between the source language and {target} at every layer, before and after "
        f"each training stage, for {'; '.join(map(ask.arm_label, arms))}. {summary}",
        f"{how} {summary}",
        draw.svg_text(figure, name),
    )


def alignment_summary(results: Results, language: str) -> str:
    """Mean P@1 over layers of the main arm and the baseline, stage by stage, in words."""
    sentences = []
    for arm in filter(None, (ask.main_arm(results), ask.baseline(results))):
        stages = []
        for stage, when in STAGES.items():
            means = {split: ask.mean_p_at_1(results, arm, language, stage, split) for split in SPLITS}
            shown = [f"{mean:.2f} {SPLITS[split]}" for split, mean in means.items() if mean is not None]
            stages += [f"{when} {', '.join(shown)}"] if shown else []
        sentences += [f"{ask.arm_label(arm)}, mean over layers: {'; '.join(stages)}."] if stages else []
    return " ".join(sentences)


def _alignment_panels(results: Results, arms: Sequence[str], rows: list[Row]) -> Figure:
    layers = layer_names({row["layer"] for row in rows}, results)
    columns = min(2, len(arms))
    lines = math.ceil(len(arms) / columns)
    figure = Figure(figsize=(draw.WIDTH * columns / 2, 3.3 * lines))
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True)
    for axes in grid.flat[len(arms) :]:
        axes.remove()
    for arm, axes in zip(arms, grid.flat, strict=False):
        axes.set(ylim=(-0.02, 1.02), xlim=(min(layers) - 0.2, max(layers) + 0.2), xlabel="layer")
        axes.set_title(ask.arm_label(arm), pad=10)
        axes.set_xticks(list(layers), list(layers.values()))
        axes.yaxis.set_major_locator(ticker.MultipleLocator(0.25))
        axes.grid(axis="x", visible=False)
        _alignment_lines(axes, ask.select(rows, arm=arm), draw.looks(results)[arm].colour)
    for axes in grid[:, 0]:
        axes.set_ylabel("P@1 (translation comes first)")
    return figure


def _alignment_lines(axes: Axes, rows: list[Row], colour: str) -> None:
    shades = {"init": ("#aab3bc", 1.2), "align": (draw.tint(colour, 0.5), 2.0), "pretrain": (colour, 2.4)}
    ends = []
    for stage, (shade, width) in shades.items():
        for split, dash in (("held_out", (0, (3, 1.5))), ("seen", "-")):
            line = ask.by_layer(ask.select(rows, stage=stage, split=split))
            if not line:
                continue
            xs, found = list(line), list(line.values())
            ys = [estimate.value for estimate in found]
            axes.plot(xs, ys, color=shade, linewidth=width, linestyle=dash, marker="o", markersize=width + 1)
            draw.band(axes, xs, [(estimate.low, estimate.high) for estimate in found], shade)
            if split == "seen":
                ends.append((xs[-1], ys[-1], STAGES[stage], shade))
    for chance in sorted({row["chance"] for row in rows if row.get("chance") is not None}):
        axes.axhline(chance, color=draw.MUTED, linewidth=0.9, linestyle=(0, (1, 1.5)))
    draw.end_labels(axes, ends, gap=0.075)


def _alignment_heat(results: Results, arms: Sequence[str], rows: list[Row]) -> Figure:
    layers = layer_names({row["layer"] for row in rows}, results)
    stages = [stage for stage in STAGES if ask.select(rows, stage=stage)]
    splits = [split for split in SPLITS if ask.select(rows, split=split)]
    cells = ask.group(rows, "split", "stage", "arm", "layer")
    figure = Figure(figsize=(draw.WIDTH, len(splits) * (0.6 + 0.25 * len(arms))))
    grid = figure.subplots(len(splits), len(stages), squeeze=False, sharex=True, sharey=True)
    for split, line in zip(splits, grid, strict=True):
        for stage, axes in zip(stages, line, strict=True):
            found = [[ask.estimate(cells.get((split, stage, arm, layer), [])) for layer in layers] for arm in arms]
            _heat_map(axes, found, numbers=len(layers) * len(stages) <= 24)
            axes.set_title(f"{STAGES[stage]}, {SPLITS[split]} pairs")
            axes.set_xticks([i + 0.5 for i in range(len(layers))], list(layers.values()))
            axes.set_yticks([i + 0.5 for i in range(len(arms))], [ask.arm_label(arm) for arm in arms])
            axes.tick_params(length=0, labelcolor=draw.INK)
    return figure


def _heat_map(axes: Axes, found: Sequence[Sequence[Estimate | None]], numbers: bool) -> None:
    values = [[estimate.value if estimate else math.nan for estimate in line] for line in found]
    axes.pcolormesh(values, cmap=draw.HEAT, vmin=0, vmax=1, edgecolors=draw.PAPER, linewidth=1)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_ylim(len(found), 0)
    for i, line in enumerate(values):
        for j, value in enumerate(line):
            missing = math.isnan(value)
            colour = draw.MUTED if missing else draw.ON_DARK if value > 0.45 else draw.ON_LIGHT
            if missing or numbers:
                text = "–" if missing else f"{value:.2f}".removeprefix("0")
                axes.text(j + 0.5, i + 0.5, text, ha="center", va="center", fontsize=7, color=colour)


# --- perplexity: one mark an arm --------------------------------------------------------------------------


def perplexities(results: Results) -> list[Picture]:
    """Test perplexity of every arm with its interval, a panel for each language."""
    arms = [arm for arm in ask.arm_order(results) if ask.perplexity_languages(results, arm)]
    tags = [tag for tag in ask.languages(results) if any(ask.perplexity(results, arm, tag) for arm in arms)]
    if len(arms) < 2:
        return []
    figure = Figure(figsize=(draw.WIDTH, 0.85 + 0.3 * len(arms)))
    grid = figure.subplots(1, len(tags), squeeze=False, sharey=True)[0]
    for axes, tag in zip(grid, tags, strict=True):
        _arm_marks(axes, results, arms, {arm: ask.perplexity(results, arm, tag) for arm in arms})
        axes.set_title(ask.language_label(tag))
        axes.set_xlabel("test perplexity (log scale; left is better)")
    values = [
        f"{ask.language_label(tag)}, {ask.arm_label(arm)}: {number(found.value)}."
        for tag in tags
        for arm in arms
        if (found := ask.perplexity(results, arm, tag))
    ]
    caption = f"Bars are 95 % intervals; the line marks {ask.arm_label(ask.baseline(results))}."
    alt = f"Test perplexity by arm. {' '.join(values)}"
    return [Picture("perplexity", "Perplexity of every arm", alt, caption, draw.svg_text(figure, "perplexity"))]


def _arm_marks(axes: Axes, results: Results, arms: Sequence[str], found: dict[str, Estimate | None]) -> None:
    known = {arm: estimate for arm, estimate in found.items() if estimate}
    reference = known.get(ask.baseline(results))
    ceiling = draw.off_scale(reference.value if reference else None)
    shown = [estimate for estimate in known.values() if estimate.value <= ceiling]
    ends = [end for e in shown for end in (e.value, e.low, e.high) if end is not None and end > 0]
    margin = 1.02 * (max(ends) / min(ends)) ** 0.12
    limits = min(ends) / margin, max(ends) * margin
    draw.log_scale(axes.xaxis, *limits)
    if reference:
        axes.axvline(reference.value, color=draw.MUTED, linewidth=1, zorder=1)
    for arm, estimate in known.items():
        _arm_mark(axes, estimate, arms.index(arm), draw.looks(results)[arm].colour, limits)
    axes.set_yticks(range(len(arms)), [ask.arm_label(arm) for arm in arms])
    axes.set_ylim(len(arms) - 0.4, -0.85)
    axes.tick_params(axis="y", length=0, labelcolor=draw.INK)
    axes.grid(axis="y", visible=False)


def _arm_mark(axes: Axes, estimate: Estimate, place: int, colour: str, limits: tuple[float, float]) -> None:
    """A dot with its interval and number; an arrow at the edge for a value beyond the axis."""
    beyond = estimate.value > limits[1]
    x = limits[1] if beyond else estimate.value
    if not beyond and estimate.low is not None and estimate.high is not None:
        axes.plot([estimate.low, estimate.high], [place, place], color=colour, linewidth=2.4, alpha=0.55)
    axes.plot(x, place, ">" if beyond else "o", color=colour, markersize=5.5, clip_on=False, zorder=3)
    axes.annotate(
        number(estimate.value),
        (x, place),
        (0, 7.5),
        textcoords="offset points",
        ha="right" if beyond else "center",
        va="center",
        fontsize=7.5,
        color=draw.INK,
        bbox={"facecolor": draw.PAPER, "edgecolor": "none", "pad": 0.6},
    )
