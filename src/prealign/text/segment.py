"""Where words begin in text whose script writes no spaces between them, and which tokens those words are.

1. A segmenter cuts a text at characters: by dictionary and statistics (`rjieba`, `icu`), by the longest words of a list
   (`longest_match`), or not at all (`whitespace`).
2. To its cuts come those where letters or digits meet something else, as everywhere in this project: a dictionary knows
   房子, not 房子。 The result are *edges*: character offsets from 0 to the length of the text that tile it.
3. A tokenizer tells which characters each token was made from. An edge becomes the beginning of a word at the first token
   that starts at or after it, and is dropped if an earlier token reaches beyond it: the words it parts, which share
   a token, are merged into one. Of tokens that are parts of one character the first can begin a word, no other.

Languages with spaces need none of this: their word boundaries come from the tokens alone (`prealign.text.words`).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prealign.errors import RecipeError
from prealign.languages import TRADITIONAL, UNSPACED_LANGUAGES
from prealign.lexicon.case import is_cased
from prealign.recipe.sections import SegmenterName, TargetText
from prealign.text.ragged import IntArray
from prealign.text.words import kind

_PACKAGES = {"rjieba": "rjieba", "icu": "icu4py"}
_WITH_DICTIONARY = frozenset({"zh", "ja", "th", "lo", "km", "my", "yue", "wuu"})
"""Languages without spaces whose words ICU knows; Tibetan and Dzongkha it cuts into syllables at best."""


@dataclass(frozen=True)
class Segmenter:
    """One way to find the words of a text.

    name: with the version of what does the work, for fingerprints and records.
    cuts: text -> where words begin, in characters; none need be given at the beginning or where kinds of characters meet.
    joins_space: whether a plain space belongs to the word after it, or is a word of its own.
    """

    name: str
    cuts: Callable[[str], Iterable[int]]
    joins_space: bool = False

    def edges(self, text: str) -> IntArray:
        """Return the words' edges (words + 1,) in characters, increasing from 0 to the length of the text."""
        kinds = _of_characters(text, kind)
        before, after = kinds[:-1], kinds[1:]
        parts = (before == "n") | ((before != after) & ~((before == " ") & self.joins_space))
        cuts = np.fromiter(self.cuts(text), dtype=np.int64)
        return np.unique(np.concatenate([[0], np.flatnonzero(parts) + 1, cuts, [len(text)]]))

    def words(self, text: str) -> list[str]:
        """Return the words, white space and signs among them; joined they are the text."""
        edges = self.edges(text).tolist()
        return [text[start:end] for start, end in pairwise(edges)]


def token_starts(edges: IntArray, offsets: ArrayLike) -> NDArray[np.bool_]:
    """Return (T,) bool: True at the tokens where a word begins, the first among them.

    edges: of the words, in characters. offsets (T, 2): the characters start..end-1 of each token, as a fast tokenizer gives
    them for the same text. See rule 3 of the module.
    """
    spans = np.asarray(offsets, dtype=np.int64).reshape(-1, 2)
    starts = np.zeros(len(spans), dtype=bool)
    if len(spans):
        begin = np.maximum.accumulate(spans[:, 0])
        reach = np.concatenate([[0], np.maximum.accumulate(spans[:, 1])])  # of the tokens before each
        first = np.searchsorted(begin, edges)
        starts[first[(first < len(spans)) & (reach[first] <= edges)]] = True
        starts[0] = True
    return starts


def resolve_segmenter(setting: SegmenterName, language: str) -> str:
    """Return the segmenter that a setting means here; RecipeError if its package is not installed.

    `auto`: whitespace for a language with spaces; else rjieba (simplified Chinese) or ICU (languages it has a dictionary
    of) if installed, and longest_match if not.
    """
    if setting != "auto":
        if setting in _PACKAGES:
            _package(setting)
        return setting
    base, *subtags = language.lower().split("-")
    if base not in UNSPACED_LANGUAGES:
        return "whitespace"
    preferred = ["rjieba"] if base == "zh" and not TRADITIONAL & set(subtags) else []
    preferred += ["icu"] if base in _WITH_DICTIONARY else []
    return next((name for name in preferred if find_spec(_PACKAGES[name])), "longest_match")


