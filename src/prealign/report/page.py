"""The report as pages: one self-contained HTML file, or markdown with SVG files beside it.

1. Both pages are filled from one context: finding, pictures, tables, provenance. Nothing is computed here.
2. In HTML the figures are inline and their ink and paper become CSS variables, so they follow light and dark.
3. Files are written under a temporary name and renamed (`files.write_text`), so a reader never sees half a page.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from pandas import DataFrame

from prealign.files import write_text
from prealign.report.figures import alignment, curves, drawing, dynamics, frontier, perplexity, sweeps
from prealign.report.figures import external_retrieval as external_figures
from prealign.report.figures.drawing import Picture
from prealign.report.finding import finding
from prealign.report.results import Results, language_label
from prealign.report.results_file import Content
from prealign.report.tables import budget, data, established, language_modelling, parity, retrieval, tasks, unfinished
from prealign.report.tables import external_retrieval as external
from prealign.report.tables.table import Table, to_markdown

_LEAD = ("dynamics", "alignment", "unseen", "perplexity")
"""Figures that come before the tables."""
_VARIABLES = {
    drawing.INK: "var(--ink)",
    drawing.MUTED: "var(--muted)",
    drawing.GRID: "var(--grid)",
    drawing.PAPER: "var(--paper)",
}


def write_report(results: Results, path: Path) -> None:
    """Write the one-file HTML report: no scripts, no network requests, for screens, paper and screen readers."""
    write_text(path, _templates(escape=True).get_template("report.html.j2").render(_context(results)))


def write_markdown(results: Results, path: Path, figures_dir: Path) -> None:
    """Write the same report as markdown that links to its figures, SVG files in `figures_dir`."""
    context = _context(results)
    links = {}
    for picture in context["pictures"]:
        file = figures_dir / f"{picture.name}.svg"
        write_text(file, picture.svg)
        links[picture.name] = Path(os.path.relpath(file, path.parent)).as_posix()
    write_text(path, _templates(escape=False).get_template("report.md.j2").render(context, links=links))


def inline_svg(svg: str, label: str) -> Markup:
    """Return an SVG for an HTML page: scaled by the page, in its colours, with `label` for screen readers."""
    pattern = re.compile("|".join(_VARIABLES))
    svg = pattern.sub(lambda found: _VARIABLES[found[0]], svg)
    svg = re.sub(r' (width|height)="[^"]*pt"', "", svg, count=2)
    opening = Markup('<svg role="img" aria-label="{}" ').format(label)
    return opening + Markup(svg.removeprefix("<svg "))


def _templates(*, escape: bool) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=escape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"inline_svg": inline_svg, "markdown": to_markdown}
    return environment


def pictures(results: Results) -> list[Picture]:
    """Return every figure that the results have data for, alignment during training first; equal results, equal bytes."""
    makers = (
        dynamics.dynamics, alignment.alignment, external_figures.external_retrieval, perplexity.perplexities,
        frontier.frontier_curves, curves.validation, curves.losses, sweeps.sweep_curves,
    )  # fmt: skip
    with drawing.style():
        return [picture for make in makers for picture in make(results)]


def main_tables(results: Results) -> list[Table]:
    """Return the tables that answer the question, in order: shown first on the page, and in the terminal."""
    makers = (
        unfinished.unfinished, language_modelling.language_modelling, language_modelling.inside_outside,
        language_modelling.mixing, tasks.transfer, tasks.knowledge, established.established, retrieval.retrieval,
        external.retrieval_tables, external.strata_tables, external.tested_dictionaries,
        parity.tokens_to_parity, budget.budget, budget.initial_rows, budget.switching, budget.switching_by_language,
    )  # fmt: skip
    return [table for make in makers for table in make(results)]


def _context(results: Results) -> dict[str, Any]:
    drawn, content = pictures(results), results.content
    return {
        "name": content["name"],
        "finding": finding(results),
        "pictures": drawn,
        "lead": sum(picture.name.startswith(_LEAD) for picture in drawn),
        "arms": [
            (arm, results.label(arm), results.description(arm), results.citation(arm)) for arm in results.all_arms
        ],
        "main_tables": main_tables(results),
        "more_tables": [
            *retrieval.retrieval(results, "csls_p_at_1"), *retrieval.retrieval_by_subwords(results),
            *budget.mixture(results), *budget.parallel_text(results),
            *data.corpus(content), *data.tokenizer(content), *data.lexicon(content),
        ],
        "provenance": [*_provenance(content), *_signatures(results)],
        "recipe": yaml.safe_dump(results.recipe, sort_keys=False, allow_unicode=True),
    }  # fmt: skip


def _provenance(content: Content) -> list[Table]:
    parts = content.get("parts", [])
    seeds = sorted({row["seed"] for row in content["scores"]})
    made = [_origin(content | {"arms": [], "seeds": seeds}), *map(_origin, parts)]
    facts = DataFrame(made, dtype=object).fillna("").astype(str).T
    rows = facts[facts.ne("").any(axis=1)].itertuples(name=None)
    columns = ("All", *(f"Part {i}" for i in range(1, len(made)))) if parts else ("Value",)
    return [Table("How these numbers were made", ("Fact", *columns), tuple(rows))]


def _origin(made: dict[str, Any]) -> dict[str, Any]:
    return {
        "command": made.get("command"),
        "prealign": made.get("version"),
        "created": made.get("created"),
        "arms": ", ".join(made.get("arms", [])),
        "seeds": ", ".join(map(str, made.get("seeds", []))),
        **made.get("environment", {}),
    }


def _signatures(results: Results) -> list[Table]:
    columns = ["task", "language", "signature"]
    counts = results.scores.groupby(columns, sort=False, observed=True).size()
    rows = tuple(
        (task, language_label(language), signature, f"{count:,}")
        for (task, language, signature), count in counts.items()
    )
    return (
        [Table("Signatures of the scores", ("Task", "Language", "Signature", "Scores"), rows, labels=3)] if rows else []
    )
