"""The lines of a dictionary file, undecoded, and the checks that all formats share."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from prealign.errors import LexiconError

LONGEST_LINE = 8_000_000
"""Bytes. A longer line is malformed; no more of it is held in memory."""
SAMPLED_LINES = 1000

_GZIP = b"\x1f\x8b"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def read_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file, which may be gzipped; of a line that is too long, a byte more than the limit.

    LexiconError if the file is missing or unreadable, or if it is UTF-16.
    """
    try:
        with path.open("rb") as plain:
            start = plain.read(2)
            plain.seek(0)
            if start in _UTF16:
                raise LexiconError(f"{path}: the dictionary is UTF-16; convert it, as by `iconv -f utf-16 -t utf-8`")
            if start != _GZIP:
                yield from _cut(plain)
                return
        with gzip.open(path) as packed:
            yield from _cut(packed)
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable(path, error) from error


def _cut(file: IO[bytes] | gzip.GzipFile) -> Iterator[bytes]:
    while raw := file.readline(LONGEST_LINE + 1):
        yield raw
        while len(raw) > LONGEST_LINE and not raw.endswith(b"\n"):
            raw = file.readline(LONGEST_LINE + 1)


def read_bytes(path: Path) -> bytes:
    """Return a file's content, unpacked if it is gzipped (dictzip is); LexiconError if it cannot be read."""
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if data.startswith(_GZIP) else data
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> LexiconError:
    """Return the error of a file that cannot be read."""
    reason = getattr(error, "strerror", None) or error
    return LexiconError(f"{path}: cannot read the dictionary ({reason}); check the path")


def sample_lines(path: Path, lines: Iterator[bytes]) -> list[str]:
    """Return the first lines that are not blank, as far as they can be decoded; LexiconError if there is none."""
    sample: list[str] = []
    size = 0
    for raw in lines:
        if text := raw.decode(errors="replace").removeprefix("\ufeff").strip():
            sample.append(text)
            size += len(raw)
        if len(sample) >= SAMPLED_LINES or size > LONGEST_LINE:
            break
    if not sample:
        raise LexiconError(f"{path}: the dictionary is empty; give a file with at least one entry")
    return sample


def json_object(line: str) -> dict[str, Any]:
    """Parse a line that must be one JSON object; ValueError(reason) if it is not."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError(f"not valid JSON: {shown(line)}") from None
    if not isinstance(record, dict):
        raise ValueError(f"not a JSON object: {shown(line)}")
    return record


def check_text(value: object, what: str) -> str:
    """Return `value` if it is text that can be written as UTF-8; ValueError(reason) if it is not."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"{what} is missing, empty or not text")
    try:
        # JSON can spell half a surrogate pair ("\\ud800"), which no UTF-8 file can hold.
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{what} holds half a surrogate pair: {shown(ascii(value))}") from None
    return value


def check_texts(value: object, what: str) -> tuple[str, ...]:
    """Return a list of texts as a tuple; ValueError(reason) if `value` is anything else."""
    if not isinstance(value, list):
        raise ValueError(f"{what} is missing or not a list")
    return tuple(check_text(item, f"an item of {what}") for item in value)


def objects(value: object, what: str) -> list[dict[str, Any]]:
    """Return a list of JSON objects, empty for None; ValueError(reason) if `value` is anything else."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ValueError(f"{what} is not a list of objects")
    return value


def shown(text: str) -> str:
    """Return text for a message: quoted, shortened, and with everything visible."""
    return repr(text if len(text) <= 40 else text[:39] + "…")
