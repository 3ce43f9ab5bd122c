"""Ragged arrays: sequences of different lengths in one flat array, and a 64-bit hash of each sequence."""

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
    """Row i is values[offsets[i]:offsets[i+1]]. The rows tile `values`: offsets run from 0 to its length."""

    values: IntArray
    offsets: IntArray

    @classmethod
    def of(cls, rows: Sequence[ArrayLike]) -> Ragged:
        """Join rows into one array."""
        arrays = [np.asarray(row, dtype=np.int64) for row in rows]
        offsets = edges(np.array([len(a) for a in arrays], dtype=np.int64))
        return cls(np.concatenate(arrays) if arrays else np.empty(0, np.int64), offsets)

    def __iter__(self) -> Iterator[IntArray]:
        return iter(np.split(self.values, self.offsets[1:-1]) if len(self) else [])

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> IntArray:
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    @cached_property
    def lengths(self) -> IntArray:
        """Return the length of every row."""
        return self.offsets[1:] - self.offsets[:-1]

    def take(self, rows: IntArray) -> Ragged:
        """Return the rows at these indices, in this order."""
        begins = self.offsets[rows]
        lengths = self.offsets[rows + 1] - begins
        return Ragged(self.values[spans(begins, lengths)], edges(lengths))

    def with_ends(self, end: IntArray) -> Ragged:
        """Return the rows with the same values `end` after each."""
        values = np.insert(self.values, np.repeat(self.offsets[1:], len(end)), np.tile(end, len(self)))
        return Ragged(values, self.offsets + len(end) * np.arange(len(self) + 1))

    def hashes(self) -> NDArray[np.uint64]:
        """Return a 64-bit hash of each row: of n ids, the sum of (id + 1) · c^(n - position) modulo 2^64, c odd."""
        left = np.repeat(self.offsets[1:], self.lengths) - np.arange(len(self.values))  # n - position
        terms = (self.values + 1).astype(np.uint64) * _HASH_STEP ** left.astype(np.uint64)
        sums = np.zeros(len(terms) + 1, dtype=np.uint64)
        np.cumsum(terms, out=sums[1:])
        return sums[self.offsets[1:]] - sums[self.offsets[:-1]]


def edges(lengths: IntArray) -> NDArray[np.int64]:
    """Return 0 and the cumulative sums of `lengths` (n + 1,): where rows of these lengths begin and end."""
    ends = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=ends[1:])
    return ends


def spans(starts: IntArray, lengths: IntArray) -> NDArray[np.int64]:
    """Return the concatenated ranges starts[i] .. starts[i]+lengths[i]-1."""
    begins = edges(lengths)
    return np.repeat(starts - begins[:-1], lengths) + np.arange(begins[-1])
