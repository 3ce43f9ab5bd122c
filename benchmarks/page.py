"""docs/performance.md from results.json; nothing on the page is typed."""

from __future__ import annotations

from typing import Any

from prealign.report.formats import NONE, quantity
from prealign.run.merging import common_facts

_HEAD = """# Performance

<!-- Made from {source} by `python -m benchmarks --page`; do not edit. -->

{environment}.

Every figure is the median of n rounds that alternate with its reference, in brackets the lowest and highest. A ratio is the
median of the rounds' own ratios. {verdict}
"""

_COLUMNS = ("", "measured", "reference", "ratio", "target", "met", "n")


def page(results: dict[str, Any], source: str) -> str:
    """Return the page in Markdown; `source` names the file the results come from."""
    runs = results["benchmarks"]
    common = common_facts([run["environment"] for run in runs.values()])
    head = _HEAD.format(source=source, environment=_facts(common), verdict=verdict(runs))
    return "\n".join([head, *(_section(name, run, common) for name, run in runs.items())])


def verdict(runs: dict[str, dict[str, Any]]) -> str:
    """Return how many targets were met, naming those that were not."""
    judged = [(name, figure) for name, run in runs.items() for figure in run["figures"] if figure["target"]]
    missed = [f"{name}: {figure['name']}" for name, figure in judged if not figure["met"]]
    said = f"{len(judged) - len(missed)} of {len(judged)} targets are met"
    return f"{said}; not met: {', '.join(missed)}." if missed else f"{said}."


def _section(name: str, run: dict[str, Any], common: dict[str, Any]) -> str:
    title, _, text = run["about"].partition("\n")
    own = _facts({key: value for key, value in run["environment"].items() if key not in common})
    made = f"`python -m benchmarks {name}`, {run['created']}, load of the machine before {run['load']:.2f}"
    table = [_line(_COLUMNS), _line(["---"] + ["--:"] * (len(_COLUMNS) - 1)), *(_line(_row(f)) for f in run["figures"])]
    return "\n".join([f"## {title.rstrip('.')}", text, "", f"{made}; {own}." if own else f"{made}.", "", *table, ""])


def _facts(environment: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in environment.items())


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
