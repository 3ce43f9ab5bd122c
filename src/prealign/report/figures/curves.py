"""Training curves: validation perplexity and losses against tokens.

1. A run's points are placed by tokens since the start of training: stage 2 begins where stage 1 ended.
2. Points of one (stage, step) are averaged over the arm's seeds; unfinished runs are left out, so that a line
   is always the mean of the same seeds.
3. The steep first fall is cut off, or nothing of the differences that matter could be seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prealign.report import results as ask
from prealign.report.figures import drawing as draw
from prealign.report.figures.drawing import Picture
from prealign.report.formats import number
from prealign.report.results import Estimate, Results, Row

_CUT = 0.15
"""Share of a curve's tokens from which on its values must be visible."""
_FEW_ARMS = 4
"""More arms than this need panels of full width, and no intervals, which would cover each other."""

Value = Callable[[Row, str], Any]
"""(point, stage) -> the number to draw, None where the point lacks it."""


class Course(NamedTuple):
    """A point of a curve: its stage, tokens since the start of training, and the value over seeds."""

    stage: str
    tokens: float
    value: Estimate


def validation(results: Results) -> list[Picture]:
    """Validation perplexity, a panel for each language."""
    found = {
        tag for run in results.get("history", []) for point in run["points"] for tag in point.get("validation", {})
    }
    panels = {ask.language_label(tag): _validation_of(tag) for tag in ask.languages(results) if tag in found}
    title = "Validation perplexity over training"
    return _picture(results, "validation", title, "perplexity (log scale)", panels, log=True)


def losses(results: Results) -> list[Picture]:
    """Language-modelling loss, and the alignment loss where there is one."""
    panels: dict[str, Value] = {"Language modelling": _lm_loss, "Alignment": _align_loss}
    return _picture(results, "loss", "Training loss", "loss (nats)", panels, log=False)


def _validation_of(language: str) -> Value:
    return lambda point, stage: point.get("validation", {}).get(language)


def _lm_loss(point: Row, stage: str) -> Any:
    # Stage 1's `loss` includes the alignment loss; stage 2's need not be split.
    return point.get("lm_loss", point.get("loss") if stage == "pretrain" else None)


def _align_loss(point: Row, stage: str) -> Any:
    return point.get("align_loss")


def course(results: Results, arm: str, value: Value) -> list[Course]:
    """An arm's curve; empty without points, or when none of its runs finished."""
    unfinished = ask.unfinished_runs(results)
    runs = [run for run in ask.select(results.get("history", []), arm=arm) if (arm, run["seed"]) not in unfinished]
    rows = [
        {"stage": run["stage"], "step": point["step"], "tokens": start + point["tokens"], "value": shown}
        for run in runs
        for start in [ask.tokens_before(results, run)]
        for point in run["points"]
        if "step" in point and "tokens" in point and ask.finite(shown := value(point, run["stage"]))
    ]
    seeds = len({run["seed"] for run in runs})
    points = [
        Course(str(own[0]["stage"]), (ask.mean([row["tokens"] for row in own]) or 0.0), estimate)
        for own in ask.group(rows, "stage", "step").values()
        if len(own) == seeds and (estimate := ask.estimate(own))
    ]
    return sorted(points, key=lambda point: point.tokens)


def _picture(
    results: Results, name: str, title: str, unit: str, panels: Mapping[str, Value], *, log: bool
) -> list[Picture]:
    courses = {
        panel: {arm: line for arm in ask.arm_order(results) if len(line := course(results, arm, value)) > 1}
        for panel, value in panels.items()
    }
    drawn = {panel: lines for panel, lines in courses.items() if lines}
    if not drawn:
        return []
    few = max(map(len, drawn.values())) <= _FEW_ARMS
    lines, columns = (1, len(drawn)) if few else (len(drawn), 1)
    figure = Figure(figsize=(draw.WIDTH, 3.2 * lines))
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes, (panel, own) in zip(grid.flat, drawn.items(), strict=True):
        axes.set_title(panel, pad=10)
        _draw(axes, own, results, log=log)
    for axes in grid[:, 0]:
        axes.set_ylabel(unit)
    for axes in grid[-1]:
        axes.set_xlabel("training tokens")
    return [
        Picture(name, title, f"{title} against tokens. {_ends(drawn)}", _caption(drawn), draw.svg_text(figure, name))
    ]


def _ends(drawn: Mapping[str, Mapping[str, list[Course]]]) -> str:
    return " ".join(
        f"{panel}, {ask.arm_label(arm)}: {number(line[0].value.value)} to {number(line[-1].value.value)}."
        for panel, lines in drawn.items()
        for arm, line in lines.items()
    )


def _caption(drawn: Mapping[str, Mapping[str, list[Course]]]) -> str:
    ringed = any(_turn(line) for lines in drawn.values() for line in lines.values())
    return "Steep starts are cut off." + (" A ring marks the end of stage 1." if ringed else "")


def _turn(line: Sequence[Course]) -> Course | None:
    """Last point of stage 1, if the curve goes on after it."""
    aligned = [point for point in line if point.stage == "align"]
    return aligned[-1] if aligned and len(aligned) < len(line) else None


def _draw(axes: Axes, lines: Mapping[str, list[Course]], results: Results, *, log: bool) -> None:
    low, high = _range(lines, ask.baseline(results))
    if log:
        draw.log_scale(axes.yaxis, low / 1.05, high * 1.05)
    else:
        axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    looks, ends = draw.looks(results), []
    for arm, line in lines.items():
        look, xs = looks[arm], [point.tokens for point in line]
        axes.plot(xs, [point.value.value for point in line], color=look.colour, linestyle=look.dash, linewidth=1.9)
        if log and len(lines) <= _FEW_ARMS:  # the spread of a training loss is its batches', not the arm's
            draw.band(axes, xs, [(point.value.low, point.value.high) for point in line], look.colour)
        if turn := _turn(line):
            axes.plot(turn.tokens, turn.value.value, "o", color=look.colour, ms=5.5, mfc=draw.PAPER, zorder=3)
        ends.append((xs[-1], line[-1].value.value, ask.arm_label(arm), look.colour))
    axes.set_xlim(0, max(end[0] for end in ends) * 1.01)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(ticker.EngFormatter(sep=" "))
    draw.end_labels(axes, ends, gap=0.066)


def _range(lines: Mapping[str, list[Course]], base: str) -> tuple[float, float]:
    """Lowest and highest value to show: what comes after the first fall, of arms that are not far worse."""
    ceiling = draw.off_scale(lines[base][-1].value.value if base in lines else None)
    shown = [line for line in lines.values() if line[-1].value.value <= ceiling] or list(lines.values())
    late = [point.value.value for line in shown for point in line if point.tokens >= _CUT * line[-1].tokens]
    return min(late), max(late)
