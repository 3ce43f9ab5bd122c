"""How a table is laid out: its separator, its header, and the two columns that hold words and translations.

1. The separator is the first of `SEPARATORS` that cuts nine of ten sampled rows into equally many cells.
2. The two columns are those that the user names (`columns`), by number or by header; else those that a header names by
   language (`English`, `de`) or purpose (`source`, `translation`); else the only two that hold words: not numbers, parts
   of speech, subjects in brackets, or few different labels. A comment such as `# EN-DE` (dict.cc) tells the direction.
3. Otherwise the file is refused, with its columns and the setting that helps.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from prealign.errors import LexiconError
from prealign.files import read_lines, sample_lines
from prealign.languages import base, language_name, same
from prealign.lexicon.reading_report import MAXIMUM_MALFORMED, Account
from prealign.strict_json import shown

COMMENT = re.compile("#|sep=.$")
"""Lines above a table: remarks, and the separator that Excel is told."""
COMMON = 0.9
"""Share of the rows that have the table's number of cells."""
_LABELLED = 20
"""A column with this many times more cells than different cells holds labels; with as many times more rows, remarks."""
_NUMBER = re.compile(r"[-+]?\d+(?:[.,]\d+)?(?:[eE][-+]?\d+)?%?")
_QUOTED = re.compile(r'^"([^"]*)"$')
_BRACKETED = re.compile(r"(?:[\[({<][^\])}>]*[\])}>]\s*)+")
_LABEL = re.compile(
    r"(?:(?:n|nouns?|v|verbs?|vt|vi|adj|adjectives?|adv|adverbs?|prep|prepositions?|pron|pronouns?|conj|conjunctions?|intj|"
    r"interj|interjections?|num|numerals?|det|determiners?|art|articles?|part|particles?|propn|pn|aux|phrases?|idioms?|"
    r"prefix|suffix|abbr|m|f|nt|neut|masc|fem|pl|sg|past-p|pres-p)\b\.?[ ,/+]*)+",
    re.IGNORECASE,
)
_PURPOSES = (
    re.compile(r"source|src|words?|terms?|headword|lemma|front|question|expression", re.IGNORECASE),
    re.compile(r"target|tgt|trg|translations?|meanings?|gloss|definition|back|answer|equivalent", re.IGNORECASE),
)
_CODE = re.compile(r"[A-Za-z]{2,3}(?:[-_]\w+)*")
_DIRECTION = re.compile(r"#.*?\b([A-Z]{2,3})-([A-Z]{2,3})\b")


class NotATable(LexiconError):
    """No separator cuts most lines of a file into equally many cells."""


@dataclass(frozen=True)
class Separator:
    """What stands between the cells of a row: one character, quoted as in CSV, or a pattern, at its first place."""

    name: str
    character: str | None = None
    pattern: str = ""

    @property
    def cuts_cells(self) -> bool:
        """Whether it stands between the cells of tables only, as a tab, not also between names and values of settings."""
        return self.character not in (None, " ")

    def cells(self, row: str) -> list[str]:
        """Cut a row into its cells, without their quotes."""
        if self.character is None:
            return [_QUOTED.sub(r"\1", cell) for cell in re.split(self.pattern, row, maxsplit=1)]
        if '"' in row:
            try:
                return next(csv.reader([row], delimiter=self.character, strict=True))
            except (csv.Error, ValueError, StopIteration):
                pass  # a quote that is a letter of its cell
        return row.split(self.character)


TABS = Separator("tabs", "\t")
_SPACES = Separator("spaces", " ")
SEPARATORS = (
    TABS,
    Separator("arrows", pattern=r"\s*(?:=>|->|→|⇒)\s*"),
    Separator("equals signs", pattern=r"\s*=\s*"),
    Separator("colons", pattern=r"\s*:\s+"),
    Separator("semicolons", ";"),
    Separator("commas", ","),
    Separator("vertical bars", "|"),
    Separator("dashes", pattern=r"\s+(?:--?|[–—])\s+"),
    Separator("several spaces", pattern=r"\s{2,}"),
)


@dataclass(frozen=True)
class Layout:
    """pair: the columns of source and target, counted from 0. header: whether the first row names the columns."""

    separator: Separator
    fields: int
    pair: tuple[int, int]
    header: bool


def sniff(account: Account) -> Layout:
    """Return the layout of a file from its first rows; LexiconError if it is no table, or nothing tells its columns."""
    sample = sample_lines(account.path, read_lines(account.path))
    start = next((place for place, line in enumerate(sample) if not COMMENT.match(line)), len(sample))
    rows = sample[start:]
    for separator in SEPARATORS:
        if fields := _fields(separator, rows):
            layout = layout_of(separator, rows, fields, account)
            told = _DIRECTION.search("\n".join(sample[:start]))
            if told and not account.columns and _goes(told, account.target, account.source):
                return Layout(separator, fields, (layout.pair[1], layout.pair[0]), layout.header)
            return layout
    columns = list(zip(*(_SPACES.cells(row) for row in rows), strict=False))
    scored = [place for place, column in enumerate(columns) if all(map(_NUMBER.fullmatch, column))]
    if len(rows) > 1 and len(scored) == 1 and all(row.count(" ") == 2 for row in rows):
        return layout_of(_SPACES, rows, 3, account)
    raise NotATable(
        f"{account.path}: not a table: no separator (tab, comma, semicolon, …) cuts most of its lines into equally many "
        "cells; give a file with a word and its translation a line"
    )


