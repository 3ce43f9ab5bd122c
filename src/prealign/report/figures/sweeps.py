"""Curves of perplexity over one setting, such as the share of the dictionary: a picture with a table for each sweep."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prealign.recipe.sweeps import Sweep
from prealign.report.figures import drawing as draw
from prealign.report.figures.drawing import Picture
from prealign.report.formats import number
from prealign.report.results import Results, language_label
from prealign.report.tables.sweeps import Points, measured_sweeps, sweep_table

_COLOUR = "#0072b2"


def sweep_curves(results: Results) -> list[Picture]:
    """Return a picture of perplexity over each setting, with its table."""
    return [_picture(results, sweep, points) for sweep, points in measured_sweeps(results)]


def _picture(results: Results, sweep: Sweep, points: Points) -> Picture:
    tags = results.perplexity_languages([arm for _, arm in points])
    figure = Figure(figsize=(draw.WIDTH, 3.2))
    for axes, tag in zip(figure.subplots(1, len(tags), squeeze=False)[0], tags, strict=True):
        axes.set(title=language_label(tag), xlabel=sweep.key)
        _draw(axes, results, tag, sweep, points)
        axes.set_ylabel("test perplexity (log scale)" if tag == tags[0] else "")
    facts = [
        f"{language_label(tag)} at {value:g}: {number(found.value)}."
        for tag in tags
        for value, arm in points
        if (found := results.perplexity(arm, tag))
    ]
    arm, name = results.label(sweep.extends), f"over-{sweep.key.replace('.', '-')}-{sweep.extends}"
    title = f"{arm}: perplexity over {sweep.key}"
    caption = (
        f"Bars are 95 % intervals; the line marks {results.label(results.baseline)}, a ring {arm} itself. "
        "Values are evenly spaced."
    )
    return draw.picture(figure, name, title, caption, f"{title}.", facts, sweep_table(results, sweep, points))


def _draw(axes: Axes, results: Results, language: str, sweep: Sweep, points: Points) -> None:
    """Values are evenly spaced, in order: settings often double from one to the next, and may begin at 0."""
    found = [(i, arm, e) for i, (_, arm) in enumerate(points) if (e := results.perplexity(arm, language))]
    reference = results.perplexity(results.baseline, language)
    shown = [estimate for _, _, estimate in found] + ([reference] if reference else [])
    draw.log_scale(axes.yaxis, *draw.log_limits(shown, 0.1))
    if reference:
        axes.axhline(reference.value, color=draw.MUTED, linewidth=1.2)
    axes.plot([x for x, _, _ in found], [e.value for _, _, e in found], color=_COLOUR, linewidth=1.9)
    for x, arm, estimate in found:
        if estimate.low is not None and estimate.high is not None:
            axes.plot([x, x], [estimate.low, estimate.high], color=_COLOUR, linewidth=2.4, alpha=0.45)
        inside = draw.PAPER if arm == sweep.extends else _COLOUR
        axes.plot(x, estimate.value, "o", color=_COLOUR, markersize=6, mfc=inside, zorder=3)
    axes.set_xticks(range(len(points)), [f"{value:g}" for value, _ in points])
    axes.set_xlim(-0.3, len(points) - 0.7)
