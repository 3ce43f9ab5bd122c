"""Relatives of words: forms, derived words and compounds, found by the letters that two words of one language share.

1. Compare words as their *skeletons*: folded (`normalise.fold`), without accents and other marks (Häuser: hauser).
2. The script sets the fewest letters that relatives share (`shortest_stem`): Chinese characters 1, kana and Hangul 2, Arabic
   and Hebrew 3, other scripts 4.
3. Two different words are relatives if one of these holds:
   a. one begins or ends with the other, which has at least the minimum of letters: Haus and Krankenhaus, happy and unhappy;
   b. they begin alike, over at least the minimum of letters and 60 % of the longer one: decide and deciding;
   c. one is a regular English form of the other (`forms.english_bases`), for words of English: run and running.

The rule errs towards relatives: what shares letters often shares tokens, and so what a model learns of it. It misses
irregular forms (go and went) and changes within a word (singen and gesungen, كتب and كتاب).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

import regex

from prealign.lexicon.forms import english_bases
from prealign.lexicon.normalise import Key, fold

SHARED = 0.6
"""Share of the longer word that two words must have in common at their beginning."""

_STEMS = (
    (regex.compile(r"\p{Script=Han}"), 1),
    (regex.compile(r"[\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}]"), 2),
    (regex.compile(r"[\p{Script=Arabic}\p{Script=Hebrew}]"), 3),
)
_STEM = 4


def shortest_stem(word: str) -> int:
    """Return how many letters a word must share with a relative, by its script."""
    return next((letters for script, letters in _STEMS if script.search(word)), _STEM)


def skeleton(word: str, language: str, key: Key | None = None) -> str:
    """Return a word folded, and without its marks."""
    apart = unicodedata.normalize("NFD", fold(word, language, key))
    return unicodedata.normalize("NFC", "".join(char for char in apart if not unicodedata.combining(char)))


class Relatives:
    """Looks up whether a word has a relative among given words of its language. A word is no relative of itself."""

    def __init__(self, words: Iterable[str], language: str, key: Key | None = None) -> None:
        self._language, self._key = language, key
        self._words = {skeleton(word, language, key) for word in words}
        self._parts: dict[str, set[str]] = {}  # beginnings and ends of words -> up to two words that have them
        self._stems: dict[str, list[str]] = {}  # beginnings -> the two shortest words that have them
        for word in sorted(self._words, key=lambda word: (len(word), word)):
            shortest = shortest_stem(word)
            for size in range(shortest, len(word)):
                for part in {word[:size], word[-size:]}:
                    self._parts.setdefault(part, set()).add(word)
            for size in range(shortest, len(word) + 1):
                stems = self._stems.setdefault(word[:size], [])
                if len(stems) < 2:  # one of them may be the word that is looked up
                    stems.append(word)
        self._bases = {base for word in self._words for base in self._english(word)}

    def has(self, word: str) -> bool:
        """Whether one of the words is a relative of this one."""
        own = skeleton(word, self._language, self._key)
        sizes = range(shortest_stem(own), len(own) + 1)
        parts = {part for size in sizes for part in (own[:size], own[-size:]) if part != own}
        return (
            bool(parts & self._words)
            or own in self._parts
            or any(self._alike(own, size) for size in sizes)
            or own in self._bases
            or bool(self._english(own) & self._words)
        )

    def _alike(self, own: str, size: int) -> bool:
        """Whether another word begins with the same `size` letters, and they are enough of the longer word."""
        others = (word for word in self._stems.get(own[:size], ()) if word != own)
        return any(size >= SHARED * max(len(own), len(other)) for other in others)

    def _english(self, word: str) -> set[str]:
        english = self._language.split("-")[0] == "en" and word.isascii() and word.isalpha()
        return {base for base, _ in english_bases(word)} if english else set()
