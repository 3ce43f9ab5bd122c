"""docs/performance.md from results.json; nothing on the page is typed."""

from __future__ import annotations

from typing import Any

from prealign.report.formats import NONE, quantity

_HEAD = """# Performance

<!-- Made from {source} by `python -m benchmarks --page`; do not edit. -->

`{command}`, {created}: {environment}. Load of the machine at the start: {load}.

Every figure is the median of n rounds that alternate with its reference, in brackets the lowest and highest. A ratio is the
median of the rounds' own ratios. {verdict}
"""

_COLUMNS = ("", "measured", "reference", "ratio", "target", "met", "n")


def page(results: dict[str, Any], source: str) -> str:
    """Return the page in Markdown; `source` names the file the results come from."""
    environment = ", ".join(f"{name} {value}" for name, value in results["environment"].items())
    head = _HEAD.format(
        source=source,
        command=results["command"],
        created=results["created"],
        environment=environment,
        load=f"{results['load']:.2f}",
        verdict=verdict(results["figures"]),
    )
    return "\n".join([head, *(_section(name, about, results) for name, about in results["about"].items())])


def verdict(figures: list[dict[str, Any]]) -> str:
    """Return how many targets were met, naming those that were not."""
    judged = [f for f in figures if f["target"]]
    missed = [f"{f['benchmark']}: {f['name']}" for f in judged if not f["met"]]
    said = f"{len(judged) - len(missed)} of {len(judged)} targets are met"
    return f"{said}; not met: {', '.join(missed)}." if missed else f"{said}."


def _section(name: str, about: str, results: dict[str, Any]) -> str:
    title, _, text = about.partition("\n")
    rows = [_row(f) for f in results["figures"] if f["benchmark"] == name]
    table = [_line(_COLUMNS), _line(["---"] + ["--:"] * (len(_COLUMNS) - 1)), *map(_line, rows)]
    return "\n".join([f"## {title.rstrip('.')}", text, "", f"`python -m benchmarks {name}`", "", *table, ""])


def _row(figure: dict[str, Any]) -> list[str]:
    reference = NONE
    ratio = NONE
    if figure["reference"] is not None:
        reference = f"{quantity(figure['reference'])} {figure['unit']} ({figure['against']})"
        ratio = f"{figure['ratio']:.3f} [{figure['ratio_low']:.3f}, {figure['ratio_high']:.3f}]"
    measured = f"{quantity(figure['value'])} {figure['unit']} [{quantity(figure['low'])}, {quantity(figure['high'])}]"
    met = NONE if figure["met"] is None else "met" if figure["met"] else "**not met**"
    return [figure["name"], measured, reference, ratio, figure["target"] or NONE, met, str(figure["n"])]


def _line(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"
