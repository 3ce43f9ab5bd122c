"""Seals: what the files of a finished folder were, so that damage to them is noticed.

1. `seal` writes `whole.json` as the last file: size and content hash of every other file.
2. `damage` compares the folder with its seal. Names and sizes cost no reading; contents are compared on request.
3. A process hashes a file once, until its size, times or inode change.

A folder may hold more files than its seal names, such as a user's notes. They are not checked.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Any

from prealign.contents import content_hash
from prealign.errors import RunFolderError
from prealign.files import read_json, write_json

WHOLE = "whole.json"

_Seal = dict[str, tuple[int, str]]
"""Path inside the folder -> size in bytes, content hash."""


def seal(folder: Path, *, without: str | None = None) -> None:
    """Seal all files in `folder` and its folders, except those in the folder `without`."""
    files = {path.relative_to(folder): path for path in sorted(folder.rglob("*")) if path.is_file()}
    sealed = {
        name.as_posix(): [path.stat().st_size, content_hash(path)]
        for name, path in files.items()
        if name.as_posix() != WHOLE and name.parts[0] != without
    }
    write_json(folder / WHOLE, {"files": sealed})


def is_sealed(folder: Path) -> bool:
    """Whether the folder has a seal, broken or not."""
    return (folder / WHOLE).exists()


def damage(folder: Path, *, read: Collection[str] | None = ()) -> Path | None:
    """Return the first file that is not as it was sealed: the seal, if it is missing or unreadable. None: no damage.

    read: the files whose contents are compared too; None: all.
    """
    sealed = _sealed(folder)
    if sealed is None:
        return folder / WHOLE
    # Compare all sizes before any content: a truncated file shows without reading the others.
    for name, (size, _) in sealed.items():
        if not (folder / name).is_file() or (folder / name).stat().st_size != size:
            return folder / name
    for name, (_, content) in sealed.items():
        if (read is None or name in read) and _hash(folder / name) != content:
            return folder / name
    return next((folder / name for name in read or () if name not in sealed), None)


def _sealed(folder: Path) -> _Seal | None:
    try:
        files = read_json(folder / WHOLE)["files"]
        return {str(name): (int(size), str(content)) for name, (size, content) in files.items()}
    except (OSError, RunFolderError, KeyError, TypeError, ValueError, AttributeError):
        return None


def _hash(path: Path) -> str | None:
    try:
        stats = path.stat()
        times: Any = (stats.st_mtime_ns, stats.st_ctime_ns)
        return _hash_once(str(path), stats.st_ino, stats.st_size, times)
    except OSError:  # unreadable, or gone since its size was compared
        return None


@cache
def _hash_once(path: str, inode: int, size: int, times: tuple[int, int]) -> str:
    return content_hash(Path(path))
