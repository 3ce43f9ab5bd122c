"""Marks of pronunciation: dictionaries print them, running text does not.

1. A language has a set of such marks, and letters that keep them: č ć š ž đ are letters of Croatian, ȕ ȃ á are not.
2. A word loses the marks of its language. Marks that are spelling stay: the points of Yiddish, the tones of Vietnamese.
   Arabic words keep their vowels: Arabic text has them at times, and `lexicon.normalise` compares words without them.
"""

from __future__ import annotations

import unicodedata
from functools import cache

from prealign.languages import base

_GRAVE, _ACUTE, _CIRCUMFLEX, _TILDE, _MACRON, _BREVE, _DOT = "\u0300\u0301\u0302\u0303\u0304\u0306\u0307"
_DOUBLE_GRAVE, _INVERTED_BREVE, _DOT_BELOW = "\u030f\u0311\u0323"
_TONES = _GRAVE + _ACUTE + _CIRCUMFLEX + _MACRON
_SLAVIC = _TONES + _DOUBLE_GRAVE + _INVERTED_BREVE

_POINTS = "".join(map(chr, (*range(0x0591, 0x05BE), 0x05BF, 0x05C1, 0x05C2, 0x05C4, 0x05C5, 0x05C7)))  # Hebrew
_VOWELS = "".join(map(chr, (*range(0x064B, 0x0653), 0x0670, 0x0640)))  # Arabic, with tatweel, which stretches a word
_FATHATAN = "\u064b"  # spelling in Persian and Urdu: مثلاً
_VEDIC = "\u0951\u0952"

_RULES: tuple[tuple[str, str, str], ...] = (
    # Languages, marks, letters that keep them.
    ("he hbo", _POINTS, ""),
    ("fa ur pnb ps sd", _VOWELS.replace(_FATHATAN, ""), ""),
    ("sh sr hr bs cnr", _SLAVIC, "ćĆśŚźŹѓЃќЌ"),
    ("sl", _SLAVIC + _DOT_BELOW, "ćĆ"),
    ("lt", _GRAVE + _ACUTE + _TILDE + _DOT, "ėĖżŻ"),  # an i keeps its dot below an accent: i̇́
    ("lv", _GRAVE + _ACUTE + _CIRCUMFLEX + _TILDE, ""),
    ("ru uk be rue", _GRAVE + _ACUTE, "ѓЃќЌ"),
    ("la", _MACRON + _BREVE, ""),
    ("grc", _MACRON + _BREVE, ""),
    ("ang", _MACRON + _DOT, ""),
    ("ha", _TONES + _TILDE, ""),
    ("zu xh", _TONES, ""),
    ("fil ceb hil ilo pam war bcl", _GRAVE + _ACUTE + _CIRCUMFLEX, ""),
    ("sa", _VEDIC, ""),
)
_OF_LANGUAGE = {tag: (marks, letters) for tags, marks, letters in _RULES for tag in tags.split()}


def unmarked(word: str, language: str) -> str:
    """Return a word in the form NFC without its language's marks of pronunciation, again in NFC."""
    rule = _OF_LANGUAGE.get(base(language))
    if rule is None or word.isascii():
        return word
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", word).translate(_table(*rule)))


class _Table(dict[int, str]):
    """A table for str.translate, filled as characters are met."""

    def __init__(self, marks: str, letters: str) -> None:
        self._marks, self._letters = frozenset(marks), frozenset(letters)

    def __missing__(self, code: int) -> str:
        char = chr(code)
        apart = char if char in self._letters else unicodedata.normalize("NFD", char)
        self[code] = "".join(part for part in apart if part not in self._marks)
        return self[code]


_table = cache(_Table)
