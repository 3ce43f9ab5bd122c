"""Tied ids: which pairs are one-to-one, against a loop and by hand, and rows that stay tied while they train."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import toys
from prealign.errors import LexiconError
from prealign.methods.peers.tied_ids import TiedRows, one_to_one
from prealign.methods.vocabulary.anchored import LexiconAnchors

ROWS, SOURCES = 14, 6
LANGUAGE = np.repeat([-1, 0, 1], [6, 4, 2])  # six source tokens, four of German, two of Czech

word = st.lists(st.integers(0, 11), min_size=1, max_size=2)


def arrays(pairs: list[tuple[list[int], list[int]]]) -> list[tuple[np.ndarray, np.ndarray, float]]:
    return [(np.array(s), np.array(t), 1.0) for s, t in pairs]


@given(st.lists(st.tuples(word, word), min_size=1, max_size=14))
def test_equals_a_loop_over_pairs(pairs: list[tuple[list[int], list[int]]]) -> None:
    single = {(s[0], t[0]) for s, t in pairs if len(s) == len(t) == 1 and LANGUAGE[s[0]] < 0 and LANGUAGE[t[0]] >= 0}
    expected = np.zeros((12, 12))
    for s, t in single:
        others = [
            pair for pair in single - {(s, t)} if pair[1] == t or (pair[0] == s and LANGUAGE[pair[1]] == LANGUAGE[t])
        ]
        expected[t, s] = not others
    if expected.any():
        np.testing.assert_array_equal(one_to_one(arrays(pairs), LANGUAGE).toarray(), expected)
    else:
        with pytest.raises(LexiconError, match="none of the lexicon's"):
            one_to_one(arrays(pairs), LANGUAGE)


def test_pairs_worked_by_hand() -> None:
    pairs = [([0], [6]), ([0], [10]), ([1], [7]), ([1], [8]), ([2], [9]), ([3], [9]), ([4, 5], [11])]
    found = one_to_one(arrays(pairs), LANGUAGE).toarray()
    assert np.argwhere(found).tolist() == [[6, 0], [10, 0]], "one partner in each language; 7, 8 and 9 have rivals"
    assert found.sum() == 2


@pytest.fixture(params=["untied", "tied", "gpt2"])
def model(request: pytest.FixtureRequest) -> Any:
    return toys.gpt2(rows=ROWS) if request.param == "gpt2" else toys.llama(rows=ROWS, tied=request.param == "tied")


def test_rows_stay_tied_but_for_the_vector_of_their_language(model: Any) -> None:
    counts = {"en": 50 * (LANGUAGE < 0), "de": 50 * (LANGUAGE == 0), "cs": 50 * (LANGUAGE == 1)}
    words = toys.forms([[0], [6], [10]], [[1], [7]], [[2, 3], [8]])
    start = TiedRows(LexiconAnchors(words, counts, ["en", "de", "cs"]))
    start.apply(model.eval(), fresh=False)
    rows = model.get_input_embeddings().weight.detach()
    assert torch.equal(rows[6], rows[0]) and torch.equal(rows[10], rows[0]) and torch.equal(rows[7], rows[1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    ids = torch.tensor([[0, 6, 1, 7, 2, 10, 8, 3]])
    for _ in range(3):
        optimizer.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
    trained = model(input_ids=ids).logits.detach()
    start.export(model)
    torch.testing.assert_close(model(input_ids=ids).logits.detach(), trained)
    for head in (model.get_input_embeddings(), model.get_output_embeddings()):
        rows = head.weight.detach()
        vector = rows[6] - rows[0]
        assert vector.abs().max() > 1e-3
        torch.testing.assert_close(rows[7] - rows[1], vector, rtol=1e-4, atol=1e-6)
        assert not torch.allclose(rows[10] - rows[0], vector, atol=1e-4), "each language has its vector"
