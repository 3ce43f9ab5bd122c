"""Strict reading of files, and atomic writing.

1. Read lines as bytes (gzip is unpacked), refuse UTF-16, UTF-32 and files without line feeds, and bound the line
   length.
2. Decode line by line: a bad byte costs one line, not the file.
3. Check JSON values. Checks raise ValueError with a reason; the caller adds file and line.
4. Write through a temporary file (`prealign.durable`): a file is either old or complete, also after a power loss.
"""

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

from prealign.durable import kind_of, replacing, try_to_write
from prealign.errors import LexiconError, RunFolderError
from prealign.faults import disk_errors

LONGEST_LINE = 8_000_000
"""Maximum length of a line in bytes. A longer line is malformed, and only this much of it is held in memory."""
SAMPLED_LINES = 1000

FREELY_UNPACKED = 64_000_000
"""Bytes that any gzip file may unpack to. More is allowed up to `MOST_UNPACKED` times its size; text reaches about 10."""
MOST_UNPACKED = 100
MOST_HELD = 1_000_000_000
"""Maximum number of bytes read into memory at once."""

UNREADABLE = (OSError, EOFError, zlib.error)
"""Errors of reading a file from `opened`."""

_GZIP = b"\x1f\x8b"
_BEGINNING = 4096  # bytes
_MOSTLY = 0.9  # share of printable characters in text
# UTF-32 first: its little-endian mark begins with the mark of UTF-16.
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
    """Open a file for reading bytes, unpacked if it is gzip or dictzip. It can be rewound.

    Raises OSError if it is missing, no regular file, or unpacks to more than the limits above, EOFError or zlib.error if
    it is damaged.
    """
    check_readable(path)
    with path.open("rb") as plain:
        packed = plain.read(len(_GZIP)) == _GZIP
        plain.seek(0)
        if not packed:
            yield plain
            return
        limit = max(FREELY_UNPACKED, MOST_UNPACKED * os.fstat(plain.fileno()).st_size)
        with io.BufferedReader(_Bounded(gzip.GzipFile(fileobj=plain), limit), buffer_size=2**17) as file:
            yield file


def check_readable(path: Path) -> None:
    """Raise OSError if `path` is not a regular file. To open a pipe would wait for ever, and a device may have no end."""
    if kind := kind_of(path):
        raise OSError(errno.EINVAL, f"it is {kind}, not a file; give a file", str(path))


def plain_bytes(path: str | Path, most: int | None = None) -> bytes:
    """Return the bytes of a file as they are. OSError if it is missing, no regular file, or has more than `most` bytes
    (None: MOST_HELD)."""
    check_readable(Path(path))
    with Path(path).open("rb") as file:
        return read_whole(file, most)


class _Bounded(io.RawIOBase):
    """A gzip stream that raises OSError beyond `limit` bytes: a small file must not fill the memory."""

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
    """Yield the lines of a dictionary file as bytes; gzip is unpacked. A too long line is cut to LONGEST_LINE + 1
    bytes.

    Raises LexiconError if the file is missing, unreadable, an archive, UTF-16 or UTF-32, or ends its lines in carriage
    returns.
    """
    try:
        with opened(path) as file:
            if fault := encoding_fault(file):
                raise LexiconError(f"{path}: {fault}")
            yield from _cut(file)
    except UNREADABLE as error:
        raise unreadable(path, error) from error


def encoding_fault(file: IO[bytes]) -> str | None:
    """Return why a file is no text in lines of UTF-8, and the command that mends it: archives, UTF-16, carriage
    returns.

    None if it may be such text; a byte that is not UTF-8 may still come. The file is rewound.
    """
    try:
        beginning = check_beginning(file)
    except ValueError as error:
        return str(error)
    first = file.readline(LONGEST_LINE) if b"\r" in beginning.strip() else b"\n"
    file.seek(0)
    if b"\n" not in first and len(first) < LONGEST_LINE:
        return "the lines end in carriage returns, without a line feed; convert the file, as by `tr '\\r' '\\n'`"
    return None