def target_segmenters(targets: Iterable[TargetText]) -> dict[str, str]:
    """Return the segmenter of each language that is not written with spaces, by its resolved name."""
    names = {t.language: resolve_segmenter(t.segmenter, t.language) for t in targets if not t.is_clone}
    return {language: name for language, name in names.items() if name != "whitespace"}


def load_segmenter(name: str, language: str, words: Iterable[str] = ()) -> Segmenter:
    """Return a segmenter by its resolved name; `words` are those that longest_match knows."""
    if name in _PACKAGES:
        _package(name)
        return Segmenter(f"{name} {version(_PACKAGES[name])}", _rjieba if name == "rjieba" else partial(_icu, language))
    if name == "longest_match":
        return Segmenter(name, LongestMatch(words))
    if name == "whitespace":
        return Segmenter(name, _nowhere, joins_space=True)
    raise RecipeError(f"there is no segmenter {name!r}; use whitespace, rjieba, icu or longest_match")


def segmenter_version(name: str) -> str:
    """Return a resolved segmenter's name and the version of its package: what fingerprints take."""
    return f"{name} {version(_PACKAGES[name])}" if name in _PACKAGES else name


def _package(name: str) -> Any:
    """Import the package of a segmenter."""
    try:
        return import_module("icu4py.breakers" if name == "icu" else _PACKAGES[name])
    except ImportError as error:
        raise RecipeError(
            f"the segmenter {name!r} needs the package {_PACKAGES[name]} ({error}). Install it with "
            "`pip install 'prealign[segment]'`, or use the segmenter longest_match, which needs none."
        ) from None


def _rjieba(text: str) -> Iterable[int]:
    return (start for _, start, _ in _package("rjieba").tokenize(text))


def _icu(language: str, text: str) -> Iterable[int]:
    # Its own positions count UTF-16 units, where an emoji is two; the pieces are text.
    return accumulate(map(len, _package("icu").WordBreaker(text, language)))


def _nowhere(text: str) -> Iterable[int]:
    return ()


class LongestMatch:
    """Forward maximum matching: from the left, the longest known word that starts here; what no word covers stays joined.

    A word is not found where its edge would part a letter from its mark (Thai vowel signs), or two letters of a script
    with upper case, or two digits: T恤 has no place in LET恤.
    """

    def __init__(self, words: Iterable[str]) -> None:
        self._words = frozenset(word for word in words if word and all(kind(char) == "w" for char in word))
        lengths: dict[str, set[int]] = {}
        for word in self._words:
            lengths.setdefault(word[0], set()).add(len(word))
        self._lengths = {first: sorted(found, reverse=True) for first, found in lengths.items()}

    def __call__(self, text: str) -> Iterator[int]:
        """Yield where the words found in `text` begin and end."""
        possible = _possible_edges(text)
        start = 0
        while start < len(text):
            end = self._end(text, start, possible) if possible[start] else None
            if end is not None:
                yield from (start, end)
            start = end or start + 1

    def _end(self, text: str, start: int, possible: list[bool]) -> int | None:
        for length in self._lengths.get(text[start], ()):
            end = start + length
            if end <= len(text) and possible[end] and text[start:end] in self._words:
                return end
        return None


def _possible_edges(text: str) -> list[bool]:
    """Return (characters + 1,) whether a word may begin or end there."""
    mark = _of_characters(text, lambda char: unicodedata.category(char)[0] == "M")
    closed = _of_characters(text, lambda char: char.isdigit() or is_cased(char))
    inner = ~(mark[1:] | (closed[:-1] & closed[1:]))
    return [True, *inner.tolist(), True] if text else [True]


def _of_characters(text: str, function: Callable[[str], Any]) -> NDArray[Any]:
    """Return function(char) of every character, asked once for each different one."""
    if not text:
        return np.array([function("a")])[:0]
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    different, where = np.unique(codes, return_inverse=True)
    return np.array([function(chr(code)) for code in different.tolist()])[where]
