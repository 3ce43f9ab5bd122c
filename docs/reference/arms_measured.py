"""Write the table of docs/which-method.md, what each arm was measured to do: `python docs/reference/arms_measured.py`.

1. The rows are the arms and methods of docs/arms.md, in its order.
2. The columns are the committed results with at least `SEEDS` seeds. A cell is the ratio of test perplexities to joint
   training's at the same FLOPs, target language first.
"""

from __future__ import annotations

from pathlib import Path

from prealign.report.results import Results
from prealign.report.results_file import read_results

DOCS = Path(__file__).resolve().parents[1]
PAGE = DOCS / "which-method.md"
SEEDS = 3
LARGEST = 100
"""A ratio above it is that of an arm that did not train the language."""


def arms() -> list[tuple[str, str]]:
    """Return name and label of each row of docs/arms.md."""
    text = (DOCS / "arms.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    return [(row[0].strip("`"), row[1]) for row in rows]


def experiments() -> dict[str, Results]:
    """Return the committed results with enough seeds, by the name of their folder."""
    found = {}
    for page_of_results in sorted(DOCS.glob("results/*/README.md")):
        path = page_of_results.with_name("results.json")
        content = read_results(path)
        if len({score["seed"] for score in content.get("scores", [])}) >= SEEDS:
            found[path.parent.name] = Results(content)
    return found


def ratios(results: Results, arm: str) -> str:
    """Return the ratios of an arm to the baseline: those of the targets, then the source's; "" if it was not measured."""
    shown = []
    for language in (*results.targets, results.source):
        own, base = (results.perplexity(name, language) for name in (arm, results.baseline))
        if own and base and arm != results.baseline:
            ratio = own.value / base.value
            text = f"{ratio:.2f}×" if ratio < LARGEST else f"above {LARGEST}×"
            shown.append(f"source {text}" if language == results.source else text)
    return ", ".join(shown)


def table() -> str:
    """Return the table in Markdown, and below it the arms that no experiment measured."""
    columns = experiments()
    rows = [
        f"| arm | label | {' | '.join(f'[{name}](results/{name}/README.md)' for name in columns)} |",
        f"| :-- | :-- |{' :-- |' * len(columns)}",
    ]
    without = []
    for name, label in arms():
        cells = [ratios(one, name) for one in columns.values()]
        if any(cells):
            rows.append(f"| `{name}` | {label} | {' | '.join(cells)} |")
        elif not any(name == one.baseline for one in columns.values()):
            without.append(f"`{name}`")
    return "\n".join([*rows, *(["", f"Not measured yet: {', '.join(without)}."] if without else [])])


def page() -> str:
    """Return the page with today's table."""
    before, start, rest = PAGE.read_text(encoding="utf-8").partition("<!-- measured -->\n")
    _, end, after = rest.partition("<!-- /measured -->")
    return f"{before}{start}\n{table()}\n\n{end}{after}"


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
