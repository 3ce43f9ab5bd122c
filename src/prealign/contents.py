"""Content hashes of input files, for fingerprints.

1. A file is represented by its path and a hash of its bytes, a folder by all files in it. Missing files are left out.
   Editing a file changes a fingerprint. Touching it, or copying equal content to its path, does not.
2. Hashes are cached by path, size, mtime, ctime and inode. Every edit sets the ctime, even one that restores the mtime.
3. A hash is not cached if the ctime is less than two seconds old: file system clocks are coarse, so a second edit could
   get the same times.
4. A damaged cache is not used.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import xxhash

from prealign.errors import RunFolderError
from prealign.files import read_json, write_json
from prealign.folders import tree

Contents = Callable[[Iterable[Path]], list[tuple[str, str]]]
"""A function from files and folders to (path, content hash) of each file."""

_UNREADABLE = "unreadable"
"""Stands for the hash of an unreadable file. The stage that reads the file raises the error."""
_CTIME = 2
"""Index of the ctime in `_Stats`."""
_SETTLED = 2_000_000_000  # nanoseconds
_CHUNK = 2**20  # bytes

_Stats = list[int]


class ContentCache:
    """Content hashes, cached in a JSON file: a check of its content, and path -> [hash, size, mtime, ctime, inode]."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, tuple[str, _Stats]] | None = None

    def hashes(self, paths: Iterable[Path]) -> list[tuple[str, str]]:
        """Return path and content hash of each file, as `hash_contents` does. Writes the cache if its folder exists."""
        files = _files(paths)
        if not files:
            return []
        if self._known is None:
            self._known = _read(self._path)
        hashes, changed = [], False
        for file in files:
            now, stats = time.time_ns(), _stats(file)
            content, cached = self._known.get(str(file), ("", []))
            if stats != cached:
                content = _hash(file)
                if content != _UNREADABLE and now - stats[_CTIME] > _SETTLED:
                    self._known[str(file)], changed = (content, stats), True
            hashes.append((str(file), content))
        if changed and self._path.parent.exists():
            kept = {path: [content, *stats] for path, (content, stats) in self._known.items()}
            write_json(self._path, {"check": _check(kept), "files": kept})
        return hashes


def _read(path: Path) -> dict[str, tuple[str, _Stats]]:
    """Return the cached hashes; none if the file is missing or damaged: a wrong hash would outdate finished stages."""
    try:
        cache = read_json(path)
        if cache["check"] == _check(cache["files"]):
            return {file: (content, stats) for file, (content, *stats) in cache["files"].items()}
    except (OSError, RunFolderError, KeyError, TypeError, ValueError, AttributeError):
        pass
    return {}


def _check(kept: object) -> str:
    return xxhash.xxh3_64_hexdigest(json.dumps(kept, sort_keys=True).encode())


def hash_contents(paths: Iterable[Path]) -> list[tuple[str, str]]:
    """Return path and content hash of each file among `paths` and in the folders among them. Uses no cache."""
    return [(str(file), _hash(file)) for file in _files(paths)]


def _files(paths: Iterable[Path]) -> list[Path]:
    return [file for path in paths for file in (tree(path).files if path.is_dir() else [path]) if file.is_file()]


def _stats(file: Path) -> _Stats:
    stats = file.stat()
    return [stats.st_size, stats.st_mtime_ns, stats.st_ctime_ns, stats.st_ino]


def content_hash(file: Path) -> str:
    """Return a hash of the bytes of a file as 32 hex digits. Raises OSError if it cannot be read."""
    content = xxhash.xxh3_128()
    with file.open("rb", buffering=0) as opened:
        while chunk := opened.read(_CHUNK):
            content.update(chunk)
    return content.hexdigest()


def _hash(file: Path) -> str:
    try:
        return content_hash(file)
    except OSError:
        return _UNREADABLE
