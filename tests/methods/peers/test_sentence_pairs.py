"""Pairs of sentences: their order, batches of ranks, mixtures of two, and tokens that translate each other."""

from __future__ import annotations

import numpy as np
import parallel_toy as toy
import torch
from hypothesis import given
from hypothesis import strategies as st

from prealign.methods.sentences.pairs import Partners, SentencePairs, mixed, side_by_side
from prealign.text.ragged import Ragged


def test_all_pairs_are_read_before_one_comes_again() -> None:
    data = toy.pairs(7, languages=("de", "fr"))
    assert len(data) == 14
    known = [(one.tolist(), other.tolist()) for pair in data.bitext.values() for one, other in zip(*pair, strict=True)]
    read = [(one.tolist(), other.tolist()) for one, other in zip(*data.at(np.arange(-14, 28)), strict=True)]
    assert sorted(read[:14]) == sorted(known) and read[:14] == read[14:28] == read[28:]
    assert read[:14] != known, "the languages are mixed"
    assert read != [
        (a.tolist(), b.tolist()) for a, b in zip(*SentencePairs(data.bitext, 1).at(np.arange(42)), strict=True)
    ]
    lengths = [len(side) for pair in known for side in pair]
    assert data.mean_tokens == np.mean(lengths)


@given(st.integers(0, 5), st.integers(1, 4), st.integers(1, 3))
def test_the_batches_of_ranks_are_that_of_one_process(step: int, size: int, ranks: int) -> None:
    data = toy.pairs()
    parts = [data.batch(step, rank, ranks, size) for rank in range(ranks)]
    whole = data.batch(step, 0, 1, ranks * size)
    for side in (0, 1):
        assert [ids.tolist() for part in parts for ids in part[side]] == [ids.tolist() for ids in whole[side]]


def test_two_pairs_become_one_worked_by_hand() -> None:
    sources = Ragged.of([[1], [2, 3], [4, 5, 6], [7, 8]])
    targets = Ragged.of([[11], [12], [13], [14]])
    turned = np.array([[True, False], [False, False]])
    found = mixed((sources, targets), turned, longest=4)
    assert [ids.tolist() for ids in found[0]] == [[2, 3, 1], [4, 5, 6]], "the second two have five tokens: one stays"
    assert [ids.tolist() for ids in found[1]] == [[11, 12], [13]], "alone on both sides"
    long = mixed((sources, targets), ~turned, longest=9)
    assert [ids.tolist() for ids in long[0]] == [[1, 2, 3], [7, 8, 4, 5, 6]]
    assert [ids.tolist() for ids in long[1]] == [[12, 11], [14, 13]]


def test_partners_are_the_tokens_that_translate_each_other() -> None:
    data, partners = toy.pairs(), Partners(toy.Inputs(), toy.ESTIMATE)  # type: ignore[arg-type]
    batch = side_by_side(*data.batch(0, 0, 1, 12))
    found, sides = partners.find(**batch), toy.sentences(batch)
    expected = torch.zeros_like(found)
    for s, i, j in np.ndindex(*found.shape):
        source, target = sides[s], sides[12 + s]
        if i < len(source) and j < len(target):
            expected[s, i, j] = toy.translates(source[i], target[j])
    assert torch.equal(found, expected) and 10 < int(found.sum()) < 60
