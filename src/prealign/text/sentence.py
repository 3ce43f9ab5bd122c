"""Words of lines, for counting, words and signs of sentences, for word alignment, and the sentences of a text.

1. A segmenter cuts the text into words, signs and white space. Counting keeps the words only.
2. Word alignment keeps words and signs. An apostrophe or hyphen between two words without a space joins them: don't, l’eau
   and well-known are one word each.
3. A sentence ends at a blank line, at . ! ? … and the like before white space, and at full-width signs anywhere. It includes
   closing quotes and brackets. Abbreviations end sentences too.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from prealign.errors import LexiconError
from prealign.text.segment import Segmenter, load_segmenter, resolve_segmenter
from prealign.text.words import kind

_JOINERS = ("'", "’", "-")
_PARAGRAPH = re.compile(r"\n\s*\n")
_STOP = "[.!?…؟۔।]"
_CLOSING = "[\"'”’»)\\]]"
# Only look-behinds of a few characters: their time is linear in the text, whatever is in it.
_SENTENCE_END = re.compile(
    rf"(?:(?<={_STOP})|(?<={_STOP}{_CLOSING})|(?<={_STOP}{_CLOSING}{_CLOSING}))\s+"
    r"|(?<=[。！？])(?![。！？」』”’）])|(?<=[。！？][」』”’）])(?![。！？」』”’）])"
)


def split_sentences(text: str) -> list[str]:
    """Return the sentences of a text; single line breaks within one become spaces."""
    paragraphs = (" ".join(part.split()) for part in _PARAGRAPH.split(text))
    found = (sentence.strip() for paragraph in paragraphs for sentence in _SENTENCE_END.split(paragraph))
    return [sentence for sentence in found if sentence]


def sentence_keys(text: str) -> set[str]:
    """Return what the sentences of a text are compared by: each without upper case, and with single spaces."""
    return {sentence.casefold() for sentence in split_sentences(text)}


def word_cutter(language: str) -> Callable[[str], list[str]]:
    """Return a function from a line to its words, pieces with a letter or digit. LexiconError as `sentence_cutter`."""
    segmenter = _segmenter(language)

    def words(line: str) -> list[str]:
        if segmenter.joins_space:
            # Fast path: a piece of letters and digits is a word.
            parts = ([piece] if piece.isalnum() else segmenter.words(piece) for piece in line.split())
            pieces = [word for part in parts for word in part]
        else:
            pieces = segmenter.words(line)
        return [word.strip() for word in pieces if any(map(str.isalnum, word))]

    return words


def sentence_cutter(language: str) -> Callable[[str], list[str]]:
    """Return a function from a sentence to its words and signs. Raises LexiconError for a language without a segmenter."""
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
    joined = ""  # a word and its apostrophe or hyphen, to be joined with the next piece
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
