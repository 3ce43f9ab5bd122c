"""Dictionaries of StarDict: NAME.ifo, NAME.idx (or .idx.gz) and NAME.dict.dz (or NAME.dict) side by side.

1. NAME.ifo holds settings, `key=value` a line: the types of a definition's fields (`sametypesequence`) and the bits of an
   offset (`idxoffsetbits`, 32 or 64).
2. A record of the index is the headword, a zero byte, offset and length (big endian) of its definition.
3. A definition is one or more fields. A letter tells the type of each: text (m, l), HTML (h), Pango (g), XDXF (x); others
   are pronunciations, sounds and pictures. Fields in lower case end in a zero byte, others begin with their length; the last
   one of a known sequence has neither.
4. Markup becomes lines of text, which are read as those of dictd (`prealign.lexicon.formats.definitions`).
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

from prealign.errors import LexiconError
from prealign.files import read_bytes
from prealign.lexicon.formats.definitions import translations
from prealign.lexicon.formats.dictd import NAMED
from prealign.lexicon.formats.entry import Entry, named_inverted
from prealign.lexicon.reading_report import Account

_SUFFIXES = (".ifo", ".idx", ".idx.gz", ".dict.dz", ".dict", ".syn")
_SEQUENCE = re.compile(rb"^sametypesequence=([a-zA-Z]+)", re.MULTILINE)
_RECORD = re.compile(rb"([^\0]{1,1024})\0", re.DOTALL)
_TEXT, _MARKUP = "ml", "hgx"
_HEADWORD = re.compile(r"<k>.*?</k>", re.DOTALL)
_LINE_ENDS = re.compile(r"<(?:br|/?p|/?div|/?li|/?ol|/?ul|/?def|/?dtrn|/?blockquote)\b[^<>]*>", re.IGNORECASE)
_TAGS = re.compile(r"<[^<>]*>")


def stardict_files(path: Path) -> list[Path]:
    """Return a dictionary's .ifo, index and definitions under the path of one of them; empty if it is none."""
    stem = next((path.with_name(path.name.removesuffix(s)) for s in _SUFFIXES if path.name.endswith(s)), None)
    if stem is None:
        return []
    beside = [
        [stem.with_name(stem.name + s) for s in names] for names in ((".ifo",), (".idx", ".idx.gz"), _SUFFIXES[3:5])
    ]
    found = [next((file for file in files if file.exists()), None) for files in beside]
    if found[0] is None or (found[1] is None and path.suffix != ".ifo"):
        return []
    if found[1] is None or found[2] is None:
        raise LexiconError(f"{path}: StarDict's {stem.name}.idx and {stem.name}.dict.dz or .dict have to lie beside it")
    return [file for file in found if file is not None]


def stardict_records(path: Path) -> Iterator[bytes]:
    """Yield each headword and, on the next lines, its definition; LexiconError if a file is missing or cannot be read."""
    files = stardict_files(path)
    if not files:
        raise LexiconError(
            f"{path}: no StarDict dictionary: NAME.ifo, NAME.idx and NAME.dict.dz have to lie side by side"
        )
    settings, index, data = (read_bytes(file) for file in files)
    sequence = _SEQUENCE.search(settings)
    types = sequence[1].decode() if sequence else ""
    width = 8 if b"idxoffsetbits=64" in settings else 4
    place = 0
    while head := _RECORD.match(index, place):
        place = head.end() + width + 4
        begin = int.from_bytes(index[head.end() : head.end() + width], "big")
        length = int.from_bytes(index[head.end() + width : place], "big")
        name = head[1].replace(b"\n", b" ")
        piece = data[begin : begin + length]
        # A definition beyond the file's end leaves the headword alone, which is malformed.
        yield name + b"\n" + _definition(piece, types) if len(piece) == length else name


def _definition(piece: bytes, types: str) -> bytes:
    """Return the text of a definition's fields; bytes that are not UTF-8 stay, and make the entry malformed."""
    texts = []
    for kind, field in _fields(piece, types):
        text = field.decode(errors="surrogateescape")
        if kind in _MARKUP:
            text = html.unescape(_TAGS.sub("", _LINE_ENDS.sub("\n", _HEADWORD.sub("", text))))
        if kind in _TEXT + _MARKUP:
            texts.append(text.replace("\0", ""))
    return "\n".join(texts).encode(errors="surrogateescape")


def _fields(piece: bytes, types: str) -> Iterator[tuple[str, bytes]]:
    known = list(types)
    while piece:
        if types and not known:
            return
        kind = known.pop(0) if types else chr(piece[0])
        rest = piece if types else piece[1:]
        if types and not known:
            field, piece = rest, b""
        elif kind.isupper():
            end = 4 + int.from_bytes(rest[:4], "big")
            field, piece = rest[4:end], rest[end:]
        else:
            field, _, piece = rest.partition(b"\0")
        yield kind, field


def stardict(text: str, account: Account) -> list[Entry]:
    """A headword and its definition; ValueError for a record of the index whose definition lies beyond the file's end."""
    head, separator, definition = text.partition("\n")
    if not separator:
        raise ValueError(f"no definition of {head}")
    if account.layout is None:
        settings = stardict_files(account.path)[0]
        account.layout = b"wikdict" in read_bytes(settings).lower()
    return translations(head, definition, account, wikdict=account.layout)


def stardict_inverted(account: Account) -> bool:
    """Whether the file's name says that it goes from target to source; LexiconError if it names other languages."""
    return named_inverted(account, NAMED.search(account.path.name))
