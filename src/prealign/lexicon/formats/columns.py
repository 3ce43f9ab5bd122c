"""Formats of columns: lists of words, tables with any separator, PanLex.

muse      house Haus                        one space or tab between two words
tsv       free of charge<TAB>umsonst        two columns, which may hold phrases; prefixes and suffixes are left out
csv       ladder;Leiter;noun                columns with any separator, quotes of CSV, perhaps a header
panlex    uid,txt,trans_uid,trans_txt,trans_quality
          eng-000,house,deu-000,Haus,9

Which columns of a table hold the words (`prealign.lexicon.formats.table`) is found out at its first row.
"""

from __future__ import annotations

import csv
import re

from prealign.languages import same
from prealign.lexicon.formats.entry import Entry
from prealign.lexicon.formats.table import COMMENT, TABS, Layout, layout_of, sniff
from prealign.lexicon.reading_report import OTHER_LANGUAGES, Account
from prealign.strict_json import shown

PANLEX_COLUMNS = ("uid", "txt", "trans_uid", "trans_txt")
_AFFIX = re.compile("-.+|.+-")
_QUALITY = "trans_quality"


def muse(line: str, account: Account) -> list[Entry]:
    """Source and target word, separated by one space or tab; ValueError for anything else."""
    fields = line.replace("\t", " ").split(" ", 2)
    return [_entry(line, fields, 2, (0, 1), "two words separated by one space or tab")]


def tsv(line: str, account: Account) -> list[Entry] | None:
    """Source and target word or phrase, in two columns separated by a tab; ValueError for anything else.

    Affixes are left out: dictionaries spell them with a hyphen, and no running text does.
    """
    if account.layout is None:
        if COMMENT.match(line):
            return None
        account.layout = layout_of(TABS, [line], 2, account)
        if account.layout.header:
            return None
    return _row(line, account, account.layout, "two columns separated by a tab")


def table(line: str, account: Account) -> list[Entry] | None:
    """A row of a table; ValueError for one of another length. Cells of further columns are counted.

    LexiconError if nothing tells which columns hold the words.
    """
    if account.layout is None:
        if COMMENT.match(line):
            return None
        account.layout = sniff(account)
        if account.layout.header:
            return None
    layout = account.layout
    return _row(line, account, layout, f"{layout.fields} columns separated by {layout.separator.name}")


def _row(line: str, account: Account, layout: Layout, expected: str) -> list[Entry]:
    cells = layout.separator.cells(line)
    if max(layout.pair) < len(cells) < layout.fields:  # empty cells at the end are blanks, which the line has lost
        cells += [""] * (layout.fields - len(cells))
    entry = _entry(line, cells, layout.fields, layout.pair, expected)
    if "-" in line and any(_AFFIX.fullmatch(side[0].strip()) for side in entry[:2]):
        account.drop("entries of prefixes and suffixes", line)
        return []
    if layout.fields > 2:
        for place, cell in enumerate(cells):
            if place not in layout.pair and cell.strip():
                account.change("cells of further columns", cell, "")
    return [entry]


def _entry(line: str, fields: list[str], number: int, pair: tuple[int, int], expected: str) -> Entry:
    if len(fields) != number:
        raise ValueError(f"expected {expected}, found {len(fields)} field(s): {shown(line)}")
    source, target = fields[pair[0]], fields[pair[1]]
    if not source.strip() or not target.strip():
        raise ValueError(f"a word is empty: {shown(line)}")
    return [source], [target], 0


def panlex(line: str, account: Account) -> list[Entry] | None:
    """A CSV export of PanLex: a header with at least the columns uid, txt, trans_uid and trans_txt, in any order.

    These are the names of PanLex's interface: `uid` is a language variety such as eng-000, `txt` its expression. A row
    from target to source is turned. With the column trans_quality (0 to 9) better translations come first.
    ValueError for a missing column, a row of another length, or a quality that is no number.
    """
    try:
        (row,) = csv.reader([line], strict=True)
    except (csv.Error, ValueError):
        raise ValueError(f"not a line of CSV: {shown(line)}") from None
    if account.layout is None:
        if missing := [name for name in PANLEX_COLUMNS if name not in row]:
            raise ValueError(f"the header has no column {', '.join(missing)}: {shown(line)}")
        account.layout = row
        return None
    if len(row) != len(account.layout):
        raise ValueError(f"expected {len(account.layout)} columns, found {len(row)}: {shown(line)}")
    cells = dict(zip(account.layout, row, strict=True))
    one, text, other, translation = (cells[name] for name in PANLEX_COLUMNS)
    quality = cells.get(_QUALITY) or "0"
    if not (quality.isascii() and quality.isdigit() and len(quality) < 10):
        raise ValueError(f"{_QUALITY} is not a number: {shown(quality)}")
    if same(one, account.source) and same(other, account.target):
        return [([text], [translation], -int(quality))]
    if same(one, account.target) and same(other, account.source):
        return [([translation], [text], -int(quality))]
    account.drop(OTHER_LANGUAGES, line)
    return []
