"""Rows of text and tokens on disk: Arrow files, written table by table and read in parts.

1. A part is about a megabyte, however long its documents are: memory use does not grow with a corpus.
2. What is read are flat arrays, a row of tokens a slice of one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, Features, Value
from datasets.arrow_writer import ArrowWriter

from prealign.text.ragged import Ragged

PART = 2**20
"""Bytes of a part: enough that a task is worth sending to a process, little enough for many to be under way."""

TEXT = Features({"document": Value("string"), "text": Value("string")})

_ARROW = "rows.arrow"


def arrow_from_tables(tables: Callable[[], Iterable[pa.Table]], features: Features, folder: Path) -> Dataset:
    """Stream tables to an Arrow file under `folder` and memory-map it; memory use does not grow with their number."""
    folder.mkdir(parents=True, exist_ok=True)
    with ArrowWriter(path=str(folder / _ARROW), features=features) as writer:
        for table in tables():
            writer.write_table(table)
        writer.finalize()
    return load_arrow(folder)


def rows_at_once(*datasets: Dataset) -> int:
    """Return how many rows of these make a part, at least 1."""
    rows, size = (sum(getattr(own.data, name) for own in datasets) for name in ("num_rows", "nbytes"))
    return max(1, PART * rows // max(1, size))


def parts(rows: Dataset, size: int | None = None) -> Iterator[range]:
    """Yield the parts of a dataset, of `size` rows if given."""
    size = size or rows_at_once(rows)
    return (range(first, min(first + size, len(rows))) for first in range(0, len(rows), size))


def read_tokens(tokens: Dataset, rows: Any) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Yield the ids of documents, int32, and where a segmenter found their words; `rows` are their numbers."""
    table = tokens.with_format("arrow")[rows]
    words = ragged(table, "words") if "words" in table.column_names else repeat(None)
    return zip(ragged(table, "input_ids"), words, strict=False)


def token_lengths(tokens: Dataset) -> np.ndarray:
    """Return the number of tokens of every document (documents,)."""
    columns = (tokens.with_format("arrow")[rows].column("input_ids") for rows in parts(tokens))
    lengths = [pc.list_value_length(column).to_numpy() for column in columns]
    return np.concatenate(lengths).astype(np.int64) if lengths else np.empty(0, dtype=np.int64)


def ragged(table: pa.Table, column: str) -> Ragged:
    """Return a column of lists; the table has a row or more."""
    lists = pa.concat_arrays(table.column(column).chunks)
    offsets = lists.offsets.to_numpy().astype(np.int64)
    return Ragged(lists.flatten().to_numpy(), offsets - offsets[0])


def load_arrow(folder: Path) -> Dataset:
    """Memory-map what `arrow_from_tables` wrote."""
    return Dataset.from_file(str(folder / _ARROW))


def list_array(values: np.ndarray, offsets: np.ndarray) -> pa.ListArray:
    """Return rows of int32 as Arrow has them."""
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), pa.array(values.astype(np.int32)))


def text_tables(rows: Iterable[tuple[str, str]]) -> Iterator[pa.Table]:
    """Yield tables (columns `document`, `text`) of as many documents as make a part."""
    for part in _filled(rows):
        yield pa.table(dict(zip(TEXT, zip(*part, strict=True), strict=True)), schema=TEXT.arrow_schema)


def _filled(rows: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    part: list[tuple[str, str]] = []
    size = 0
    for row in rows:
        part.append(row)
        size += len(row[1])
        if size >= PART:
            yield part
            part, size = [], 0
    if part:
        yield part
