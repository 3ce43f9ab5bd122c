"""The picture of a frontier: a curve of source and target perplexity for each arm, with its table."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prealign.report.estimates import Estimate
from prealign.report.figures import drawing as draw
from prealign.report.figures.drawing import Picture
from prealign.report.frontier import Frontier, frontiers
from prealign.report.results import Results, language_label
from prealign.report.tables.frontier import OUTSIDE, frontier_table


def frontier_curves(results: Results) -> list[Picture]:
    """Return a picture of each frontier, with its table."""
    return [_picture(results, frontier) for frontier in frontiers(results)]


def _picture(results: Results, frontier: Frontier) -> Picture:
    target, source = language_label(frontier.language), language_label(results.source)
    figure = Figure(figsize=(draw.WIDTH * 0.75, 4.2))
    axes = figure.subplots()
    _draw(axes, results, frontier)
    axes.set(xlabel=f"{source} test perplexity (log scale)", ylabel=f"{target} test perplexity (log scale)")
    name = f"frontier-{frontier.key.replace('.', '-')}"
    title = f"Frontier of {target} and {source}"
    caption = (
        f"Each point is an arm at one value of {frontier.key}, written beside it; lower and further left is better. "
        "Bars are 95 % intervals. Compare arms at the same place on the horizontal axis."
    )
    facts = [_fact(results, frontier, arm) for arm in frontier.curves if arm != frontier.baseline]
    base = results.label(frontier.baseline)
    summary = f"{target} against {source} perplexity. {target} at equal {source} perplexity over {base}:"
    return draw.picture(figure, name, title, caption, summary, facts, frontier_table(results, frontier))


def _fact(results: Results, frontier: Frontier, arm: str) -> str:
    """The gains of an arm, by value of the setting."""
    gains = [(value, frontier.gain(name).estimate) for value, name in frontier.curves[arm]]
    said = ", ".join(f"{gain.value:.2f} at {value:g}" for value, gain in gains if gain)
    return f"{results.label(arm)} {said or OUTSIDE}."


def _draw(axes: Axes, results: Results, frontier: Frontier) -> None:
    curves = {arm: _points(results, frontier, arm) for arm in frontier.curves}
    every = [point for line in curves.values() for point in line]
    draw.log_scale(axes.xaxis, *draw.log_limits((x for _, x, _ in every), 0.12))
    draw.log_scale(axes.yaxis, *draw.log_limits((y for _, _, y in every), 0.12))
    looks = {arm: draw.looks(results).get(arm, {"color": draw.INK, "linestyle": "-"}) for arm in curves}
    for arm, line in curves.items():
        look = looks[arm]
        axes.plot([x.value for _, x, _ in line], [y.value for _, _, y in line], linewidth=1.9, marker="o", ms=5, **look)
        for value, x, y in line:
            _bars(axes, x, y, look["color"])
            axes.annotate(
                f"{value:g}", (x.value, y.value), (5, 4), textcoords="offset points", fontsize=7.5, color=draw.MUTED
            )
    ends = [
        (line[-1][1].value, line[-1][2].value, results.label(arm), looks[arm]["color"]) for arm, line in curves.items()
    ]
    draw.end_labels(axes, ends, gap=0.066)


def _points(results: Results, frontier: Frontier, arm: str) -> list[tuple[float, Estimate, Estimate]]:
    """Value of the setting, source and target perplexity of each point of a curve."""
    found = []
    for value, name in frontier.curves[arm]:
        x, y = results.perplexity(name, results.source), results.perplexity(name, frontier.language)
        if x and y:
            found.append((value, x, y))
    return found


def _bars(axes: Axes, x: Estimate, y: Estimate, colour: str) -> None:
    if x.low is not None and x.high is not None:
        axes.plot([x.low, x.high], [y.value, y.value], color=colour, linewidth=2.2, alpha=0.4)
    if y.low is not None and y.high is not None:
        axes.plot([x.value, x.value], [y.low, y.high], color=colour, linewidth=2.2, alpha=0.4)
