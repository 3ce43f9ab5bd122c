"""Errors of the machine in plain words: the disk, and processes that something killed.

1. `told` recognises the error of a disk, whichever library raises it. Python and Arrow raise OSError with a number.
   safetensors and tokenizers write `(os error NUMBER)` into another error. torch names no reason at all.
2. It returns one message: the file, the reason, and what to do. Other errors are none of the machine: None.
3. `disk_errors` turns such an error into a DiskError. It names a folder where the error names no file.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from prealign.errors import DiskError, PrealignError

AGAIN = "run the same command again: what is finished is kept"

_ROOM = f"Free space there, or choose another folder, then {AGAIN}."
_RIGHTS = f"Change that, or choose another folder, then {AGAIN}."
_PLACE = f"Move it away, or choose another folder, then {AGAIN}."
_DEVICE = f"Check the disk, then {AGAIN}."
_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _ROOM),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _RIGHTS),
    **dict.fromkeys((errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY, errno.ELOOP), _PLACE),
    **dict.fromkeys((errno.EIO, errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.EBUSY, errno.ETXTBSY), _DEVICE),
    errno.ENAMETOOLONG: f"Choose a shorter name, then {AGAIN}.",
    errno.ENOENT: f"Was it moved or removed meanwhile? Put it back if it is yours, then {AGAIN}.",
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), f"Raise the limit of open files (`ulimit -n`), then {AGAIN}."),
}
_NUMBER = re.compile(r"\(os error ([0-9]+)\)")
_OF_TORCH = ("PytorchStreamWriter", "inline_container.cc", "unexpected pos")
_LOADER = "DataLoader worker"


def told(error: BaseException, folder: Path | None = None) -> str | None:
    """Return the message for an error of the disk or a killed process; None for any other error.

    folder: where the work was going on, for errors that name no file.
    """
    if isinstance(error, PrealignError):
        return None
    for cause in _causes(error):
        text = str(cause)
        if isinstance(cause, OSError) and cause.errno in _REMEDIES:
            return _message(cause.filename2 or cause.filename or folder, cause.errno)
        number = _NUMBER.search(text)
        if number and int(number[1]) in _REMEDIES:
            return _message(folder, int(number[1]))
        if isinstance(cause, RuntimeError) and any(sign in text for sign in _OF_TORCH):
            return f"{folder or 'a checkpoint'}: torch could not write a file of a checkpoint{_room(folder)}. {_ROOM}"
        if isinstance(cause, RuntimeError) and text.startswith(_LOADER) and "exited" in text:
            return (
                "a process that loads data (`trainer.dataloader_num_workers`) was ended from outside, perhaps for lack of "
                f"memory. Use fewer, then {AGAIN}."
            )
    return None


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn errors of the disk into DiskError; `folder` stands for a file that the error does not name."""
    try:
        yield
    except Exception as error:
        if message := told(error, folder):
            raise DiskError(message) from error
        raise


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


def _message(where: object, number: int) -> str:
    place = os.fsdecode(where) if isinstance(where, str | bytes | os.PathLike) else "a file"
    return f"{place}: {os.strerror(number)}. {_REMEDIES[number]}"


def _room(folder: Path | None) -> str:
    """Return how much space is free, as the middle of a sentence."""
    with suppress(OSError):
        if folder is not None:
            return f" ({shutil.disk_usage(folder).free / 1e6:,.0f} MB are free there)"
    return ""
