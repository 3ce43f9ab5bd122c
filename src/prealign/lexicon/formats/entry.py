"""What every format gives: entries, and the separators of alternatives inside them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

Entry = tuple[Sequence[str], Sequence[str], int]
"""(words, their translations, rank): each word has each translation. Senses are ordered by rank, then as in the file."""

MOST_ALTERNATIVES = 200
_BRACKETED = re.compile(r"\([^()]*\)|\[[^\[\]]*\]|\{[^{}]*\}|<[^<>]*>")


ALTERNATIVES = re.compile(r";|,(?=\s)|،")
"""Between words of a gloss; the comma of a number (10,000) or a name (1,2-diol) is none."""


def split_outside(text: str, separator: re.Pattern[str]) -> list[str]:
    """Cut text at separators (of one character) that are not inside brackets, and leave out what is blank.

    ValueError if there are more alternatives than a dictionary has.
    """
    if not separator.search(text):
        return [text.strip()] if text.strip() else []
    masked = _BRACKETED.sub(lambda found: "_" * len(found[0]), text)
    edges = [-1, *(found.start() for found in separator.finditer(masked)), len(text)]
    if len(edges) > MOST_ALTERNATIVES:
        raise ValueError(f"{len(edges) - 1:,} alternatives are more than {MOST_ALTERNATIVES}")
    parts = (text[a + 1 : b].strip() for a, b in pairwise(edges))
    return [part for part in parts if part]
