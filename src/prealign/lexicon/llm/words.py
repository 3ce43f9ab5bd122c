"""Which words a model is asked for: the frequent ones of a text that no dictionary at hand translates.

1. Read word counts: a run's `data/words.json`, or a list with a word a line, which a tab and its count may follow.
2. All cases of a word are one: in lower case if the text has it in lower case, else as it is mostly written (Berlin).
3. Leave out what is no word, what a dictionary translates into the target language, and what is rare; then all beyond a
   limit. All of it is counted.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from prealign.errors import LexiconError
from prealign.lexicon.groups import Lexicon
from prealign.lexicon.lines import read_bytes, shown
from prealign.lexicon.report import Tallies, Tally


def read_word_counts(path: Path, uncounted: int) -> dict[str, int]:
    """Return word -> count of a word list, or of a JSON object; `uncounted` for a word without a count.

    LexiconError with the line if the file is none of them, or is empty.
    """
    try:
        text = read_bytes(path).decode().removeprefix("\ufeff")
        counts = _of_json(text) if text.lstrip().startswith("{") else _of_list(text, uncounted)
    except ValueError as error:  # UnicodeDecodeError is one
        raise LexiconError(f"{path}: {error}; give a word a line, with a tab and its count or without") from None
    if not counts:
        raise LexiconError(f"{path}: no words; give a list of words, or the words.json of a run's data")
    return counts


def _of_json(text: str) -> dict[str, int]:
    counts = json.loads(text)
    if not all(type(count) is int for count in counts.values()):
        raise ValueError("the object is not of words and whole numbers")
    return dict(counts)


def _of_list(text: str, uncounted: int) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for number, line in enumerate(text.splitlines(), start=1):
        word, tab, count = line.strip().partition("\t")
        if tab and not (count.isascii() and count.isdigit()):
            raise ValueError(f"line {number}: the second column is no count: {shown(line)}")
        if word:
            counts[word] += int(count) if tab else uncounted
    return dict(counts)


def untranslated(
    word_counts: Mapping[str, int], known: Iterable[Lexicon], target: str, minimum_count: int, limit: int | None
) -> tuple[dict[str, int], dict[str, Tally]]:
    """Return the words to ask for, most frequent first, with their counts, and what was left out.

    word_counts: in any case. known: lexicons that need not be asked for again.
    """
    forms: dict[str, Counter[str]] = {}
    for word, count in word_counts.items():
        forms.setdefault(word.lower(), Counter())[word] += count
    usual = {low: low if low in found else max(sorted(found), key=found.__getitem__) for low, found in forms.items()}
    totals = {usual[low]: found.total() for low, found in forms.items()}
    lexicons, left, asked = list(known), Tallies(), dict[str, int]()
    for word, count in sorted(totals.items(), key=lambda item: (-item[1], item[0])):
        groups = (lexicon.lookup(word) for lexicon in lexicons)
        if not word[0].isalpha() or any(char.isnumeric() or char.isspace() for char in word):
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
