"""What every format gives: entries, and the separators of alternatives inside them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from prealign.errors import LexiconError
from prealign.languages import same
from prealign.lexicon.reading_report import Account

Entry = tuple[Sequence[str], Sequence[str], int]
"""(words, their translations, rank): each word has each translation. Senses are ordered by rank, then as in the file."""

MOST_ALTERNATIVES = 200
_BRACKETED = re.compile(r"\([^()]*\)|\[[^\[\]]*\]|\{[^{}]*\}|<[^<>]*>")


ALTERNATIVES = re.compile(r"[;；؛|｜،、，]|,(?=\s)|(?<=[^\W\d_]{2}),(?=[^\W\d_]{2})")
"""Between words of a cell or gloss; the comma of a number (10,000) or a name (1,2-diol) is none."""
_SLASH = re.compile("/")
_LISTS = re.compile("[/,;；؛|｜،、，]")
"""What all cells that list several words have."""
_SHORTEST = 3
"""Letters of a word beside a slash that separates alternatives: Leiter/Stiege, not and/or, km/h, Lehrer/in."""
_EAST_ASIAN = "\u2e80"
"""The first character of the scripts in which a word may have one letter."""


def alternatives(text: str) -> list[str]:
    """Return the words or phrases that a cell lists: cut at `ALTERNATIVES`, and at slashes between single words."""
    if not _LISTS.search(text):
        return [text]
    found: list[str] = []
    for part in split_outside(text, ALTERNATIVES):
        words = split_outside(part, _SLASH) if "/" in part else [part]
        found += words if len(words) > 1 and all(map(_is_word, words)) else [part]
    return found


def _is_word(text: str) -> bool:
    bare = _BRACKETED.sub("", text).strip()
    return bare.isalpha() and (len(bare) >= _SHORTEST or bare >= _EAST_ASIAN)


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


def named_inverted(account: Account, found: re.Match[str] | None) -> bool:
    """Whether two languages in a file's name say that it goes from target to source; LexiconError if they are others."""
    if not found or "und" in (account.source, account.target):
        return False
    one, other = found.groups()
    if same(one, account.source) and same(other, account.target):
        return False
    if same(one, account.target) and same(other, account.source):
        return True
    raise LexiconError(
        f"{account.path}: by its name the dictionary is from `{one}` to `{other}`, not from `{account.source}` to "
        f"`{account.target}`; give another file, or rename it if the name is wrong"
    )
