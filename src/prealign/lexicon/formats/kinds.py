"""Files of another kind, named for what they are, with the command that makes a dictionary of them or fetches the real one.

1. The first bytes tell a binary format (`_MAGIC`), StarDict's index, or the root element of XML.
2. The first characters tell a kind of text that would else pass for a list of words (`_TEXTS`).
3. `are_words` tells lists of words from settings, logs, source text and lists of frequencies, whose lines look alike.
"""

from __future__ import annotations

import codecs
import re
import struct
from collections.abc import Iterable
from pathlib import Path

from prealign.errors import LexiconError
from prealign.files import UNREADABLE, opened, unreadable
from prealign.lexicon.reading_report import ALLOWED_MALFORMED

_BEGINNING = 4096
_TABFILE = "convert it by `pyglossary FILE words.txt --write-format=Tabfile` (pip install pyglossary)"
_MAGIC = {
    b"SQLite format 3\0": ("an SQLite database", "write its table by `sqlite3 -csv FILE 'select …' > words.csv`"),
    b"%PDF-": ("a PDF", "give the list as text"),
    b"PAR1": ("a Parquet file", "write it as CSV by `duckdb -csv -c \"from 'FILE'\" > words.csv`"),
    b"\xd0\xcf\x11\xe0": ("an Excel or Word file", "save the sheet as CSV"),
    b"!-1SLOB\x1f": ("a Slob dictionary (Aard)", _TABFILE),
    b"\x12\x34\x00\x01": ("a Babylon glossary (.bgl)", _TABFILE),
    b"\x12\x34\x00\x02": ("a Babylon glossary (.bgl)", _TABFILE),
    b"\xde\x12\x04\x95": ("a compiled gettext catalogue (.mo)", "unpack it by `msgunfmt`, then `po2tmx -l LANGUAGE`"),
    b"\x95\x04\x12\xde": ("a compiled gettext catalogue (.mo)", "unpack it by `msgunfmt`, then `po2tmx -l LANGUAGE`"),
    b"\x80\x04\x95": ("a Python pickle, which may hold code", "give the list as text"),
}
_TEXTS = (
    (r"version https://git-lfs", "a Git LFS pointer, not the file it stands for", "fetch the file by `git lfs pull`"),
    (r"\S*/annex/objects/", "a git-annex pointer, not the file it stands for", "fetch the file by `git annex get`"),
    (
        r"(?s:.*?)^msgid \"",
        "a gettext catalogue (PO)",
        "convert it by `po2tmx -l LANGUAGE FILE words.tmx` (translate-toolkit)",
    ),
    (r"(?i:<!doctype html|<html)", "a web page (HTML)", "download the file that the page shows"),
    (r"#NAME\s", "a dictionary in DSL (ABBYY Lingvo)", _TABFILE),
    (r"(?s:.*?)^(?:CREATE TABLE|INSERT INTO) ", "an SQL dump", "load it into a database and write the table as CSV"),
    (r"\[\s*[\[{\"]", "a JSON array", "write one object a line by `jq -c '.[]' FILE`"),
    (r"\{\s*\n", "JSON over several lines", "write one object a line by `jq -c . FILE`"),
    (r"\d+ \d+\n\S+(?: -?\d+\.\d+){5}", "word vectors (fastText, word2vec)", "give a list of words and translations"),
    (r"SET UTF-?8\n|SFX |PFX ", "the affix rules of a spelling dictionary (Hunspell)", "give a bilingual list"),
    (r"\d+\n(?:\S+\n)*?[^\s/]{2,}/[^\s/]+\n", "the words of a spelling dictionary (Hunspell)", "give a bilingual list"),
    (r"\{\\rtf", "a text document in RTF", "save it as plain text"),
    (
        r"(?:[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64}|[0-9a-f]{128}) [ *]\S",
        "a list of checksums",
        "give a file that it names",
    ),
    (r"WEBVTT|\d+\n\d\d:\d\d:\d\d[,.]\d", "subtitles", "give a bilingual list"),
    (
        r"(?:#.*\n)*1\t\S+\t\S+\t[A-Z]{1,5}\t(?:[^\t\n]*\t){5}",
        "annotated text (CoNLL-U)",
        "give a list of words and translations",
    ),
    (r"00-?database", "the definitions of a dictd dictionary", "put its NAME.index beside NAME.dict"),
)
_KINDS_OF_TEXT = tuple((re.compile(pattern, re.MULTILINE), what, remedy) for pattern, what, remedy in _TEXTS)
_XML = re.compile(r"\s*(?:<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^>\[]*(?:\[.*?\]\s*)?>|\s)*<([A-Za-z][\w.:-]*)", re.DOTALL)
_CLOSED = re.compile(r"</|/>|<[^<>]+=[\"']")  # `<n> Haus` is a mark in a list of words
_INDEX = re.compile(rb"[^\0-\x1f]{1,255}\0(.{8})", re.DOTALL)
_LONGEST_RECORD = 264
_MARKS = re.compile(r"\([^()]*\)|\[[^\[\]]*\]|\{[^{}=\"]*\}|<[^<>=/\"]*>")
_CODE = re.compile(r'^".*"$|[<>={}\\$_@#]|://|:$|[^\W\d_]{2}\.[^\W\d_]{2}|^[0-9a-f]{16,}$')
"""Quotes, signs, addresses, `def f:`, names of files and settings, hashes."""
WORDS = 0.8
"""Share of a list's lines in which both sides are words."""


