"""Test perplexity of every arm with its interval, a panel for each language."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prealign.report.estimates import Estimate
from prealign.report.figures import drawing as draw
from prealign.report.figures.drawing import Picture
from prealign.report.formats import number
from prealign.report.results import Results, language_label


def perplexities(results: Results) -> list[Picture]:
    """Return the picture of perplexities; none for fewer than two arms."""
    arms = [arm for arm in results.arms if results.perplexity_languages([arm])]
    tags = results.perplexity_languages(arms)
    if len(arms) < 2:
        return []
    figure = Figure(figsize=(draw.WIDTH, 0.85 + 0.3 * len(arms)))
    grid = figure.subplots(1, len(tags), squeeze=False, sharey=True)[0]
    found = {tag: {arm: own for arm in arms if (own := results.perplexity(arm, tag))} for tag in tags}
    for axes, (tag, values) in zip(grid, found.items(), strict=True):
        _arm_marks(axes, results, arms, values)
        axes.set_title(language_label(tag))
        axes.set_xlabel("test perplexity (log scale; left is better)")
    facts = [
        f"{language_label(tag)}, {results.label(arm)}: {number(estimate.value)}."
        for tag, values in found.items()
        for arm, estimate in values.items()
    ]
    caption = f"Bars are 95 % intervals; the line marks {results.label(results.baseline)}."
    return [draw.picture(figure, "perplexity", "Perplexity of every arm", caption, "Test perplexity by arm.", facts)]


def _arm_marks(axes: Axes, results: Results, arms: Sequence[str], found: dict[str, Estimate]) -> None:
    reference = found.get(results.baseline)
    ceiling = draw.off_scale(reference.value if reference else None)
    limits = draw.log_limits((estimate for estimate in found.values() if estimate.value <= ceiling), 0.12)
    draw.log_scale(axes.xaxis, *limits)
    if reference:
        axes.axvline(reference.value, color=draw.MUTED, linewidth=1, zorder=1)
    for arm, estimate in found.items():
        _arm_mark(axes, estimate, arms.index(arm), draw.looks(results)[arm]["color"], limits)
    axes.set_yticks(range(len(arms)), [results.label(arm) for arm in arms])
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
