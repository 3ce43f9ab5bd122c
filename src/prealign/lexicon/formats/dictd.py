"""Dictionaries of the DICT server, as FreeDict makes them: NAME.index and NAME.dict.dz (or NAME.dict) side by side.

1. A line of the index is `headword<TAB>offset<TAB>length`, numbers in base 64 (A-Z, a-z, 0-9, +, /; most significant
   digit first); a fourth column, if any, is the headword as it is spelled.
2. They name a piece of the .dict file, which is gzipped (dictzip is gzip with a table for random access).
3. A piece is a headword and its definition (`prealign.lexicon.formats.definitions`).
4. Of a headword that is all signs (〃) the index has nothing left. It is read from the first line of its piece, without
   pronunciations and the frequency marks of JMdict: `[news1] 々 /noma/, のま /nˈo̞mä/` is two headwords.
5. `00-database-…` are about the dictionary itself. If they name WikDict, only a sense's first line holds translations.

The direction is that of the file's name, such as freedict-eng-deu; a dictionary from target to source is turned.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from prealign.errors import LexiconError
from prealign.files import opened, read_bytes, read_lines
from prealign.lexicon.formats.definitions import translations
from prealign.lexicon.formats.entry import Entry, named_inverted
from prealign.lexicon.reading_report import Account
from prealign.strict_json import shown

_DIGITS = {
    digit: value for value, digit in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
}
_SUFFIXES = (".index", ".dict.dz", ".dict")
NAMED = re.compile(r"(?:^|[^a-z])([a-z]{3})-([a-z]{3})(?![a-z])")
_ABOUT = ("00-database-", "00database")
_SPOKEN = re.compile(r"\s+/[^/]+/(?=\s*(?:,|$))|\[(?:news|ichi|spec|gai|nf)\d+\]")
_BEGINNING = 4096
"""Bytes of the definitions in which the dictionary says what it is made from."""


def dictd_files(path: Path) -> list[Path]:
    """Return a dictionary's index and definitions under the path of one of them; empty if it is none."""
    stem = _stem(path)
    index, content = stem.with_name(f"{stem.name}.index"), _content(stem)
    return [index, content] if stem != path and content is not None and index.exists() else []


def dictd_lines(path: Path) -> Iterator[bytes]:
    """Yield, for each line of the index, the headword and on the next lines its definition.

    A bad line of the index is given alone. LexiconError if one of the two files is missing or cannot be read.
    """
    stem = _stem(path)
    content = _content(stem)
    if content is None:
        raise LexiconError(f"{path}: there is no {stem.name}.dict.dz or .dict beside it, which holds the definitions")
    data = read_bytes(content)
    for line in read_lines(stem.with_name(f"{stem.name}.index")):
        columns = line.rstrip(b"\r\n").split(b"\t", 4)
        begin, length = (_number(column) for column in (columns[1:3] if len(columns) in (3, 4) else (b"", b"")))
        if begin is None or length is None or begin + length > len(data):
            yield line.replace(b"\n", b"")
        else:
            yield columns[-1 if len(columns) == 4 else 0] + b"\n" + data[begin : begin + length]


def dictd(text: str, account: Account) -> list[Entry] | None:
    """A headword and its definition, as described above; ValueError for a line of the index that names none."""
    head, separator, definition = text.partition("\n")
    if head.startswith(_ABOUT):
        account.layout = account.layout or ("wikdict" in definition.lower()) or None
        return None
    if not separator or not head.strip():
        raise ValueError(f"expected headword, offset and length in base 64, within the .dict file: {shown(head)}")
    if (written := " ".join(_SPOKEN.sub("", head).split())) != head:
        account.change("pronunciations or frequencies of headwords", head, written)
        head = written
    if account.layout is None:
        account.layout = _is_wikdict(account.path)
    return translations(head, definition, account, wikdict=account.layout)


def _is_wikdict(path: Path) -> bool:
    content = _content(_stem(path))
    assert content is not None  # the piece comes from there
    with opened(content) as file:
        return b"wikdict" in file.read(_BEGINNING).lower()


def dictd_inverted(account: Account) -> bool:
    """Whether the file's name says that it goes from target to source; LexiconError if it names other languages."""
    return named_inverted(account, NAMED.search(_stem(account.path).name))


def _stem(path: Path) -> Path:
    for suffix in _SUFFIXES:
        if path.name.endswith(suffix):
            return path.with_name(path.name.removesuffix(suffix) or path.name)
    return path


def _content(stem: Path) -> Path | None:
    return next((p for s in _SUFFIXES[1:] if (p := stem.with_name(f"{stem.name}{s}")).exists()), None)


def _number(digits: bytes) -> int | None:
    """Return a number in base 64; None if it is none, or larger than any file."""
    if not 0 < len(digits) <= 10:
        return None
    number = 0
    for digit in digits.decode("latin1"):
        if digit not in _DIGITS:
            return None
        number = number * 64 + _DIGITS[digit]
    return number
