"""Whether a dictionary fits a corpus, or goes the wrong way.

Of a dictionary whose columns are swapped the corpus has hardly any word, but many of the translations. Words are counted,
not tokens: a few short ones (die, in, was) are words of several languages, and frequent.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from pathlib import Path

from prealign.errors import LexiconError
from prealign.lexicon.formats import can_be_turned
from prealign.lexicon.lexicon import Lexicon
from prealign.lexicon.normalise import fold

FEW = 0.05
"""A share of words found below this is worth a remark."""
TELLING = 4
"""Swapped is a dictionary of whose translations this many times more are found than of its words …"""
_ENOUGH = 20  # … if it has as many words as this


def found_in_corpus(
    lexicon: Lexicon, word_counts: Mapping[str, int], path: str | Path, *, reverse: bool = False
) -> str:
    """Say which share of the source words the corpus has; LexiconError if the columns must be swapped.

    word_counts: word of the source's corpus -> its frequency. Words are found in any case and Unicode form.
    reverse: the lexicon is of a file that has to go from target to source, turned.
    """
    known = {fold(word, lexicon.source) for word in word_counts}
    entries = {fold(group.word, lexicon.source) for group in lexicon}
    words = _share(entries, known)
    translations = _share({fold(s, t) for group in lexicon for t, v in group.translations.items() for s in v}, known)
    said = f"{words:.1%} of the source words were found in the corpus"
    if len(lexicon) >= _ENOUGH and translations > TELLING * words:
        ends = (lexicon.source, ", ".join(lexicon.targets))
        first, second = reversed(ends) if reverse else ends
        report = lexicon.report
        advice = ""
        if report is not None and report.inverted:
            advice = ", and is read the other way round"
        elif report is not None and can_be_turned(report.format):
            advice = "; if it goes the other way, say so by `turned: true`"
        raise LexiconError(
            f"{path}: {said}, but {translations:.1%} of the translations; did you swap the columns? The dictionary has to "
            f"be from `{first}` to `{second}`{advice}"
        )
    if other := in_other_form(lexicon, word_counts):
        return (
            f"{said}; {sum(other.values()):,} words of the text are in another Unicode form than the dictionary's (NFC), "
            f"such as {next(iter(other))}: normalise the text, as by `uconv -x any-nfc`"
        )
    if words < FEW:
        return f"{said}; did you swap the columns, or is the text of another kind?"
    return said


def in_other_form(lexicon: Lexicon, word_counts: Mapping[str, int]) -> dict[str, int]:
    """Return the words of the corpus that the lexicon has in NFC only, with their frequencies."""
    other = {}
    for word, count in word_counts.items():
        # Words are looked up by their characters, and dictionaries are read as NFC.
        same = word if word.isascii() else unicodedata.normalize("NFC", word)
        if same != word and lexicon.lookup(same) is not None and lexicon.lookup(word) is None:
            other[word] = count
    return other


def _share(words: set[str], known: set[str]) -> float:
    return len(words & known) / max(len(words), 1)
