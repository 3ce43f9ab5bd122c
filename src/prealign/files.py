"""The lines of a dictionary file, undecoded, and the checks that all formats share."""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from prealign.errors import LexiconError, RunFolderError

LONGEST_LINE = 8_000_000
"""Bytes. A longer line is malformed; no more of it is held in memory."""
SAMPLED_LINES = 1000

FREELY_UNPACKED = 64_000_000
"""Bytes that every gzipped file may unpack to. Others may unpack to `MOST_UNPACKED` times their size; text has 10 times."""
MOST_UNPACKED = 100
MOST_HELD = 1_000_000_000
"""Bytes that are read into memory at once."""

UNREADABLE = (OSError, EOFError, zlib.error)
"""What reading a file that `opened` gives can raise."""

_GZIP = b"\x1f\x8b"
_BEGINNING = 4096  # bytes
_MOSTLY = 0.9  # share of characters that are printed, in text
# UTF-32 first: its mark in little-endian order begins with that of UTF-16.
_MARKS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
_ARCHIVES = {
    b"PK\x03\x04": ("a zip archive (or a spreadsheet: .xlsx, .ods)", "unpack it by `unzip`, or save the sheet as CSV"),
    b"\xfd7zXZ\x00": ("packed by xz", "unpack it by `xz -d`"),
    b"BZh91AY&SY": ("packed by bzip2", "unpack it by `bunzip2`"),
    b"\x28\xb5\x2f\xfd": ("packed by Zstandard", "unpack it by `zstd -d`"),
    b"7z\xbc\xaf\x27\x1c": ("a 7-Zip archive", "unpack it by `7z x`"),
    b"Rar!\x1a\x07": ("a RAR archive", "unpack it by `unrar x`"),
}


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a file to read its bytes, unpacked if it is gzipped (dictzip is gzip); it can be rewound.

    OSError if it is missing or unpacks to more than the limits above; EOFError or zlib.error if it is damaged.
    """
    with path.open("rb") as plain:
        packed = plain.read(len(_GZIP)) == _GZIP
        plain.seek(0)
        if not packed:
            yield plain
            return
        limit = max(FREELY_UNPACKED, MOST_UNPACKED * os.fstat(plain.fileno()).st_size)
        with io.BufferedReader(_Bounded(gzip.GzipFile(fileobj=plain), limit), buffer_size=2**17) as file:
            yield file


class _Bounded(io.RawIOBase):
    """A gzipped stream that ends in an OSError beyond `limit` bytes, so that a small file cannot fill memory or days."""

    def __init__(self, file: gzip.GzipFile, limit: int) -> None:
        self._file, self._limit = file, limit

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def readinto(self, buffer: Any) -> int:
        size = self._file.readinto(buffer)
        if self._file.tell() > self._limit:
            raise OSError(
                errno.EFBIG,
                f"it unpacks to more than {self._limit:,} bytes, {MOST_UNPACKED} times its size or more, as no text does; "
                "if it is text, unpack it by `gunzip` and give the unpacked file",
            )
        return size


def read_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file, which may be gzipped; of a line that is too long, a byte more than the limit.

    LexiconError if the file is missing, unreadable, an archive, UTF-16 or UTF-32, or if its lines end in carriage returns.
    """
    try:
        with opened(path) as file:
            _check_line_ends(path, file)
            yield from _cut(file)
    except UNREADABLE as error:
        raise unreadable(path, error) from error


def _check_line_ends(path: Path, file: IO[bytes]) -> None:
    try:
        beginning = check_beginning(file)
    except ValueError as error:
        raise LexiconError(f"{path}: {error}") from None
    first = file.readline(LONGEST_LINE) if b"\r" in beginning.strip() else b"\n"
    file.seek(0)
    if b"\n" not in first and len(first) < LONGEST_LINE:
        raise LexiconError(
            f"{path}: the lines end in carriage returns, without a line feed; convert the file, as by `tr '\\r' '\\n'`"
        )


