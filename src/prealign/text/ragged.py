"""Sequences of different lengths in one flat array, and a 64-bit hash of each: words of a text, entries of a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

IntArray = NDArray[np.integer[Any]]

_HASH_STEP = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Ragged:
    """Row i is values[offsets[i]:offsets[i+1]]."""

    values: IntArray
    offsets: IntArray

    @classmethod
    def of(cls, rows: Sequence[ArrayLike]) -> Ragged:
        """Join rows into one array."""
        arrays = [np.asarray(row, dtype=np.int64) for row in rows]
        offsets = np.concatenate([[0], np.cumsum([len(a) for a in arrays])]).astype(np.int64)
        return cls(np.concatenate(arrays) if arrays else np.empty(0, np.int64), offsets)

    def __iter__(self) -> Iterator[IntArray]:
        return iter(np.split(self.values, self.offsets[1:-1]) if len(self) else [])

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> IntArray:
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    @cached_property
    def lengths(self) -> IntArray:
        """Length of every row."""
        return np.diff(self.offsets)

    def take(self, rows: IntArray) -> Ragged:
        """Return the rows at these indices, in this order."""
        lengths = self.lengths[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        return Ragged(self.values[spans(self.offsets[rows], lengths)], offsets)

    def hashes(self) -> NDArray[np.uint64]:
        """Hash each row to 64 bits: h <- (h + id + 1) · odd constant, position by position."""
        lengths = self.lengths
        hashes = np.zeros(len(lengths), dtype=np.uint64)
        for position in range(int(lengths.max(initial=0))):
            rows = np.flatnonzero(lengths > position)
            values = self.values[self.offsets[rows] + position].astype(np.uint64)
            hashes[rows] = (hashes[rows] + values + np.uint64(1)) * _HASH_STEP
        return hashes


def spans(starts: IntArray, lengths: IntArray) -> IntArray:
    """Return the concatenated ranges starts[i] .. starts[i]+lengths[i]-1."""
    ends = np.cumsum(lengths)
    return np.repeat(starts - (ends - lengths), lengths) + np.arange(ends[-1] if len(ends) else 0)
