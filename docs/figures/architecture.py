"""Draw docs/figures/architecture.svg and write the tree of docs/architecture.md: `python docs/figures/architecture.py`.

1. The flow: files (white) and the rooms (coloured) that turn one into the next. `FLOW` lists them in their places.
2. The tree: every module of src/prealign with the first sentence of its docstring.
"""

from __future__ import annotations

import ast
import re
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE, PICTURE = ROOT / "docs" / "architecture.md", ROOT / "docs" / "figures" / "architecture.svg"

# name, column, row, second line; a room's name is that of its package
FILES = (
    ("recipe.yaml", 0, 0, "what is wanted"),
    ("dictionaries, bitext", 0, 1, "any public format"),
    ("text", 0, 2, "files, packages, hub"),
    ("lexicon.jsonl", 2, 1, "translation groups"),
    ("tokens", 2, 2, "Arrow, by language"),
    ("blocks", 4, 2, "input_ids, labels"),
    ("checkpoint", 4, 0, "plain from_pretrained"),
    ("scores", 6, 0, "items kept"),
    ("results.json", 6, 1, "intervals, Holm"),
    ("page, tables, card", 6, 2, "HTML, Markdown, SVG"),
)
ROOMS = (
    ("recipe", 1, 0, "validate"),
    ("lexicon", 1, 1, "read, clean, merge"),
    ("text", 1, 2, "tokenise, find words"),
    ("methods", 3, 1, "objectives, rewriters"),
    ("training", 3, 0, "train a phase"),
    ("evaluation", 5, 0, "evaluators, probes"),
    ("run", 3, 2, "stages, arms, plan"),
    ("report", 5, 2, "reads results only"),
)
ARROWS = (
    ("recipe.yaml", "recipe"),
    ("dictionaries, bitext", "lexicon"),
    ("text", "text"),
    ("recipe", "training"),
    ("lexicon", "lexicon.jsonl"),
    ("text room", "tokens"),
    ("lexicon.jsonl", "methods"),
    ("tokens", "run"),
    ("methods", "training"),
    ("methods", "run"),
    ("run", "blocks"),
    ("blocks", "training"),
    ("training", "checkpoint"),
    ("checkpoint", "evaluation"),
    ("evaluation", "scores"),
    ("scores", "results.json"),
    ("results.json", "report"),
    ("report", "page, tables, card"),
)
WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 176, 54, 30, 46, 20
COLOURS = {"file": "#ffffff", "room": "#dbe9f6"}


def place(column: int, row: int) -> tuple[int, int]:
    """Return the upper left corner of a box."""
    return MARGIN + column * (WIDTH + GAP_X), MARGIN + row * (HEIGHT + GAP_Y)


def box(name: str, column: int, row: int, second: str, kind: str) -> str:
    """Draw a file or a room."""
    x, y = place(column, row)
    middle = x + WIDTH / 2
    shown = f"{name}/" if kind == "room" else name
    return (
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="8" fill="{COLOURS[kind]}" stroke="#345"/>'
        f'<text x="{middle}" y="{y + 23}" text-anchor="middle" font-weight="bold">{escape(shown)}</text>'
        f'<text x="{middle}" y="{y + 41}" text-anchor="middle" font-size="11" fill="#456">{escape(second)}</text>'
    )


def arrow(one: tuple[int, int], other: tuple[int, int]) -> str:
    """Draw an arrow from box to box, by column and row."""
    (x1, y1), (x2, y2) = place(*one), place(*other)
    if one[0] == other[0]:
        down = other[1] > one[1]
        ends = (x1 + WIDTH / 2, y1 + (HEIGHT if down else 0), x2 + WIDTH / 2, y2 + (0 if down else HEIGHT))
    else:
        right = other[0] > one[0]
        ends = (x1 + (WIDTH if right else 0), y1 + HEIGHT / 2, x2 + (0 if right else WIDTH), y2 + HEIGHT / 2)
    return '<line x1="{}" y1="{}" x2="{}" y2="{}" stroke="#345" marker-end="url(#head)"/>'.format(*ends)


def picture() -> str:
    """Return the flow as SVG."""
    places = {name: (column, row) for name, column, row, _ in FILES}
    places |= {name if name != "text" else "text room": (column, row) for name, column, row, _ in ROOMS}
    lines = [arrow(places[one], places["text room" if other == "text" else other]) for one, other in ARROWS]
    boxes = [box(*one, "file") for one in FILES] + [box(*one, "room") for one in ROOMS]
    width, height = place(7, 0)[0] - GAP_X + MARGIN, place(0, 3)[1] - GAP_Y + MARGIN
    size = 'markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto"'
    head = f'<marker id="head" {size}><path d="M0 0L8 4L0 8z"/></marker>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="14">'
        f'<title>How data flow through prealign</title><rect width="{width}" height="{height}" fill="#f7f9fb"/>'
        f"<defs>{head}</defs>{''.join(lines)}{''.join(boxes)}</svg>\n"
    )


def tree() -> str:
    """Return the modules of src/prealign, a line a file, with the first sentence of each docstring."""
    package = ROOT / "src" / "prealign"
    lines = []
    for path in sorted(package.rglob("*.py"), key=lambda p: (p.parent.as_posix(), p.name != "__init__.py", p.name)):
        name = path.relative_to(package)
        depth = len(name.parts) - 1
        shown = f"{name.parent.name}/" if path.name == "__init__.py" and depth else path.name
        indent = "  " * (depth - 1 if path.name == "__init__.py" and depth else depth)
        lines.append(f"{indent + shown:<32} {first_sentence(path)}")
    return "\n".join(lines)


def first_sentence(path: Path) -> str:
    """Return the first sentence of a module's docstring."""
    text = " ".join((ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n\n")[0].split())
    found = re.match(r"(.+?\.)(?= |$)", text)
    sentence = (found.group(1) if found else text).rstrip(":.")
    return sentence if len(sentence) <= 100 else f"{sentence[:99].rpartition(' ')[0]} …"


def main() -> None:
    """Write the picture, and the tree into the page."""
    PICTURE.write_text(picture(), encoding="utf-8")
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition("<!-- tree -->\n")
    _, _, after = rest.partition("<!-- /tree -->")
    PAGE.write_text(f"{before}<!-- tree -->\n```text\n{tree()}\n```\n<!-- /tree -->{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
