"""Pages: self-contained, escaped, accessible, the same twice, and whole whatever is missing."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

import synthetic_results as synthetic
from prealign.report.page import write_markdown, write_report
from prealign.report.results import Results
from prealign.report.results_file import read_results

_VOID = {"meta", "br", "hr", "img", "link", "input"}


class Outline(HTMLParser):
    """Checks that tags nest, and collects them."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def html(made: dict[str, Any], tmp_path: Path) -> str:
    write_report(Results(made), tmp_path / "report.html")
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def outline(text: str) -> Outline:
    parser = Outline()
    parser.feed(text)
    assert parser.open == []
    return parser


def test_the_page_asks_nothing_of_the_network(tmp_path: Path) -> None:
    text = html(synthetic.results(), tmp_path)
    without_names = re.sub(r'xmlns(:\w+)?="[^"]*"', "", text)
    assert not re.search(r"https?:|//\w|<script|<link|@import|url\((?!#)", without_names)


def test_the_page_is_well_formed_and_named_for_those_who_listen(tmp_path: Path) -> None:
    found = outline(html(synthetic.results(), tmp_path)).tags
    assert [
        attributes["aria-label"] for tag, attributes in found if tag == "svg" and not attributes.get("aria-label")
    ] == []
    assert all(attributes.get("role") == "img" for tag, attributes in found if tag == "svg")
    assert all(attributes.get("scope") for tag, attributes in found if tag == "th")
    assert dict(found)["html"] == {"lang": "en"}
    order = [tag for tag, _ in found if tag in ("svg", "table")]
    assert order[:3] == ["svg", "svg", "table"]


def test_figures_take_the_pages_colours(tmp_path: Path) -> None:
    text = html(synthetic.results(), tmp_path)
    svgs = re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)
    assert len(svgs) == 4
    assert all("var(--ink)" in svg and "#1b2733" not in svg for svg in svgs)


def test_text_from_the_file_is_escaped(tmp_path: Path) -> None:
    made = synthetic.results()
    made["name"] = made["command"] = made["environment"]["cpu"] = '<script>alert("x")</script>'
    made["recipe"]["source"]["text"] = ["</code><script>"]
    evil = "<img src=x>"
    for row in [*made["scores"], *made["budget"], *made["comparisons"], *made["history"], *made["switching"]]:
        row["arm"] = evil if row["arm"] == "prealign" else row["arm"]
    text = html(made, tmp_path)
    assert "<script" not in text
    assert "<img" not in text
    assert "&lt;img src=x&gt;" in text
    outline(text)


def test_the_same_bytes_twice(tmp_path: Path) -> None:
    made = synthetic.results(["joint", "prealign"], [0, 1])
    assert html(made, tmp_path) == html(made, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_headline_tables_and_recipe_are_there(tmp_path: Path) -> None:
    made = synthetic.results(seeds=[0, 1, 2])
    text = html(made, tmp_path)
    assert '<section class="finding better"' in text
    for title in (
        "Language modelling",
        "Training budget",
        "Code-switching",
        "Corpus",
        "Lexicon",
        "Provenance",
    ):
        assert title in text
    assert "prealign run recipes/demo.yaml" in text
    recipe = re.search(r"<pre><code>(.*?)</code></pre>", text, flags=re.DOTALL)
    assert recipe
    assert yaml.safe_load(recipe[1]) == made["recipe"]


def test_a_negative_outcome_looks_and_reads_like_one(tmp_path: Path) -> None:
    text = html(synthetic.results(seeds=[0, 1, 2], effect=-1.0), tmp_path)
    assert '<section class="finding worse"' in text
    assert "does not help" in text


def _without(made: dict[str, Any], *sections: str) -> dict[str, Any]:
    return {key: value for key, value in made.items() if key not in sections}


def _failed(made: dict[str, Any]) -> dict[str, Any]:
    for row in made["scores"]:
        if (row["arm"], row["seed"]) == ("prealign", 1):
            row |= {"value": None, "low": None, "high": None}
    return made


OPTIONAL = (
    "budget",
    "comparisons",
    "history",
    "switching",
    "lexicon",
    "corpus",
    "environment",
    "version",
    "command",
)


@pytest.mark.parametrize(
    "made",
    [
        synthetic.results(["joint"]),
        synthetic.results(["prealign"]),
        synthetic.results(["target_only", "merged_ids"]),
        _without(synthetic.results(), *OPTIONAL),
        {**_without(synthetic.results(), *OPTIONAL), "scores": []},
        {**synthetic.results(), "scores": []},
        _failed(synthetic.results(["joint", "prealign"], [0, 1])),
        _failed(synthetic.results(["joint", "prealign"], [1])),
        synthetic.results(synthetic.TWELVE, language="de"),
        synthetic.whole(),
        _failed(synthetic.whole(["joint", "prealign"], [0, 1])),
        _without(synthetic.whole(["joint", "prealign"], [0]), "dynamics", *OPTIONAL),
    ],
    ids=[
        "joint",
        "prealign",
        "bounds",
        "scores-only",
        "nothing",
        "no-scores",
        "a-failed-seed",
        "a-failed-arm",
        "twelve-de",
        "everything",
        "everything-a-failed-seed",
        "everything-one-seed-scores-only",
    ],
)
def test_whatever_is_missing_the_page_is_whole(made: dict[str, Any], tmp_path: Path) -> None:
    text = html(made, tmp_path)
    outline(text)
    assert not re.search(r">(nan|None|inf)\b", text)
    write_markdown(Results(made), tmp_path / "README.md", tmp_path / "figures")


def test_arms_are_described_and_cited_as_the_file_says(tmp_path: Path) -> None:
    about = {"label": "Early alignment", "description": "aligned first", "citation": "Li et al. (2024)", "phases": []}
    made = {**synthetic.results(), "arms": {"prealign": about}}
    text = html(made, tmp_path)
    assert "<dt>Early alignment <code>prealign</code></dt><dd>aligned first. <cite>Li et al. (2024)</cite></dd>" in text
    write_markdown(Results(made), tmp_path / "README.md", tmp_path / "figures")
    page = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "- **Early alignment** (`prealign`): aligned first. Li et al. (2024)\n" in page
    assert "| Early alignment |" in page
    assert "- **Joint training** (`joint`): joint training: the same data, no alignment, no switching\n" in page


def test_markdown_links_the_figures_it_wrote(tmp_path: Path) -> None:
    page, figures = tmp_path / "docs" / "README.md", tmp_path / "docs" / "figures"
    write_markdown(Results(synthetic.results(seeds=[0, 1, 2])), page, figures)
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"^!\[[^\]]+\]\(([^)]+)\)$", text, flags=re.MULTILINE)
    assert [page.parent / link for link in links] == [
        figures / f"{name}.svg" for name in ("alignment-en-clone", "perplexity", "validation", "loss")
    ]
    assert all((page.parent / link).read_text(encoding="utf-8").startswith("<svg") for link in links)
    assert text.startswith("# demo\n\n**PreAlign lowers")
    assert "\n\n\n" not in text


def test_the_committed_demo_page_is_what_its_results_make(tmp_path: Path) -> None:
    folder = Path(__file__).parents[2] / "docs" / "results" / "demo"
    made = read_results(folder / "results.json")
    write_markdown(Results(made), tmp_path / "README.md", tmp_path)
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == (folder / "README.md").read_text(encoding="utf-8")


def test_the_report_needs_no_torch() -> None:
    code = "import sys, prealign.report.page; sys.exit(any(m in sys.modules for m in ('torch', 'transformers')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
