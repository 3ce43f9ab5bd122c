"""The report as pages: one self-contained HTML file, or markdown with SVG files beside it.

1. Both pages are filled from one context: finding, pictures, tables, provenance. Nothing is computed here.
2. In HTML the figures are inline and their ink and paper become CSS variables, so they follow light and dark.
3. Files are written aside and renamed (`runfolder.write_text`): a reader never sees half a page.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from prealign.files import write_text
from prealign.report import results as ask
from prealign.report.figures import drawing
from prealign.report.figures.alignment import pictures
from prealign.report.finding import finding
from prealign.report.results import Results
from prealign.report.tables import budget as amounts
from prealign.report.tables import parity
from prealign.report.tables import table as tables
from prealign.report.tables import tasks as applied
from prealign.report.tables import unseen_words as unseen
from prealign.report.tables.table import Table

_LEAD = ("dynamics", "alignment", "unseen", "perplexity")
"""Figures that come before the tables."""
_VARIABLES = {
    drawing.INK: "var(--ink)",
    drawing.MUTED: "var(--muted)",
    drawing.GRID: "var(--grid)",
    drawing.PAPER: "var(--paper)",
}


def write_report(results: Results, path: Path) -> None:
    """Write the one-file HTML report: no script, no request, readable on screen, on paper and by ear."""
    write_text(path, _templates(escape=True).get_template("report.html.j2").render(_context(results)))


def write_markdown(results: Results, path: Path, figures_dir: Path) -> None:
    """Write the same report as markdown, its figures as SVG files in `figures_dir` that it links to."""
    context = _context(results)
    links = {}
    for picture in context["pictures"]:
        file = figures_dir / f"{picture.name}.svg"
        write_text(file, picture.svg)
        links[picture.name] = Path(os.path.relpath(file, path.parent)).as_posix()
    write_text(path, _templates(escape=False).get_template("report.md.j2").render(context, links=links))


def inline_svg(svg: str, label: str) -> Markup:
    """SVG for an HTML page: scaled by the page, in its colours, named by `label` for screen readers."""
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
    environment.filters |= {"inline_svg": inline_svg, "markdown": tables.to_markdown}
    return environment


def main_tables(results: Results) -> list[Table]:
    """The tables that answer the question, in order: what the page shows first, and the terminal."""
    makers = (
        tables.language_modelling, tables.inside_outside, applied.transfer, applied.knowledge, tables.retrieval,
        unseen.retrieval_tables, unseen.asked_dictionaries, parity.tokens_to_parity, amounts.budget, amounts.switching,
        amounts.switching_by_language,
    )  # fmt: skip
    return [table for make in makers for table in make(results)]


def _context(results: Results) -> dict[str, Any]:
    drawn = pictures(results)
    return {
        "name": results["name"],
        "finding": finding(results),
        "pictures": drawn,
        "lead": sum(picture.name.startswith(_LEAD) for picture in drawn),
        "arms": [
            (arm, ask.arm_label(arm), ask.arm_description(arm, results)) for arm in ask.all_arms(results)
        ],
        "main_tables": main_tables(results),
        "more_tables": [
            *tables.retrieval(results, "csls_p_at_1"), *tables.retrieval_by_subwords(results),
            *amounts.mixture(results), *amounts.corpus(results), *amounts.tokenizer(results), *amounts.lexicon(results),
        ],
        "provenance": [*_provenance(results), *_signatures(results)],
        "recipe": yaml.safe_dump(results["recipe"], sort_keys=False, allow_unicode=True),
    }  # fmt: skip


def _provenance(results: Results) -> list[Table]:
    parts = results.get("parts", [])
    seeds = sorted({row["seed"] for row in results["scores"]})
    made = [_origin(results | {"seeds": seeds}), *map(_origin, parts)]
    names = dict.fromkeys(name for facts in made for name in facts)
    rows = [(name, *("" if facts.get(name) is None else str(facts[name]) for facts in made)) for name in names]
    columns = ("All", *(f"Part {i}" for i in range(1, len(made)))) if parts else ("Value",)
    shown = tuple(row for row in rows if any(row[1:]))
    return [Table("How these numbers were made", ("What", *columns), shown, labels=1)]


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
    scores = [row for row in results["scores"] if row.get("signature")]
    rows = tuple(
        (str(task), ask.language_label(str(language)), str(signature), f"{len(own):,}")
        for (task, language, signature), own in ask.group(scores, "task", "language", "signature").items()
    )
    columns = ("Task", "Language", "Signature", "Scores")
    return [Table("Signatures of the scores", columns, rows, labels=3)] if rows else []
