"""Draw docs/figures/labels.svg, the labels of a switched word: `python docs/figures/labels.py`.

1. `replace_spans`, the code of training, replaces a source word of two tokens by a substitute of three.
2. Each position becomes a column: source text, input, label. An arrow leads from an input to the label that it predicts,
   one position later.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

import numpy as np

from prealign.methods.switching.switch import replace_spans
from prealign.text.ragged import Ragged

PICTURE = Path(__file__).with_suffix(".svg")
SOURCE, WORD = ["she", "is", "un", "happy", "today"], slice(2, 4)
SUBSTITUTE = ["trau", "ri", "g"]
WIDTH, HEIGHT, LEFT, TOP, ROW = 84, 36, 118, 56, 78
ROWS = ("source text", "input_ids", "labels")
COLOURS = {"source": "#dbe9f6", "substitute": "#fde3c8", "ignored": "#eceff2", "plain": "#ffffff"}
HEAD = '<path d="M0 0L8 4L0 8z"/>'


def switched() -> tuple[list[str], list[str]]:
    """Return input and labels as text; an ignored label is -100."""
    words = [*SOURCE, *SUBSTITUTE]
    ids, n = np.arange(len(SOURCE)), WORD.stop - WORD.start
    substitute = Ragged(np.arange(len(SOURCE), len(words)), np.array([0, len(SUBSTITUTE)]))
    at = np.array([WORD.start])
    inputs, labels = replace_spans(ids, at, np.array([n]), at, substitute, "input_only")
    return [words[i] for i in inputs], [words[i] if i >= 0 else str(i) for i in labels]


def cell(text: str, column: int, row: int, kind: str) -> str:
    """Draw the token of a column and row."""
    x, y, width = LEFT + column * WIDTH, TOP + row * ROW, WIDTH - 6
    colour = "#8a949e" if kind == "ignored" else "#123"
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{HEIGHT}" rx="6" fill="{COLOURS[kind]}" stroke="#345"/>'
        f'<text x="{x + width / 2}" y="{y + 23}" text-anchor="middle" fill="{colour}">{escape(text)}</text>'
    )


def prediction(column: int) -> str:
    """Draw an arrow from the input of a column to the label of the next."""
    x1, x2 = LEFT + column * WIDTH + WIDTH / 2, LEFT + (column + 1) * WIDTH + WIDTH / 2 - 8
    y1, y2 = TOP + ROW + HEIGHT, TOP + 2 * ROW
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2 - 2}" stroke="#345" marker-end="url(#head)"/>'


def kind_of(token: str) -> str:
    """Say which colour a token has."""
    if token == "-100":
        return "ignored"
    return "substitute" if token in SUBSTITUTE else "source" if token in SOURCE[WORD] else "plain"


def picture() -> str:
    """Return the drawing as SVG."""
    inputs, labels = switched()
    longer, n = len(SUBSTITUTE), WORD.stop - WORD.start
    parts = [
        f'<text x="{LEFT - 14}" y="{TOP + i * ROW + 23}" text-anchor="end" font-weight="bold">{name}</text>'
        for i, name in enumerate(ROWS)
    ]
    for i, token in enumerate(SOURCE):  # the source word stands above its substitute
        column = i if i < WORD.stop else i + longer - n
        parts.append(cell(token, column, 0, kind_of(token)))
    for row, tokens in ((1, inputs), (2, labels)):
        parts += [cell(token, i, row, kind_of(token)) for i, token in enumerate(tokens)]
    parts += [prediction(i - 1) for i, label in enumerate(labels) if i and label != "-100"]
    end, bottom = LEFT + len(inputs) * WIDTH + 14, TOP + 2 * ROW + HEIGHT
    note = "An arrow leads from a position to the label that it predicts. -100: no label."
    size = 'markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {end} {bottom + 44}" font-family="sans-serif" '
        'font-size="14"><title>The labels of input-only code-switching</title>'
        f'<rect width="{end}" height="{bottom + 44}" fill="#f7f9fb"/><defs><marker id="head" {size}>{HEAD}</marker></defs>'
        f'<text x="{LEFT}" y="30" fill="#456">unhappy (2 tokens) is replaced by its translation traurig (3 tokens)</text>'
        f'{"".join(parts)}<text x="14" y="{bottom + 26}" font-size="12" fill="#456">{note}</text></svg>\n'
    )


def main() -> None:
    """Write the drawing."""
    PICTURE.write_text(picture(), encoding="utf-8")


if __name__ == "__main__":
    main()