def _goes(told: re.Match[str], source: str, target: str) -> bool:
    return same(told[1], source) and same(told[2], target)


def _fields(separator: Separator, rows: Sequence[str]) -> int:
    """Return how many cells the rows have; 0 if this is not their separator."""
    if len(rows) < 2 and separator is not TABS:
        return 0  # one line tells nothing
    sizes = Counter(len(separator.cells(row)) for row in rows)
    sizes.pop(1, None)
    if separator is TABS and sizes.total() >= COMMON * len(rows) > 0:
        # Empty cells at the end are blanks, which lines have lost; a few longer rows are malformed.
        return next(f for f in sorted(sizes) if sum(map(f.__lt__, sizes.elements())) <= MAXIMUM_MALFORMED * len(rows))
    size, number = max(sizes.items(), key=lambda found: found[1], default=(0, 0))
    return size if number >= COMMON * len(rows) > 0 else 0


def layout_of(separator: Separator, rows: Sequence[str], fields: int, account: Account) -> Layout:
    """Return the layout of rows with this separator; LexiconError if nothing tells which two columns are meant."""
    first, *others = [separator.cells(row) for row in rows]
    first += [""] * (fields - len(first))
    columns = list(zip_longest(*(others or [first]), fillvalue=""))
    words = [place for place, column in enumerate(columns) if _holds_words(column)]
    named = _named(first, account)
    # Two columns hold words and translations: neither can be labels, even if a lone `f` looks like one.
    header = named is not None or (fields > 2 and any(map(_is_heading, first, columns)))
    if account.columns:
        header = header or any(isinstance(column, str) for column in account.columns)
        return Layout(separator, fields, _asked(separator, first, fields, account), header)
    if named is None and fields > 2 and len(words) != 2:
        shown_row = ", ".join(f"{number} {shown(cell)}" for number, cell in enumerate(first, start=1))
        raise LexiconError(
            f"{account.path}: {fields} columns separated by {separator.name}, and nothing tells which two hold the words "
            "and their translations; name them, the source's first, by `columns: [1, 2]` (`--columns 1,2`). The first "
            f"row: {shown_row}"
        )
    return Layout(separator, fields, named or ((0, 1) if fields == 2 else (words[0], words[1])), header)


def _named(first: Sequence[str], account: Account) -> tuple[int, int] | None:
    """Return the columns that the first row names as source and target; None if it is no header."""
    found = []
    for tag, purpose in zip((account.source, account.target), _PURPOSES, strict=True):
        places = [place for place, cell in enumerate(first) if _is_language(cell.strip(), tag)]
        found.append(places or [place for place, cell in enumerate(first) if purpose.fullmatch(cell.strip())])
    sources, targets = found
    return (sources[0], targets[0]) if len(sources) == len(targets) == 1 and sources != targets else None


def _is_language(cell: str, tag: str) -> bool:
    name = language_name(base(tag)).casefold()
    return name in cell.casefold().split() or (_CODE.fullmatch(cell) is not None and same(cell, tag))


def _is_heading(first: str, column: Sequence[str]) -> bool:
    """Whether the first cell is no number, part of speech or subject, where all below it are."""
    cells = [cell.strip() for cell in column if cell.strip()]
    kinds = (_NUMBER, _LABEL, _BRACKETED)
    return bool(first.strip() and cells) and any(
        all(map(kind.fullmatch, cells)) and not kind.fullmatch(first.strip()) for kind in kinds
    )


def _holds_words(column: Sequence[str]) -> bool:
    cells = [cell.strip() for cell in column if cell.strip()]
    if not any(char.isalpha() for cell in cells for char in cell) or all(map(_NUMBER.fullmatch, cells)):
        return False
    if all(_LABEL.fullmatch(cell) or _BRACKETED.fullmatch(cell) for cell in cells):
        return False
    return len(set(cells)) * _LABELLED > len(cells) and len(cells) * _LABELLED > len(column)


def _asked(separator: Separator, first: Sequence[str], fields: int, account: Account) -> tuple[int, int]:
    """Return the places of the columns that the user names; LexiconError if the table has no such column."""
    names = [cell.strip().casefold() for cell in first[:fields]]
    places = []
    for column in account.columns:
        place = column - 1 if isinstance(column, int) else ([*names, column.casefold()]).index(column.casefold())
        if not 0 <= place < fields:
            raise LexiconError(
                f"{account.path}: there is no column `{column}`; the file has {fields} columns separated by "
                f"{separator.name}, in its first row {', '.join(map(shown, first))}. Give two of these, or numbers from 1"
            )
        places.append(place)
    return places[0], places[1]
