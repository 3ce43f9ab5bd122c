"""Curves over one setting, such as the share of the dictionary: a picture and a table for each sweep (`sweeps`)."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prealign.report import results as ask
from prealign.report.figures import drawing as draw
from prealign.report.figures.drawing import Picture
from prealign.report.formats import number, with_interval
from prealign.report.results import SPLITS, Estimate, Results
from prealign.report.sweeps import Sweep, setting, sweeps
from prealign.report.tables.table import Table, interval_note, make_table, seed_counts

_COLOUR = "#0072b2"
Points = Sequence[tuple[float, str]]
"""(value of the setting, arm), by value."""


def points(results: Results, sweep: Sweep) -> Points:
    """Return the arms of a sweep that were run, the extended arm among them at its own value."""
    run = ask.all_arms(results)
    values = [
        (setting(results["recipe"], arm, sweep.key), arm) for arm in (sweep.extends, *sweep.variants) if arm in run
    ]
    return sorted((float(value), arm) for value, arm in values if ask.finite(value))


def _drawn(results: Results) -> list[tuple[Sweep, Points]]:
    """The sweeps of which two points or more have a perplexity."""
    found = [(sweep, points(results, sweep)) for sweep in sweeps(results["recipe"])]
    measured = [(sweep, [p for p in own if ask.perplexity_languages(results, p[1])]) for sweep, own in found]
    return [(sweep, own) for sweep, own in measured if len(own) > 1]


def sweep_curves(results: Results) -> list[Picture]:
    """Return a picture of perplexity over each setting, with its table."""
    return [_picture(results, sweep, own) for sweep, own in _drawn(results)]


def sweep_tables(results: Results) -> list[Table]:
    """Return the tables of the curves alone."""
    return [sweep_table(results, sweep, own) for sweep, own in _drawn(results)]


def sweep_table(results: Results, sweep: Sweep, own: Points) -> Table:
    """Return the numbers of a sweep: perplexities, gap closed, and mean P@1 over layers after stage 2."""
    base, arms = ask.baseline(results), [arm for _, arm in own]
    rows = [base, *arms] if base not in arms and base in ask.all_arms(results) else arms
    columns = {
        sweep.key: ["–"] * (len(rows) - len(arms)) + [f"{value:g}" for value, _ in own],
        "Arm": [ask.arm_label(arm) for arm in rows],
    }
    cells: dict[str, list[Estimate | None]] = {}
    parts = {"": "perplexity", " inside": "perplexity_inside", " outside": "perplexity_outside"}
    for tag in ask.languages(results):
        for part, metric in parts.items():
            # Where a lexicon of another size decides which words are inside, those of the baseline are other words.
            own_words = part and sweep.key.startswith("lexicon.")
            cells[f"{ask.language_label(tag)}{part}"] = [
                None if own_words and arm == base else ask.perplexity(results, arm, tag, metric) for arm in rows
            ]
        if tag != ask.source_language(results):
            cells[f"Gap closed, {ask.language_label(tag)}"] = [ask.gap_closed(results, arm, tag) for arm in rows]
    columns |= {name: [with_interval(estimate) for estimate in found] for name, found in cells.items() if any(found)}
    for tag in ask.target_languages(results):
        for split in SPLITS:
            means = [ask.mean_p_at_1(results, arm, tag, "pretrain", split) for arm in rows]
            if any(mean is not None for mean in means):
                columns[f"P@1 {SPLITS[split]}, {ask.language_label(tag)}"] = [number(mean) for mean in means]
    accuracies = ask.group(ask.select(results["scores"], metric="accuracy"), "condition", "language", "arm")
    for condition, tag in dict.fromkeys((condition, tag) for condition, tag, _ in accuracies):
        found = [ask.estimate(accuracies.get((condition, tag, arm), [])) for arm in rows]
        if any(found):
            columns[f"{condition}, {ask.language_label(tag)}"] = [with_interval(estimate) for estimate in found]
    columns |= seed_counts(list(zip(*cells.values(), strict=True)))
    every = [estimate for found in cells.values() for estimate in found]
    note = [
        "Columns by language: test perplexity; inside and outside: on words that the training lexicon has, or has not; "
        "where the lexicon itself is varied these are other words in each row, and the baseline has none of its own.",
        *interval_note(every, "documents"),
        "P@1: mean over layers after stage 2.",
    ]
    return make_table(f"{ask.arm_label(sweep.extends)} over {sweep.key}", columns, note, 2)


def _picture(results: Results, sweep: Sweep, own: Points) -> Picture:
    tags = [tag for tag in ask.languages(results) if any(ask.perplexity(results, arm, tag) for _, arm in own)]
    figure = Figure(figsize=(draw.WIDTH, 3.2))
    for axes, tag in zip(figure.subplots(1, len(tags), squeeze=False)[0], tags, strict=True):
        axes.set(title=ask.language_label(tag), xlabel=sweep.key)
        _draw(axes, results, tag, own)
        axes.set_ylabel("test perplexity (log scale)" if tag == tags[0] else "")
    base, name = ask.arm_label(ask.baseline(results)), f"over-{sweep.key.replace('.', '-')}-{sweep.extends}"
    values = " ".join(
        f"{ask.language_label(tag)} at {value:g}: {number(found.value)}."
        for tag in tags
        for value, arm in own
        if (found := ask.perplexity(results, arm, tag))
    )
    title = f"{ask.arm_label(sweep.extends)}: perplexity over {sweep.key}"
    caption = (
        f"Bars are 95 % intervals; the line marks {base}, a ring {ask.arm_label(sweep.extends)} itself. "
        "Values are evenly spaced."
    )
    picture = draw.svg_text(figure, name)
    return Picture(name, title, f"{title}. {values}", caption, picture, sweep_table(results, sweep, own))


def _draw(axes: Axes, results: Results, language: str, own: Points) -> None:
    """Values stand evenly spaced, in order: settings are often tried at doubling steps, and from 0 on."""
    found = [(i, arm, e) for i, (_, arm) in enumerate(own) if (e := ask.perplexity(results, arm, language))]
    reference = ask.perplexity(results, ask.baseline(results), language)
    shown = [e for _, _, e in found] + ([reference] if reference else [])
    ends = [end for e in shown for end in (e.value, e.low, e.high) if end is not None and end > 0]
    margin = 1.02 * (max(ends) / min(ends)) ** 0.1
    draw.log_scale(axes.yaxis, min(ends) / margin, max(ends) * margin)
    if reference:
        axes.axhline(reference.value, color=draw.MUTED, linewidth=1.2)
    axes.plot([x for x, _, _ in found], [e.value for _, _, e in found], color=_COLOUR, linewidth=1.9)
    for x, arm, estimate in found:
        if estimate.low is not None and estimate.high is not None:
            axes.plot([x, x], [estimate.low, estimate.high], color=_COLOUR, linewidth=2.4, alpha=0.45)
        inside = _COLOUR if arm in ask.swept(results) else draw.PAPER
        axes.plot(x, estimate.value, "o", color=_COLOUR, markersize=6, mfc=inside, zorder=3)
    axes.set_xticks(range(len(own)), [f"{value:g}" for value, _ in own])
    axes.set_xlim(-0.3, len(own) - 0.7)
