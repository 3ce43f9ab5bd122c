"""Formats of columns: MUSE, TSV (as WECHSEL's), PanLex.

muse      house Haus                        one space or tab between two words
tsv       free of charge<TAB>umsonst        two columns, which may hold phrases; prefixes and suffixes are left out
panlex    uid,txt,trans_uid,trans_txt,trans_quality
          eng-000,house,deu-000,Haus,9
"""

from __future__ import annotations

import csv
import re

from prealign.files import shown
from prealign.languages import same
from prealign.lexicon.formats.entry import Entry
from prealign.lexicon.reading_report import OTHER_LANGUAGES, Account

PANLEX_COLUMNS = ("uid", "txt", "trans_uid", "trans_txt")
_AFFIX = re.compile("-.+|.+-")
_QUALITY = "trans_quality"


def muse(line: str, account: Account) -> list[Entry]:
    """Source and target word, separated by one space or tab; ValueError for anything else."""
    return _pair(line, line.replace("\t", " "), " ", "two words separated by one space or tab")


def tsv(line: str, account: Account) -> list[Entry]:
    """Source and target word or phrase, in two columns separated by a tab; ValueError for anything else.

    Affixes are left out: dictionaries spell them with a hyphen, and no running text does.
    """
    entries = _pair(line, line, "\t", "two columns separated by a tab")
    if any(_AFFIX.fullmatch(side[0].strip()) for side in entries[0][:2]):
        account.drop("entries of prefixes and suffixes", line)
        return []
    return entries


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


def _pair(line: str, text: str, separator: str, expected: str) -> list[Entry]:
    fields = text.split(separator, 2)
    if len(fields) != 2:
        found = text.count(separator) + 1
        raise ValueError(f"expected {expected}, found {found} field(s): {shown(line)}")
    if not fields[0].strip() or not fields[1].strip():
        raise ValueError(f"a word is empty: {shown(line)}")
    return [([fields[0]], [fields[1]], 0)]
