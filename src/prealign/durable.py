"""Durable changes of files and folders: a name has its old content or its whole new content, also after a power loss.

1. `replacing` gives a temporary name beside a file. The new content is synced to disk and renamed to the file; then the
   folder is synced, because a rename is an entry of its folder.
2. `rename` does the same with a folder: every file and folder in it is synced first.
3. `remove` deletes a file or folder. It removes a link, never what the link points to.
4. `inside` returns a path below a folder, and refuses one that leads out of it by a link or by `..`.
5. `remove_stale` deletes temporary files that a killed process left behind. Their names hold its host and number.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from prealign.errors import DiskError, RunFolderError

_HOST = re.sub(r"[^A-Za-z0-9]", "_", socket.gethostname())[:60]
_TEMPORARY = re.compile(r"\.prealign-(?P<host>\w+)-(?P<pid>[0-9]+)-[0-9]+\.tmp")
_numbers = count()

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)

_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)
"""Errors of file systems that cannot sync a folder. They keep the order of renames in another way, or not at all."""


def temporary(folder: Path) -> Path:
    """Return an unused name in `folder` for a file or folder of this process; `remove_stale` knows it."""
    return folder / f".prealign-{_HOST}-{os.getpid()}-{next(_numbers)}.tmp"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name to write a file to; at the end it becomes `path`. Creates parent folders.

    An error inside leaves `path` as it was. DiskError if it is a folder, device or pipe, OSError if it cannot be written.
    """
    check_replaceable(path)
    aside = temporary(path.parent)
    try:
        with _naming(path, aside):
            make_folder(path.parent)
            yield aside
            sync(aside)
            aside.replace(path)
            sync(path.parent)
    finally:
        # An error of removing must not hide the one before; `remove_stale` removes what is left.
        with suppress(OSError):
            aside.unlink(missing_ok=True)


@contextmanager
def _naming(path: Path, aside: Path) -> Iterator[None]:
    """Let errors name the file that the user knows. Those of writing name none."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(aside)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def try_to_write(path: Path) -> None:
    """Raise the error of `replacing` if `path` cannot be written. It stays as it is."""
    check_replaceable(path)
    make_folder(path.parent)
    aside = temporary(path.parent)
    with _naming(path, aside):
        aside.touch()
        aside.unlink()


def check_replaceable(path: Path) -> None:
    """Raise DiskError if `path` is anything but a file or nothing: a rename would replace a device such as /dev/null."""
    if kind := kind_of(path):
        raise DiskError(f"{path}: is {kind}, not a file. Name a file to write to.")


def kind_of(path: Path) -> str | None:
    """Return what a path is if it is not a regular file; None if it is one, or does not exist. OSError as of `stat`."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    return next((kind for is_kind, kind in _KINDS if is_kind(mode)), None)


def make_folder(folder: Path) -> None:
    """Create a folder and its parents where they are missing, on disk."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync(path.parent)


def rename(folder: Path, target: Path) -> None:
    """Rename a folder to a name that does not exist, with all of its content on disk."""
    sync_tree(folder)
    folder.rename(target)
    sync(target.parent)


def remove(path: Path) -> None:
    """Remove a file, a link, or a folder with all of its content. Nothing happens if it does not exist."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync_tree(folder: Path, *, without: str | None = None) -> None:
    """Write a folder, and all files and folders in it, from memory to disk. Links are not followed.

    without: the name of an entry of the folder that stays as it is.
    """
    for path in folder.iterdir():
        if path.name == without or path.is_symlink():
            continue
        if path.is_dir():
            sync_tree(path)
        elif path.is_file():
            sync(path)
    sync(folder)


def sync(path: Path) -> None:
    """Write a file, or the entries of a folder, from memory to disk. OSError with its name if that fails."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.close(opened)


def inside(folder: Path, *names: str) -> Path:
    """Return the path `folder/names`. RunFolderError if a link or `..` among the names leads to another place."""
    path = folder.joinpath(*names)
    root = folder.resolve()
    if path.resolve() != root.joinpath(*names) or root not in path.resolve().parents:
        raise RunFolderError(
            f"{path} is a link, or in a linked folder, and leads to {path.resolve()}. Nothing was changed. Folders of a run "
            f"are real folders inside {folder}: remove the link."
        )
    return path


def remove_stale(folder: Path) -> None:
    """Remove the temporary files and folders below `folder` that ended processes of this machine left behind."""
    for place, folders, files in os.walk(folder):
        for name in (*files, *folders):
            found = _TEMPORARY.fullmatch(name)
            if found and found["host"] == _HOST and not _runs(int(found["pid"])):
                remove(Path(place, name))
        folders[:] = [name for name in folders if not _TEMPORARY.fullmatch(name)]


def is_temporary(path: Path) -> bool:
    """Whether the name is one of `temporary`."""
    return _TEMPORARY.fullmatch(path.name) is not None


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # the process of another user; a number that is none
        return True
    return True
