"""How figures look: colours, matplotlib settings, SVG text, lines with intervals and labels at their ends.

1. An arm keeps its colour and dash in every figure. The palette (Okabe and Ito) is safe for colour-blind readers.
2. Text stays text (small, searchable). Lines carry their names at their ends, instead of a legend.
3. Ink, muted, grid and paper are the constants below; `page` replaces them by CSS variables in the HTML page.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import matplotlib
import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from pandas import DataFrame
from scipy.optimize import isotonic_regression

from prealign.report.estimates import Estimate
from prealign.report.results import Results
from prealign.report.tables.table import Table

INK, MUTED, GRID, PAPER = "#1b2733", "#5b6874", "#dde3e9", "#ffffff"
FONTS = "system-ui, -apple-system, &quot;Segoe UI&quot;, Roboto, Helvetica, Arial, sans-serif"
HEAT = LinearSegmentedColormap.from_list("heat", ("#eef3f8", "#9cc7e4", "#3a8cc1", "#08436f"))
ON_LIGHT, ON_DARK = "#13212e", "#fdfdfd"
"""Text on heat-map cells, which keep their colours on a dark page too."""
ALT_LENGTH = 300
"""Characters of an alternative text, which a screen reader reads in one go."""
FEW_ARMS = 4
"""More arms than this share heat maps, or have panels of full width without intervals, which would cover each other."""
WIDTH = 10.0
"""Inches; pages scale a figure to their own width."""

_BASELINE_COLOUR = "#7d8791"
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)))
_STYLE = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "figure.facecolor": PAPER,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.hspace": 0.07,
}


@dataclass(frozen=True)
class Picture:
    """A figure: file name, title, alternative text, caption, SVG text and, if it has one, a table of its numbers."""

    name: str
    title: str
    alt: str
    caption: str
    svg: str
    table: Table | None = None


def looks(results: Results) -> dict[str, dict[str, Any]]:
    """Return how matplotlib draws every arm's line: the baseline grey, the others in recipe order."""
    others = [arm for arm in results.arms if arm != results.baseline]
    styles = {
        arm: {"color": _COLOURS[i % len(_COLOURS)], "linestyle": _DASHES[i // len(_COLOURS) % len(_DASHES)]}
        for i, arm in enumerate(others)
    }
    return {results.baseline: {"color": _BASELINE_COLOUR, "linestyle": "-"}, **styles}


def picture(
    figure: Figure, name: str, title: str, caption: str, summary: str, facts: Iterable[str], table: Table | None = None
) -> Picture:
    """Return a figure as a picture; its alternative text is the summary and as many facts as there is room for."""
    return Picture(name, title, alt_text(summary, facts), caption, svg_text(figure, name), table)


def alt_text(summary: str, facts: Iterable[str]) -> str:
    """Return the alternative text of a figure: its summary, then facts as long as `ALT_LENGTH` allows."""
    texts = list(accumulate([summary, *facts], "{} {}".format))
    rest = " The tables have more."
    fitting = [text for text in texts if len(text) + len(rest) <= ALT_LENGTH]
    return texts[-1] if len(texts[-1]) <= ALT_LENGTH else fitting[-1] + rest


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib settings of all figures, restored afterwards."""
    with matplotlib.rc_context(_STYLE):
        yield


def svg_text(figure: Figure, name: str) -> str:
    """Return the SVG of a figure without prolog, date or style sheet; `name` makes its ids unique on the page."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, count=1, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*">', "<g>", text)
    text = re.sub(r"font-family: 'DejaVu Sans'[^;\"]*", f"font-family: {FONTS}", text)
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def spread(values: Sequence[float], gap: float) -> list[float]:
    """Places in 0..1 for labels at `values`: in order, `gap` or more apart, moved as little as possible.

    Least squares under an order is isotonic regression, here of the values less the gaps below them. Labels
    that do not fit begin at 0 and run over 1.
    """
    order = np.argsort(values, kind="stable")
    steps = gap * np.arange(len(order))
    fitted = isotonic_regression(np.asarray(values, dtype=float)[order] - steps).x
    places = np.empty(len(order))
    places[order] = np.clip(fitted, 0.0, max(0.0, 1.0 - gap * (len(order) - 1))) + steps
    return places.tolist()


def end_labels(axes: Axes, ends: Sequence[tuple[float, float, str, str]], gap: float) -> None:
    """Write each (x, y, name, colour) right of the axes, as near its line's end as other names allow.

    A line that ends above the axes has its name at the top, with an arrow.
    """
    top = axes.get_ylim()[1]
    to_axes = axes.transData + axes.transAxes.inverted()
    seen = [(x, min(y, top), f"{name} ↑" if y > top else name, colour) for x, y, name, colour in ends]
    heights = [float(to_axes.transform((x, y))[1]) for x, y, _, _ in seen]
    for (x, y, name, colour), height in zip(seen, spread(heights, gap), strict=True):
        line = {"arrowstyle": "-", "color": colour, "linewidth": 0.9, "shrinkA": 0, "shrinkB": 2, "relpos": (0, 0.5)}
        axes.annotate(
            name,
            (x, y),
            (1.045, height),
            textcoords="axes fraction",
            va="center",
            fontsize=8.5,
            color=INK,
            arrowprops=line,
            annotation_clip=False,
        )


def curve(axes: Axes, xs: Sequence[float], line: Sequence[Estimate], *, shade: bool = True, **look: Any) -> None:
    """Draw a line through estimates and, if all have one, shade their intervals."""
    axes.plot(xs, [estimate.value for estimate in line], **look)
    bounds = [(e.low, e.high) for e in line if e.low is not None and e.high is not None]
    if shade and len(bounds) == len(line):
        lows, highs = zip(*bounds, strict=True)
        axes.fill_between(xs, lows, highs, color=look["color"], alpha=0.18, linewidth=0)


def layer_axis(axes: Axes, layers: Mapping[Any, str]) -> None:
    """Make the x axis one of layers, by name."""
    axes.set(xlim=(min(layers) - 0.2, max(layers) + 0.2), xlabel="layer")
    axes.set_xticks(list(layers), list(layers.values()))
    axes.grid(axis="x", visible=False)


def chance_lines(axes: Axes, rows: DataFrame) -> None:
    """Draw a dotted line at each chance value of the rows."""
    for chance in sorted(rows["chance"].dropna().unique()):
        axes.axhline(chance, color=MUTED, linewidth=0.9, linestyle=(0, (1, 1.5)))


def log_limits(estimates: Iterable[Estimate], margin: float) -> tuple[float, float]:
    """Return the ends of a log axis that holds values and intervals, with a margin on both sides."""
    ends = [end for e in estimates for end in (e.value, e.low, e.high) if end is not None and end > 0]
    factor = 1.02 * (max(ends) / min(ends)) ** margin
    return min(ends) / factor, max(ends) * factor


def off_scale(reference: float | None) -> float:
    """Return the value above which an arm is only marked by an arrow: three times the baseline; infinity without one."""
    return math.inf if reference is None else 3 * reference


def log_scale(axis: Any, low: float, high: float) -> None:
    """Make an axis logarithmic over low..high, with plain round numbers as ticks however short the range."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log", f"{axis.axis_name}lim": (low, high)})
    candidates = [digit * 10.0**power for power in range(-3, 8) for digit in (1, 2, 3, 5, 7)]
    ticks = [value for value in candidates if low <= value <= high]
    if len(ticks) < 3:
        ticks = [value for value in ticker.MaxNLocator(5).tick_values(low, high) if low <= value <= high]
    axis.set_major_locator(ticker.FixedLocator(ticks))
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.set_minor_locator(ticker.NullLocator())
