"""Select the words to ask a model for: frequent words of a text without a translation in the given dictionaries.

1. Read word counts: `data/tokens/words.json` of a run, or a list with a word a line and, after a tab, optionally its count.
2. Merge the cases of a word: lower case if the text has it in lower case, else its most frequent case (Berlin).
3. Leave out, and count: non-words, words that a dictionary translates into the target language, rare words, and words
   beyond the limit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from unicodedata import category

from prealign.errors import LexiconError
from prealign.files import read_bytes
from prealign.lexicon.case import lower
from prealign.lexicon.lexicon import Lexicon
from prealign.lexicon.reading_report import Tallies, Tally
from prealign.strict_json import json_value, shown

_DIGITS = 18
"""Digits of the largest accepted count."""


def read_word_counts(path: Path, uncounted: int) -> dict[str, int]:
    """Return word -> count of a word list, or of a JSON object; `uncounted` for a word without a count.

    LexiconError with the line if the file is neither, or is empty.
    """
    data = read_bytes(path)
    try:
        text = data.decode().removeprefix("\ufeff")
        counts = _of_json(text) if text.lstrip().startswith("{") else _of_list(text, uncounted)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise LexiconError(
            f"{path}: line {line:,} is not UTF-8; convert the file from its encoding, as by `iconv -f ENCODING -t utf-8`"
        ) from None
    except ValueError as error:
        raise LexiconError(f"{path}: {error}; give a word a line, with a tab and its count or without") from None
    if not counts:
        raise LexiconError(f"{path}: no words; give a list of words, or the words.json of a run's data")
    return counts


def _of_json(text: str) -> dict[str, int]:
    counts = json_value(text)
    if not all(type(count) is int and abs(count) < 10**_DIGITS for count in counts.values()):
        raise ValueError(f"the object is not of words and whole numbers of up to {_DIGITS} digits")
    return dict(counts)


def _of_list(text: str, uncounted: int) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for number, line in enumerate(text.splitlines(), start=1):
        word, tab, count = line.strip().partition("\t")
        if tab and not (count.isascii() and count.isdigit() and len(count) <= _DIGITS):
            raise ValueError(f"line {number}: the second column is no count: {shown(line)}")
        if word:
            counts[word] += int(count) if tab else uncounted
    return dict(counts)


def untranslated(
    word_counts: Mapping[str, int],
    known: Iterable[Lexicon],
    languages: tuple[str, str],
    minimum_count: int,
    limit: int | None,
) -> tuple[dict[str, int], dict[str, Tally]]:
    """Return the words to ask for with their counts, most frequent first, and the tallies of words left out.

    word_counts: words in any case. known: lexicons whose words are left out. languages: source and target.
    """
    source, target = languages
    forms: dict[str, Counter[str]] = {}
    for word, count in word_counts.items():
        forms.setdefault(lower(word, source), Counter())[word] += count
    usual = {low: low if low in found else max(sorted(found), key=found.__getitem__) for low, found in forms.items()}
    totals = {usual[low]: found.total() for low, found in forms.items()}
    lexicons, left, asked = list(known), Tallies(), dict[str, int]()
    for word, count in sorted(totals.items(), key=lambda item: (-item[1], item[0])):
        groups = (lexicon.lookup(word) for lexicon in lexicons)
        if not word[:1].isalpha() or any(map(_of_no_word, word)):
            left.add("that are no words", shown(word))
        elif any(group and target in group.translations for group in groups):
            left.add("that a dictionary translates", shown(word))
        elif count < minimum_count:
            left.add(f"rarer than {minimum_count}", f"{shown(word)} ({count})")
        elif limit is not None and len(asked) >= limit:
            left.add(f"beyond the {limit:,} most frequent", f"{shown(word)} ({count})")
        else:
            asked[word] = count
    return asked, left.counted()


def _of_no_word(char: str) -> bool:
    # JSON can hold half a surrogate pair, which UTF-8 cannot.
    return char.isnumeric() or char.isspace() or category(char) == "Cs"
