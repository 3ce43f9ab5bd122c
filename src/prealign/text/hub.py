"""Text of a dataset on the Hugging Face Hub, or of a folder in the same form, read as a stream.

    hub:OWNER/NAME?config=en&split=train&column=text&revision=REVISION&documents=100000&bytes=500000000

1. `datasets.load_dataset(..., streaming=True)` finds the files (Parquet, JSON, text …) and yields their rows in order.
2. A document is the text of `column`; skip and count rows without text.
3. Read at most `documents` documents, and stop with the document that reaches `bytes` of text (UTF-8). Report at the end how
   much was read, and whether it was all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from prealign.errors import CorpusError
from prealign.folders import tree
from prealign.wording import some

PREFIX = "hub:"

_OPTIONS = ("config", "split", "column", "revision", "documents", "bytes")


@dataclass(frozen=True)
class HubText:
    """A dataset, and the limits of reading it; None: no limit."""

    source: str
    path: str
    config: str | None = None
    split: str = "train"
    column: str = "text"
    revision: str | None = None
    documents: int | None = None
    bytes: int | None = None

    @classmethod
    def of(cls, source: str) -> HubText:
        """Parse a source of `text:`. Raises CorpusError for unknown options and values."""
        path, _, query = source.removeprefix(PREFIX).partition("?")
        options: dict[str, Any] = dict(parse_qsl(query, keep_blank_values=True))
        if unknown := sorted(set(options) - set(_OPTIONS)):
            raise CorpusError(f"{source}: no option {unknown[0]!r}; there are {', '.join(_OPTIONS)}.")
        for name in {"documents", "bytes"} & set(options):
            if not options[name].isdecimal() or not int(options[name]):
                raise CorpusError(f"{source}: {name} is {options[name]!r}; give a whole number above 0.")
            options[name] = int(options[name])
        return cls(source, path, **options)

    def files(self) -> list[Path]:
        """Return the files of a local folder; none for a dataset on the hub."""
        folder = Path(self.path)
        return tree(folder).files if folder.is_dir() else []

    def read(self, tell: Callable[[str], None]) -> Iterator[tuple[str, str]]:
        """Yield (document id, text); `tell` gets a summary at the end. Raises CorpusError for data that cannot be read."""
        number = size = empty = 0
        for row, text in enumerate(self._rows(), start=1):
            if not text.strip():
                empty += 1
                continue
            yield f"{self.path}:{row}", text
            number += 1
            size += len(text.encode())
            if number == self.documents or size >= (self.bytes or size + 1):
                tell(f"{self.source}: read to its limit: {self._amount(number, size, empty)}")
                return
        tell(f"{self.source}: read to its end: {self._amount(number, size, empty)}")

    @staticmethod
    def _amount(documents: int, size: int, empty: int) -> str:
        return f"{some(documents, 'document')} of {some(size, 'byte')} ({empty:,} without text)"

    def _rows(self) -> Iterator[str]:
        from datasets import load_dataset  # imported here: whoever only checks the name of a source needs no datasets

        try:
            rows = load_dataset(self.path, self.config, split=self.split, revision=self.revision, streaming=True)
            for row in rows:
                if self.column not in row:
                    raise CorpusError(
                        f"{self.source}: no column {self.column!r}; there are {', '.join(row)}. Add column=NAME to it."
                    )
                if not isinstance(row[self.column] or "", str):
                    raise CorpusError(
                        f"{self.source}: the column {self.column!r} is not text, but {row[self.column]!r:.60}."
                    )
                yield row[self.column] or ""
        except CorpusError:
            raise
        except Exception as error:  # network, hub, file system and formats raise errors without a common class
            said = (str(error).splitlines() or [""])[0]
            raise CorpusError(
                f"{self.source}: cannot be read ({type(error).__name__}: {said}). Is the name right, and a network there? "
                f"Without one, `hf download --repo-type dataset {self.path} --local-dir DIR` elsewhere, and give hub:DIR."
            ) from None
