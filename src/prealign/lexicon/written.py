"""Lexicon files are written aside and renamed, so that no reader meets half of one; whether that can be, is known before."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from prealign.errors import LexiconError


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