def root_element(path: Path) -> str | None:
    """Return the name of an XML file's root element; None if it is no XML."""
    text = _text(_beginning(path))
    found = _XML.match(text)
    return found[1] if found and (text.startswith("<?xml") or _CLOSED.search(text)) else None


def check_kind(path: Path) -> None:
    """LexiconError if the file is of a kind that is no dictionary, or none that is read."""
    beginning = _beginning(path)
    kinds = [kind for magic, kind in _MAGIC.items() if beginning.startswith(magic)]
    if path.name.endswith((".idx", ".idx.gz")) or _is_index(beginning):
        kinds.append(("StarDict's index alone", "put its .ifo and its .dict or .dict.dz beside it, with the same name"))
    if beginning[4:].startswith("<Dictionary".encode("utf-16-le")):
        kinds.append(("an MDict dictionary (.mdx)", _TABFILE))
    text = _text(beginning)
    kinds += ((what, remedy) for kind, what, remedy in _KINDS_OF_TEXT if kind.match(text))
    if not kinds and (root := root_element(path)):
        kinds.append((f"XML with the root element <{root}>, of which TMX and Apertium's .dix are read", _TABFILE))
    if kinds:
        what, remedy = kinds[0]
        raise LexiconError(f"{path}: the file is {what}; {remedy}")


def are_words(pairs: Iterable[tuple[str, str]], *, in_cells: bool) -> bool:
    """Whether most of these pairs have letters on both sides, and no signs of code.

    in_cells: the sides are cells of a table. A short one may have a few numbers and signs (`ten thousand`, `10,000`);
    as lines of `name value` such pairs are settings.
    """
    number = bare = code = 0
    for pair in pairs:
        sides = [_MARKS.sub("", side) for side in pair]
        sides = [side.rstrip(" :") for side in sides] if in_cells else sides  # `ladder:` in a cell is no code
        lettered = all(any(map(str.isalpha, side)) for side in sides)
        number += 1
        bare += not lettered
        code += lettered and any(map(_CODE.search, sides))
    allowed = ALLOWED_MALFORMED if in_cells and not code else 0
    return bare + code <= max((1 - WORDS) * number, allowed) and 2 * bare < max(number, 1)


def _beginning(path: Path) -> bytes:
    try:
        with opened(path) as file:
            return file.read(_BEGINNING)
    except UNREADABLE as error:
        raise unreadable(path, error) from error


def _text(beginning: bytes) -> str:
    encoding = "utf-16" if beginning.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8"
    return beginning.decode(encoding, errors="replace").removeprefix("\ufeff").lstrip()


def _is_index(beginning: bytes) -> bool:
    """Whether the file is words, each with a zero byte and the numbers of an offset and a length behind it."""
    place = found = 0
    while record := _INDEX.match(beginning, place):
        offset, length = struct.unpack(">II", record[1])
        if offset >> 31 or length >> 24:
            return False
        place, found = record.end(), found + 1
    return found > 1 and len(beginning) - place <= _LONGEST_RECORD