def check_beginning(file: IO[bytes]) -> bytes:
    """Return the first bytes of a file and rewind it; ValueError(reason, remedy) for archives, UTF-16 and UTF-32."""
    beginning = file.read(_BEGINNING)
    file.seek(0)
    for magic, (what, remedy) in _ARCHIVES.items():
        if beginning.startswith(magic):
            raise ValueError(f"the file is {what}, not text; {remedy}")
    marked = next((name for mark, name in _MARKS.items() if beginning.startswith(mark)), None)
    if marked:
        raise ValueError(f"the file is {marked}; convert it, as by `iconv -f {marked.lower()} -t utf-8`")
    if unmarked := _unmarked(beginning):
        text = beginning[: len(beginning) // 4 * 4].decode(unmarked, errors="replace").replace("\ufffd", "\0")
        if sum(map(str.isprintable, text)) + sum(map(str.isspace, text)) < _MOSTLY * len(text):
            raise ValueError("the file is binary, not text; give it as text")
        raise ValueError(
            f"the file looks like {unmarked} without a byte order mark; convert it, as by "
            f"`iconv -f {unmarked.lower()} -t utf-8`"
        )
    return beginning


def _unmarked(beginning: bytes) -> str | None:
    """Return the encoding of text in which zeros stand beside the ASCII characters; None without such zeros.

    Of UTF-32 one half of every character is zero, mostly. One character of UTF-16 in eight is enough: a space, a line end.
    """
    size = len(beginning)
    first, second, third, fourth = (beginning[place::4].count(0) for place in range(4))
    if min(third, fourth) > size / 8:
        return "UTF-32LE"
    if min(first, second) > size / 8:
        return "UTF-32BE"
    even, odd = first + third, second + fourth
    if odd > max(2 * even, size / 16):
        return "UTF-16LE"
    return "UTF-16BE" if even > max(2 * odd, size / 16) else None


def _cut(file: IO[bytes]) -> Iterator[bytes]:
    while raw := file.readline(LONGEST_LINE + 1):
        yield raw
        while len(raw) > LONGEST_LINE and not raw.endswith(b"\n"):
            raw = file.readline(LONGEST_LINE + 1)


def read_bytes(path: Path) -> bytes:
    """Return a file's content, unpacked if it is gzipped; LexiconError if it cannot be read or is too large for memory."""
    try:
        with opened(path) as file:
            data = file.read(MOST_HELD + 1)
    except UNREADABLE as error:
        raise unreadable(path, error) from error
    if len(data) > MOST_HELD:
        raise LexiconError(f"{path}: the file has more than {MOST_HELD:,} bytes of text; divide it into smaller files")
    return data


def unreadable(path: Path, error: Exception) -> LexiconError:
    """Return the error of a file that cannot be read."""
    reason = getattr(error, "strerror", None) or error
    return LexiconError(f"{path}: cannot read the dictionary ({reason}); check the path")


def sample_lines(path: Path, lines: Iterator[bytes]) -> list[str]:
    """Return the first lines that are not blank or too long, as far as they can be decoded; LexiconError without any."""
    sample: list[str] = []
    size = too_long = 0
    for raw in lines:
        if len(raw) > LONGEST_LINE:
            too_long += 1
            continue
        if text := raw.decode(errors="replace").removeprefix("\ufeff").strip():
            sample.append(text)
            size += len(raw)
        if len(sample) >= SAMPLED_LINES or size > LONGEST_LINE:
            break
    if too_long and not sample:
        raise LexiconError(f"{path}: no line is shorter than {LONGEST_LINE:,} bytes; give a file with an entry a line")
    if not sample:
        raise LexiconError(f"{path}: the dictionary is empty; give a file with at least one entry")
    return sample


class Decoder:
    """Decodes the lines of a file one by one, so that a bad byte costs one line."""

    def __init__(self) -> None:
        self.undecoded = self.first_undecoded = self.beyond_ascii = 0

    def text(self, raw: bytes, line: int) -> str:
        """Return a line without blanks around it; ValueError(reason) if it is too long or not UTF-8."""
        if len(raw) > LONGEST_LINE:
            raise ValueError(f"longer than {LONGEST_LINE:,} bytes")
        try:
            # Not only on line 1: files joined by `cat` keep their byte order marks.
            text = raw.decode().removeprefix("\ufeff").strip()
        except UnicodeDecodeError as error:
            self.undecoded += 1
            self.first_undecoded = self.first_undecoded or line
            raise ValueError(f"not UTF-8 at byte {error.start} of the line (counted from 0)") from None
        self.beyond_ascii += not text.isascii()
        return text

    @property
    def remedy(self) -> str:
        """What to do about lines that are not UTF-8, in a sentence; empty if all are."""
        if not self.undecoded:
            return ""
        told = f" {self.undecoded:,} lines are not UTF-8, the first is line {self.first_undecoded:,}"
        # To convert the whole file would spoil the others.
        part = (
            f", while {self.beyond_ascii:,} others have letters beyond ASCII in it: convert only the part that is not UTF-8"
            if self.beyond_ascii
            else ": convert the file from its encoding"
        )
        return f"{told}{part}, as by `iconv -f ENCODING -t utf-8`."


def json_object(line: str) -> dict[str, Any]:
    """Parse a line that must be one JSON object; ValueError(reason) if it is not."""
    record = json_value(line)
    if not isinstance(record, dict):
        raise ValueError(f"not a JSON object: {shown(line)}")
    return record


def json_value(text: str) -> Any:
    """Parse JSON; ValueError(reason) if it is none, nested too deeply, or has a number of thousands of digits."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg} at character {error.pos + 1:,}): {shown(text)}") from None
    except (ValueError, RecursionError):
        raise ValueError(f"JSON with a number too long, or nested too deeply: {shown(text)}") from None


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


def write_text(path: Path, text: str) -> None:
    """Write a file aside and rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Write JSON aside and rename it."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON; a file that is not JSON is a RunFolderError."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RunFolderError(f"{path}: damaged ({error}). Remove it and run again.") from None


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a text file; LexiconError if that fails, and what was there before stays."""
    with _aside(path) as aside:
        with aside.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(f"{line}\n" for line in lines)
        aside.replace(path)


def check_writable(path: Path) -> None:
    """LexiconError if a file cannot be written to `path`: to ask before work that takes long, or is paid for."""
    with _aside(path) as aside:
        aside.touch()


@contextmanager
def _aside(path: Path) -> Iterator[Path]:
    try:
        # Renaming would replace a device, such as /dev/null.
        if path.exists() and not path.is_file():
            what = "a folder" if path.is_dir() else "no file"
            raise LexiconError(f"{path}: is {what}; name the file to write the lexicon to, such as lexicon.jsonl")
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            yield aside
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise LexiconError(
            f"{path}: cannot write the lexicon there ({error.strerror}); name a file where you may "
            "write and there is room"
        ) from None
