"""Content hashes of input files, for fingerprints.

1. A file counts as its path and a hash of its bytes, a folder as all files in it. Missing files are left out. An edited
   file changes a fingerprint. A file that is touched, or copied to the same path again, does not.
2. Hashes are cached by path, size, mtime, ctime and inode. Every edit sets the ctime, even one that restores the mtime.
3. The hash of a file whose ctime is less than two seconds ago is not cached: the clocks of file systems are coarse, and
   another edit can get the same times.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

import xxhash

from prealign.files import read_json, write_json

Contents = Callable[[Iterable[Path]], list[tuple[str, str]]]
"""Files and folders -> path and content hash of each file."""

_UNREADABLE = "unreadable"
"""In place of a hash. The stage that reads the file raises the error."""
_CTIME = 2
"""Its place in the stats."""
_SETTLED = 2_000_000_000  # nanoseconds
_CHUNK = 2**20  # bytes

_Stats = list[int]


class ContentCache:
    """Hashes of files, cached in a JSON file: path -> [hash, size, mtime, ctime, inode]."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, tuple[str, _Stats]] | None = None

    def hashes(self, paths: Iterable[Path]) -> list[tuple[str, str]]:
        """Return path and content hash of each file, as `hash_contents` does. Writes the cache if its folder exists."""
        files = _files(paths)
        if not files:
            return []
        if self._known is None:
            kept = read_json(self._path) if self._path.exists() else {}
            self._known = {path: (content, stats) for path, (content, *stats) in kept.items()}
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
            write_json(self._path, {path: [content, *stats] for path, (content, stats) in self._known.items()})
        return hashes


def hash_contents(paths: Iterable[Path]) -> list[tuple[str, str]]:
    """Return path and content hash of the files among `paths`, and of those in its folders, without a cache."""
    return [(str(file), _hash(file)) for file in _files(paths)]


def _files(paths: Iterable[Path]) -> list[Path]:
    found = (file for path in paths for file in (sorted(path.rglob("*")) if path.is_dir() else [path]))
    return [file for file in found if file.is_file()]


def _stats(file: Path) -> _Stats:
    stats = file.stat()
    return [stats.st_size, stats.st_mtime_ns, stats.st_ctime_ns, stats.st_ino]


def _hash(file: Path) -> str:
    content = xxhash.xxh3_128()
    try:
        with file.open("rb", buffering=0) as opened:
            while chunk := opened.read(_CHUNK):
                content.update(chunk)
    except OSError:
        return _UNREADABLE
    return content.hexdigest()
