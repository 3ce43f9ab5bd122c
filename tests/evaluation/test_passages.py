"""Passages: where they begin, from which documents they come, how they are drawn."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prealign.errors import DataError
from prealign.evaluation.transfer.passages import document_class, documents_by_class, passage_spans, round_robin

ERAS = "(?P<early>17|18[0-5])|(?P<middle>18[6-9]|19[01])|(?P<late>19[2-9]|20)"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("1790-Washington-1.txt", "early"),
        ("1820-Monroe-4.txt", "early"),
        ("1860-Buchanan-4.txt", "middle"),
        ("1919-Wilson-7.txt", "middle"),
        ("1920-Wilson-8.txt", "late"),
        ("2020-Trump-4.txt", "late"),
        ("undated.txt", None),
    ],
)
def test_the_class_is_the_group_that_matched(name: str, expected: str | None) -> None:
    assert document_class(ERAS, name) == expected


def test_documents_without_a_class_are_left_out() -> None:
    found = documents_by_class(["1790", "none", "1900", "1990", "1791"], ERAS, "test documents in en")
    assert found == {"early": [0, 4], "middle": [2], "late": [3]}


@pytest.mark.parametrize(
    ("names", "pattern", "expected"),
    [
        (["a.txt"], ERAS, "matches none of the test documents in en, such as 'a.txt'"),
        (["1790", "1990"], ERAS, "none of the 2 test documents in en is of class middle"),
        (["ab"], "(?P<one>a)(?P<two>b)", "'ab' matches the classes one and two"),
    ],
)
def test_what_is_wrong_with_classes(names: list[str], pattern: str, expected: str) -> None:
    with pytest.raises(DataError) as caught:
        documents_by_class(names, pattern, "test documents in en")
    assert expected in str(caught.value)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60), st.integers(2, 9))
def test_passages_begin_at_words_are_disjoint_and_hold_no_separator(
    marks: list[tuple[bool, bool]], tokens: int
) -> None:
    starts = np.array([start for start, _ in marks], dtype=bool)
    ids = np.array([0 if separator else 7 for _, separator in marks], dtype=np.int64)
    spans = passage_spans(ids, starts, tokens, separator=0)
    assert all(
        starts[begin] and end - begin == tokens <= len(ids) and (ids[begin:end] == 7).all() for begin, end in spans
    )
    assert all(end <= begin for (_, end), (begin, _) in pairwise(spans))
    greedy, at = [], 0  # one token at a time
    while at + tokens <= len(ids):
        if starts[at] and (ids[at : at + tokens] == 7).all():
            greedy.append((at, at + tokens))
            at += tokens
        else:
            at += 1
    assert spans == greedy


@given(st.lists(st.integers(0, 6), min_size=1, max_size=8), st.integers(0, 30), st.integers(0, 5))
def test_documents_are_drawn_in_turn(available: list[int], number: int, seed: int) -> None:
    drawn = round_robin(available, number, np.random.default_rng(seed))
    assert len(set(drawn)) == len(drawn) == min(number, sum(available))
    counts = Counter(document for document, _ in drawn)
    fullest = max(counts.values(), default=0)
    assert all(counts[d] == n or counts[d] >= fullest - 1 for d, n in enumerate(available))
    assert all(passage < available[document] for document, passage in drawn)
