"""The formats of dictionaries: one small function each, by the name that a recipe's `format` gives it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prealign.errors import LexiconError
from prealign.files import read_lines, sample_lines
from prealign.lexicon.formats import kinds
from prealign.lexicon.formats.columns import muse, panlex, table, tsv
from prealign.lexicon.formats.dictd import dictd, dictd_files, dictd_inverted, dictd_lines
from prealign.lexicon.formats.entry import Entry
from prealign.lexicon.formats.jsonlines import kaikki, paper_indexed, paper_pairs, paper_words
from prealign.lexicon.formats.markup import ROOTS, dix, dix_inverted, tmx, units
from prealign.lexicon.formats.notation import cedict, cedict_inverted, ding, ding_inverted, edict, edict_inverted
from prealign.lexicon.formats.stardict import stardict, stardict_files, stardict_inverted, stardict_records
from prealign.lexicon.formats.table import Layout, NotATable
from prealign.lexicon.reading_report import Account, Columns
from prealign.strict_json import shown

OWN_FORMAT = "jsonl"
OWN_KEY = "prealign_lexicon"
OWN_VERSION = 1

LineParser = Callable[[str, Account], list[Entry] | None]
"""The entries of a line, None if it is a comment; ValueError(reason) for a malformed one."""


@dataclass(frozen=True)
class Format:
    """How a format is read: record by record, and whether its second side is the source of the languages asked for.

    records: what yields a file's records, undecoded; lines, if the format has no other.
    two_sides: nothing in the file tells which side is the source, so its user may have to.
    whole: a cell holds one word or phrase, commas included.
    """

    parse: LineParser
    inverted: Callable[[Account], bool] = lambda account: False
    two_sides: bool = False
    whole: bool = False
    records: Callable[[Path], Iterator[bytes]] = read_lines


# Where two formats read equally many lines the earlier one is recognised: phrases may come later in a file.
_TEXT = {
    "panlex": Format(panlex, whole=True),
    "tsv": Format(tsv, two_sides=True),
    "ding": Format(ding, ding_inverted),
    "cedict": Format(cedict, cedict_inverted),
    "edict": Format(edict, edict_inverted),
    "csv": Format(table, two_sides=True),
    "muse": Format(muse, two_sides=True),
}
_JSON = {
    "kaikki": Format(kaikki),
    "paper_pairs": Format(paper_pairs, two_sides=True),
    "paper_indexed": Format(paper_indexed, two_sides=True),
    "paper_words": Format(paper_words, two_sides=True),
}
_CONTAINERS = {
    "dictd": Format(dictd, dictd_inverted, records=dictd_lines),
    "stardict": Format(stardict, stardict_inverted, two_sides=True, records=stardict_records),
    "tmx": Format(tmx, records=units),
    "dix": Format(dix, dix_inverted, two_sides=True, records=units),
}
PAIR_FORMATS: dict[str, Format] = {**_TEXT, **_CONTAINERS, **_JSON}
FORMATS: tuple[str, ...] = (*PAIR_FORMATS, OWN_FORMAT)


def dictionary_files(path: Path) -> list[Path]:
    """Return the files that are read under a dictionary's path: of dictd and StarDict each names all."""
    return dictd_files(path) or stardict_files(path) or [path]


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


def resolve_format(path: Path, format: str | None, columns: Columns = ()) -> str:
    """Check the name of a format, or recognise it from the content; LexiconError if that fails or there is none."""
    if format is not None and format not in FORMATS:
        close = difflib.get_close_matches(format, FORMATS, n=1)
        meant = f"; did you mean `{close[0]}`?" if close else ""
        raise LexiconError(f"{path}: unknown dictionary format `{format}`{meant} (there are: {', '.join(FORMATS)})")
    if columns and format not in (None, "csv"):
        raise LexiconError(f"{path}: `columns` is for tables (`csv`), not for `{format}`; leave one of the two out")
    format = format or ("csv" if columns else _container(path))
    if format not in _CONTAINERS:
        kinds.check_kind(path)
    records = PAIR_FORMATS[format].records if format in PAIR_FORMATS else read_lines
    sample = sample_lines(path, records(path))
    return format or _recognise(path, sample)


def _container(path: Path) -> str | None:
    """Return the format of several files, or of XML; None if the file is one of lines."""
    if dictd_files(path) or path.suffix == ".index":
        return "dictd"
    return "stardict" if stardict_files(path) else ROOTS.get(kinds.root_element(path) or "")


def _recognise(path: Path, sample: Sequence[str]) -> str:
    is_json = sample[0].startswith("{")
    if is_json and f'"{OWN_KEY}"' in sample[0]:
        return OWN_FORMAT
    candidates = _JSON if is_json else _TEXT
    read = {name: _readable(path, format.parse, sample) for name, format in candidates.items()}
    best = max(read, key=lambda name: read[name].lines)
    named = f"give a word, a tab and its translation a line, or name its `format` (there are: {', '.join(FORMATS)})"
    if 2 * read[best].lines < len(sample):
        raise LexiconError(
            f"{path}: the dictionary's format is not recognised from its content, which begins with "
            f"{shown(sample[0])}{_undecoded(sample)}; {named}"
        )
    if best in ("tsv", "csv", "muse") and not kinds.are_words(read[best].pairs, in_cells=read[best].in_cells):
        raise LexiconError(
            f"{path}: not a list of words and translations: in too many lines one of the two is a number or code, not a "
            f"word. The file begins with {shown(sample[0])}; {named}"
        )
    return best


def _undecoded(sample: Sequence[str]) -> str:
    if not any("\ufffd" in line for line in sample):
        return ""
    return " and is not UTF-8: convert it, as by `iconv -f ENCODING -t utf-8`"


@dataclass
class _Read:
    """What a format reads of a sample: how many lines, the pairs of words in them, and whether a table has them in cells."""

    lines: int = 0
    pairs: list[tuple[str, str]] = field(default_factory=list)
    in_cells: bool = False


def _readable(path: Path, parse: LineParser, sample: Sequence[str]) -> _Read:
    """Return what a format reads; comments do not speak for it."""
    account = Account(path, "und", "und")
    read = _Read()
    for line in sample:
        try:
            entries = parse(line, account)
        except ValueError:
            continue
        except NotATable:
            return _Read()
        except LexiconError:
            return _Read(
                len(sample) - 1
            )  # beside its header: a table whose columns the languages or the user have to tell
        read.lines += entries is not None
        read.pairs += [(words[0], found[0]) for words, found, _ in entries or () if words and found]
    read.in_cells = isinstance(account.layout, Layout) and account.layout.separator.cuts_cells
    return read
