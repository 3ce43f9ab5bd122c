"""The words of a text: those that a lexicon knows, for counting; those of a sentence, for aligning it with its translation.

1. A segmenter cuts the text into words, signs and white space. A lexicon's words have neither of the last two.
2. In a sentence white space alone goes, and an apostrophe or hyphen between two words joins them, unless there is a space:
   don't, l’eau, well-known are one word.
"""

from __future__ import annotations

from collections.abc import Callable

from prealign.errors import LexiconError
from prealign.text.segment import Segmenter, load_segmenter, resolve_segmenter
from prealign.text.words import kind

_JOINERS = ("'", "’", "-")


def word_cutter(language: str) -> Callable[[str], list[str]]:
    """Return what finds the words of a line: what has a letter or digit. LexiconError as for `sentence_cutter`."""
    segmenter = _segmenter(language)

    def words(line: str) -> list[str]:
        if segmenter.joins_space:
            # A piece of letters and digits is a word, without looking at each of its characters.
            parts = ([piece] if piece.isalnum() else segmenter.words(piece) for piece in line.split())
            found = [word for part in parts for word in part]
        else:
            found = segmenter.words(line)
        return [word.strip() for word in found if any(map(str.isalnum, word))]

    return words


def sentence_cutter(language: str) -> Callable[[str], list[str]]:
    """Return what cuts sentences of a language; LexiconError if its words are not known without a package."""
    segmenter = _segmenter(language)
    return lambda sentence: words_of(sentence, segmenter)


def _segmenter(language: str) -> Segmenter:
    name = resolve_segmenter("auto", language)
    if name == "longest_match":
        raise LexiconError(
            f"`{language}` is written without spaces, and nothing here finds its words. Install a segmenter with "
            "`pip install 'prealign[segment]'`, or cut the text into words yourself"
        )
    return load_segmenter(name, language)


def words_of(sentence: str, segmenter: Segmenter) -> list[str]:
    """Return the words and signs of a sentence."""
    words: list[str] = []
    joined = ""  # what the next piece is glued to
    for piece in segmenter.words(sentence):
        word = piece.strip()
        if not word:
            joined = ""
        elif joined and piece == word and kind(word[0]) == "w":
            words[-2:] = [joined + word]
            joined = ""
        else:
            after_word = bool(words) and piece in _JOINERS and kind(words[-1][-1]) == "w"
            joined = words[-1] + piece if after_word else ""
            words.append(word)
    return words
