"""Locks of a run folder. The operating system releases them when a process ends, even after a kill.

1. `alone_in` holds the lock of a folder while a process works there.
2. `use` registers a command that uses the data of a run, under `RUN/using/`. Any number of commands may.
3. `other_users` names the other commands that do, by process and host. Data that they use must not be replaced.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from weakref import WeakValueDictionary

from filelock import FileLock, Timeout

from prealign.durable import inside
from prealign.errors import RunFolderError

_USING = "using"
_SUFFIX = ".lock"


@contextlib.contextmanager
def alone_in(folder: Path, *, patient: bool) -> Iterator[None]:
    """Hold the lock of a folder, or of a file, in `folder.lock`.

    patient: wait for the lock. Otherwise raise RunFolderError if another process holds it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    path = inside(folder.parent, folder.name + _SUFFIX)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=-1 if patient else 0)
    except Timeout:
        holder = path.read_text(encoding="utf-8").strip()
        raise RunFolderError(
            f"{folder}: another process is at work there{f' ({holder})' if holder else ''}. Wait for it to end, or choose "
            "another run folder (--out; of `prealign switch`: --run)."
        ) from None
    try:
        path.write_text(f"process {os.getpid()} on {socket.gethostname()}\n", encoding="utf-8")
        yield
    finally:
        lock.release()


class Use:
    """The use of the data of a run folder by this process, until the object is gone."""

    def __init__(self, lock: Path) -> None:
        lock.parent.mkdir(exist_ok=True)
        self._lock = FileLock(lock)
        self._lock.acquire()


_USES: WeakValueDictionary[Path, Use] = WeakValueDictionary()


def use(root: Path) -> Use:
    """Register this process as a user of the data of the run folder `root`. It is one until all objects are gone."""
    lock = _of_this_process(root)
    registered = _USES.get(lock)
    if registered is None:
        _USES[lock] = registered = Use(lock)
    return registered


def other_users(root: Path) -> list[str]:
    """Return the other processes that use the data of a run folder, each as "process 12 on host". Removes locks of dead
    ones.
    """
    found = []
    for path in sorted((root.resolve() / _USING).glob(f"*{_SUFFIX}")):
        if path == _of_this_process(root):
            continue
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            host, _, process = path.name.removesuffix(_SUFFIX).rpartition(".")
            found.append(f"process {process} on {host}")
        else:
            path.unlink(missing_ok=True)
            lock.release()
    return found


def _of_this_process(root: Path) -> Path:
    host = re.sub(r"[^\w.-]", "_", socket.gethostname())
    return root.resolve() / _USING / f"{host}.{os.getpid()}{_SUFFIX}"
