"""Copied rows: weighted means of translations' rows, against a loop in float64 and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import toys
from prealign.errors import LexiconError
from prealign.methods.alignment.states import tied
from prealign.methods.peers.copy_rows import CopiedRows
from prealign.methods.vocabulary.anchored import LexiconAnchors

ROWS, SOURCES = 14, 6  # rows 6 .. 11 are a target's, 12 and 13 pad the model


def anchors(words: Any, **settings: Any) -> LexiconAnchors:
    counts = {"en": np.repeat([50, 0], SOURCES), "de": np.repeat([0, 50], SOURCES)}
    return LexiconAnchors(words, counts, ["en", "de"], **settings)


@pytest.fixture(params=["untied", "tied", "gpt2"])
def model(request: pytest.FixtureRequest) -> Any:
    return toys.gpt2(rows=ROWS) if request.param == "gpt2" else toys.llama(rows=ROWS, tied=request.param == "tied")


def embeddings(model: Any) -> list[torch.Tensor]:
    return [head.weight.detach().double() for head in (model.get_input_embeddings(), model.get_output_embeddings())]


def test_rows_worked_by_hand(model: Any) -> None:
    """Pairs weigh 2 and 1, so in one round of EM token 8 has 2/3 of 1 and 1/3 of 2; token 9 has 3 and 4 in halves."""
    words = toys.forms([[0], [7]], [[1], [8]], [[2], [8]], [[3, 4], [9]], count=[1, 4, 1, 1])
    before, was_tied = [rows.clone() for rows in embeddings(model)], tied(model)
    CopiedRows(anchors(words, em_rounds=1)).apply(model, fresh=True)
    for old, new in zip(before, embeddings(model), strict=True):
        torch.testing.assert_close(new[7], old[0])
        torch.testing.assert_close(new[8], 2 / 3 * old[1] + 1 / 3 * old[2], rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(new[9], (old[3] + old[4]) / 2, rtol=1e-6, atol=1e-7)
        kept = [*range(7), *range(10, ROWS)]
        assert torch.equal(new[kept], old[kept]), "source rows and rows that no pair covers"
    assert tied(model) == was_tied


def test_rows_equal_a_loop_over_m() -> None:
    generator = np.random.default_rng(0)
    groups = [
        [generator.integers(0, 6, generator.integers(1, 4)), generator.integers(6, 12, generator.integers(1, 4))]
        for _ in range(20)
    ]
    own, model = anchors(toys.forms(*groups)), toys.llama(rows=ROWS).double()
    shares, expected = own.estimate()[0].toarray(), [rows.clone() for rows in embeddings(model)]
    for rows in expected:
        for row in range(12):
            if shares[row].any():
                rows[row] = sum(float(share) * rows[source] for source, share in enumerate(shares[row, :6]))
    CopiedRows(own).apply(model, fresh=True)
    for rows, found in zip(expected, embeddings(model), strict=True):
        torch.testing.assert_close(found, rows, rtol=1e-12, atol=1e-12)


def test_copied_rows_are_free_and_nothing_is_exported(model: Any) -> None:
    words = toys.forms([[0], [7]])
    names = [name for name, _ in model.named_parameters()]
    start = CopiedRows(anchors(words))
    start.apply(model, fresh=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    ids = torch.tensor([[0, 1, 2, 0, 3]])
    model(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    trained = [rows.clone() for rows in embeddings(model)]
    start.export(model)
    assert [name for name, _ in model.named_parameters()] == names
    assert all(torch.equal(*rows) for rows in zip(trained, embeddings(model), strict=True))
    assert not torch.equal(trained[0][0], trained[0][7]), "a gradient of the source row does not move its twin"


def test_a_lexicon_that_reaches_no_target_row_is_refused() -> None:
    with pytest.raises(LexiconError, match="no anchored token meets"):
        CopiedRows(anchors(toys.forms([[0], [1]]))).apply(toys.llama(rows=ROWS), fresh=True)
