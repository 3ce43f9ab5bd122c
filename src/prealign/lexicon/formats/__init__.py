"""The formats of dictionaries: one small function each, by the name that a recipe's `format` gives it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from prealign.errors import LexiconError
from prealign.files import read_lines, sample_lines, shown
from prealign.lexicon.formats.columns import muse, panlex, tsv
from prealign.lexicon.formats.dictd import dictd, dictd_inverted, dictd_lines, is_dictd
from prealign.lexicon.formats.entry import Entry
from prealign.lexicon.formats.jsonlines import kaikki, paper_indexed, paper_pairs, paper_words
from prealign.lexicon.formats.notation import cedict, cedict_inverted, ding, ding_inverted
from prealign.lexicon.reading_report import Account

OWN_FORMAT = "jsonl"
OWN_KEY = "prealign_lexicon"
OWN_VERSION = 1

LineParser = Callable[[str, Account], list[Entry] | None]
"""The entries of a line, None if it is a comment; ValueError(reason) for a malformed one."""


@dataclass(frozen=True)
class Format:
    """How a format is read: line by line, and whether its second side is the source of the languages asked for.

    two_sides: nothing in the file tells which side is the source, so its user may have to.
    whole: a cell holds one word or phrase, commas included.
    """

    parse: LineParser
    inverted: Callable[[Account], bool] = lambda account: False
    two_sides: bool = False
    whole: bool = False


# Where two formats read equally many lines the earlier one is recognised: phrases may come later in a file.
_TEXT = {
    "panlex": Format(panlex, whole=True),
    "tsv": Format(tsv, two_sides=True),
    "muse": Format(muse, two_sides=True),
    "ding": Format(ding, ding_inverted),
    "cedict": Format(cedict, cedict_inverted),
}
_JSON = {
    "kaikki": Format(kaikki),
    "paper_pairs": Format(paper_pairs, two_sides=True),
    "paper_indexed": Format(paper_indexed, two_sides=True),
    "paper_words": Format(paper_words, two_sides=True),
}
_NAMED = {"dictd": Format(dictd, dictd_inverted)}
PAIR_FORMATS: dict[str, Format] = {**_TEXT, **_NAMED, **_JSON}
FORMATS: tuple[str, ...] = (*PAIR_FORMATS, OWN_FORMAT)


def lines_of(path: Path, format: str) -> Iterator[bytes]:
    """Yield what the format's parser takes; LexiconError if the file cannot be read."""
    return dictd_lines(path) if format == "dictd" else read_lines(path)


def can_be_turned(format: str) -> bool:
    """Whether a file of this format may go either way, and does not say which."""
    return format in PAIR_FORMATS and PAIR_FORMATS[format].two_sides


def check_turned(path: Path, format: str) -> None:
    """LexiconError if the format says itself which side is the source."""
    if not can_be_turned(format):
        raise LexiconError(
            f"{path}: `turned` is for files of two columns; this one ({format}) says itself which languages it has. Leave "
            "the setting out"
        )


def resolve_format(path: Path, format: str | None) -> str:
    """Check the name of a format, or recognise it from the content; LexiconError if that fails or there is none."""
    if format is not None and format not in FORMATS:
        close = difflib.get_close_matches(format, FORMATS, n=1)
        meant = f"; did you mean `{close[0]}`?" if close else ""
        raise LexiconError(f"{path}: unknown dictionary format `{format}`{meant} (there are: {', '.join(FORMATS)})")
    if format is None and is_dictd(path):
        format = "dictd"
    sample = sample_lines(path, lines_of(path, format or ""))
    return format or _recognise(path, sample)


def _recognise(path: Path, sample: Sequence[str]) -> str:
    is_json = sample[0].startswith("{")
    if is_json and f'"{OWN_KEY}"' in sample[0]:
        return OWN_FORMAT
    candidates = _JSON if is_json else _TEXT
    readable = {name: _readable(path, format.parse, sample) for name, format in candidates.items()}
    best = max(readable, key=lambda name: readable[name])
    if not readable[best]:
        raise LexiconError(
            f"{path}: the dictionary's format is not recognised from its content, which begins with "
            f"{shown(sample[0])}; name its `format` (there are: {', '.join(FORMATS)})"
        )
    return best


def _readable(path: Path, parse: LineParser, sample: Sequence[str]) -> int:
    """Return how many lines a format reads; comments do not speak for it."""
    account = Account(path, "und", "und")
    read = 0
    for line in sample:
        try:
            read += parse(line, account) is not None
        except ValueError:
            continue
    return read