def check_beginning(file: IO[bytes]) -> bytes:
    """Return the first bytes of a file and rewind it. ValueError (reason and remedy) for archives, UTF-16 and UTF-32."""
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
    """Return the UTF-16 or UTF-32 variant that the zero bytes of a text suggest; None if there are few zeros.

    In UTF-32 about half of the bytes are zero. In UTF-16 the ASCII characters (spaces, line ends) have one zero each;
    one in eight characters is enough to decide.
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
    """Return the content of a file, unpacked if it is gzipped. LexiconError if it cannot be read or is too large."""
    try:
        with opened(path) as file:
            return read_whole(file)
    except UNREADABLE as error:
        raise unreadable(path, error) from error


def read_whole(file: IO[bytes], most: int | None = None) -> bytes:
    """Return the rest of a file. OSError if that is more than `most` bytes (None: MOST_HELD)."""
    limit = MOST_HELD if most is None else most
    data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"it has more than {limit:,} bytes of text; divide it into smaller files")
    return data


def whole_lines(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the lines of a file. OSError if one has more than MOST_HELD bytes."""
    while raw := file.readline(MOST_HELD + 1):
        if len(raw) > MOST_HELD:
            raise OSError(errno.EFBIG, f"a line has more than {MOST_HELD:,} bytes; break it into several lines")
        yield raw


def unreadable(path: Path, error: Exception) -> LexiconError:
    """Return the LexiconError for a dictionary file that cannot be read."""
    reason = getattr(error, "strerror", None) or error
    return LexiconError(f"{path}: cannot read the dictionary ({reason}); check the path")


def sample_lines(path: Path, lines: Iterator[bytes]) -> list[str]:
    """Return the first lines that are neither blank nor too long; undecodable bytes are replaced.

    Raises LexiconError if there is no such line.
    """
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
        raise LexiconError(
            f"{path}: no line is shorter than {LONGEST_LINE:,} bytes; give a file with one entry per line"
        )
    if not sample:
        raise LexiconError(f"{path}: the dictionary is empty; give a file with at least one entry")
    return sample


class Decoder:
    """Decodes the lines of a file one by one, and counts the lines that are not UTF-8."""

    def __init__(self) -> None:
        self.undecoded = self.first_undecoded = self.beyond_ascii = 0

    def text(self, raw: bytes, line: int) -> str:
        """Return a line without surrounding blanks. ValueError(reason) if it is too long or not UTF-8."""
        if len(raw) > LONGEST_LINE:
            raise ValueError(f"longer than {LONGEST_LINE:,} bytes")
        try:
            # On every line: files joined by `cat` have byte order marks in the middle.
            text = raw.decode().removeprefix("\ufeff").strip()
        except UnicodeDecodeError as error:
            self.undecoded += 1
            self.first_undecoded = self.first_undecoded or line
            raise ValueError(f"not UTF-8 at byte {error.start} of the line (counted from 0)") from None
        self.beyond_ascii += not text.isascii()
        return text

    @property
    def remedy(self) -> str:
        """A sentence with the remedy for lines that are not UTF-8; empty if all lines are UTF-8."""
        if not self.undecoded:
            return ""
        count = f" {self.undecoded:,} lines are not UTF-8, the first is line {self.first_undecoded:,}"
        # Converting the whole file would spoil lines that are UTF-8 already.
        part = (
            f", while {self.beyond_ascii:,} others have letters beyond ASCII in it: convert only the part that is not UTF-8"
            if self.beyond_ascii
            else ": convert the file from its encoding"
        )
        return f"{count}{part}, as by `iconv -f ENCODING -t utf-8`."


def write_text(path: Path, text: str) -> None:
    """Write a file: a reader, and a power loss, finds the old file or the new one. Creates parent folders."""
    with replacing(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON, as `write_text` does."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file of a run. RunFolderError if it is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RunFolderError(f"{path}: damaged ({error}). Remove it and run again.") from None


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write the lines of a file, as `write_text` does. DiskError if that fails; an old file then stays."""
    with disk_errors(path), replacing(path) as aside, aside.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)


def check_writable(path: Path) -> None:
    """Raise DiskError if `path` cannot be written. Call it before work that takes long or costs money."""
    with disk_errors(path):
        try_to_write(path)
