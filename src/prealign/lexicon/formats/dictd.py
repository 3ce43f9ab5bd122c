"""Dictionaries of the DICT server, as FreeDict makes them: NAME.index and NAME.dict.dz (or NAME.dict) side by side.

1. A line of the index is `headword<TAB>offset<TAB>length`, numbers in base 64 (A-Z, a-z, 0-9, +, /; most significant
   digit first); a fourth column, if any, is the headword as it is spelled.
2. They name a piece of the .dict file, which is gzipped (dictzip is gzip with a table for random access).
3. A piece is the headword's line, `house /haʊs/ <n>`, and then translations: a line a sense, perhaps numbered, with
   alternatives between commas and semicolons. Lines of notes, examples, synonyms and references are not translations.
4. `00-database-…` are about the dictionary itself.

The direction is that of the file's name, such as freedict-eng-deu; a dictionary from target to source is turned.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from prealign.errors import LexiconError
from prealign.files import read_bytes, read_lines, shown
from prealign.languages import same
from prealign.lexicon.formats.entry import ALTERNATIVES, Entry, split_outside
from prealign.lexicon.reading_report import Account

_DIGITS = {
    digit: value for value, digit in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
}
_SUFFIXES = (".index", ".dict.dz", ".dict")
_NAMED = re.compile(r"(?:^|[^a-z])([a-z]{3})-([a-z]{3})(?![a-z])")
_ABOUT = ("00-database-", "00database")
_NOT_TRANSLATIONS = re.compile(r'(?:Synonyms?|Antonyms?|Note|Example|[Ss]ee(?: also)?|Usage)\s*:|["“*]')
_PRONOUNCED = re.compile(r"\S\s+/[^/]+/(?=\s|$)")
_AFTER_HEADWORD = re.compile(r"\s+(?=[/<\[({])")
_ENUMERATOR = re.compile(r"^(?:\d{1,2}[.)]|[a-z]\))\s+")


def is_dictd(path: Path) -> bool:
    """Whether a file is one of the two by its name, and the other lies beside it."""
    stem = _stem(path)
    return stem != path and stem.with_name(f"{stem.name}.index").exists() and _content(stem) is not None


def dictionary_files(path: Path) -> list[Path]:
    """Return the files that are read under a dictionary's path: of dictd's two each names both."""
    stem = _stem(path)
    pair = [stem.with_name(f"{stem.name}.index"), _content(stem)]
    return [file for file in pair if file is not None] if pair[1] is not None else [path]


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
        return None
    if not separator or not head.strip():
        raise ValueError(f"expected headword, offset and length in base 64, within the .dict file: {shown(head)}")
    first, *rest = (line.strip() for line in definition.strip("\n").split("\n"))
    if _PRONOUNCED.search(first) or _letters(first).startswith(_letters(head)):
        # The index has lost capitals and hyphens; the definition repeats the headword with them.
        spelled = _AFTER_HEADWORD.split(first, maxsplit=1)[0]
        head = spelled if _letters(spelled) == _letters(head) else head
    else:
        rest = [first, *rest]
    translations: list[str] = []
    for line in rest:
        if not _NOT_TRANSLATIONS.match(line):
            found = split_outside(_ENUMERATOR.sub("", line, count=1), ALTERNATIVES)
            translations += (part for part in found if part.strip(" ….,"))
    if not translations:
        account.drop("entries without a translation", head)
        return []
    return [([head], translations, 0)]


def dictd_inverted(account: Account) -> bool:
    """Whether the file's name says that it goes from target to source; LexiconError if it names other languages."""
    found = _NAMED.search(_stem(account.path).name)
    if not found or "und" in (account.source, account.target):
        return False
    one, other = found.groups()
    if same(one, account.source) and same(other, account.target):
        return False
    if same(one, account.target) and same(other, account.source):
        return True
    raise LexiconError(
        f"{account.path}: by its name the dictionary is from `{one}` to `{other}`, not from `{account.source}` to "
        f"`{account.target}`; give another file, or rename it if the name is wrong"
    )


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text)).casefold()


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
