from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from prealign.text.ragged import Ragged, edges, spans

ROWS = st.lists(st.lists(st.integers(0, 300_000), max_size=6), max_size=12)


def naive_hash(row: list[int]) -> int:
    value = 0
    for token in row:
        value = (value + token + 1) * 0x9E3779B97F4A7C15 % 2**64
    return value


@given(ROWS)
def test_rows_come_back_as_they_went_in(rows: list[list[int]]) -> None:
    ragged = Ragged.of(rows)
    assert len(ragged) == len(rows)
    assert [row.tolist() for row in ragged] == rows
    assert [ragged[i].tolist() for i in range(len(rows))] == rows
    assert ragged.lengths.tolist() == [len(row) for row in rows]


@given(ROWS, st.data())
def test_take_is_a_list_of_rows(rows: list[list[int]], data: st.DataObject) -> None:
    index = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=20)) if rows else []
    taken = Ragged.of(rows).take(np.array(index, dtype=np.int64))
    assert [row.tolist() for row in taken] == [rows[i] for i in index]


@given(ROWS, st.lists(st.integers(0, 9), max_size=3))
def test_every_row_gets_the_end(rows: list[list[int]], end: list[int]) -> None:
    ended = Ragged.of(rows).with_ends(np.array(end, dtype=np.int64))
    assert [row.tolist() for row in ended] == [row + end for row in rows]


@given(ROWS)
def test_hashes_are_the_written_recurrence(rows: list[list[int]]) -> None:
    assert Ragged.of(rows).hashes().tolist() == [naive_hash(row) for row in rows]


def test_hashes_tell_near_rows_apart() -> None:
    rows = [[], [0], [0, 0], [1], [0, 1], [1, 0], [2], [1, 1], [256, 0], [0, 256]]
    assert len(set(Ragged.of(rows).hashes().tolist())) == len(rows)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 5)), max_size=10))
def test_spans_are_the_joined_ranges(pairs: list[tuple[int, int]]) -> None:
    starts = np.array([start for start, _ in pairs], dtype=np.int64)
    lengths = np.array([length for _, length in pairs], dtype=np.int64)
    assert spans(starts, lengths).tolist() == [i for start, n in pairs for i in range(start, start + n)]


@given(st.lists(st.integers(0, 9), max_size=10))
def test_edges_are_running_sums(lengths: list[int]) -> None:
    expected = [sum(lengths[:i]) for i in range(len(lengths) + 1)]
    assert edges(np.array(lengths, dtype=np.int64)).tolist() == expected
