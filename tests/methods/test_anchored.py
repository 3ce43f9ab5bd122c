"""The anchored vocabulary: its estimation against a dictionary-loop IBM model 1, and its algebra in a model."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from transformers import AutoModelForCausalLM

import toys
from prealign.errors import LexiconError
from prealign.methods.alignment.states import encoded_word_states, tied
from prealign.methods.vocabulary.anchored import (
    anchor_vocabulary,
    anchored_languages,
    estimate_anchors,
    word_pairs,
)
from prealign.methods.vocabulary.parametrised import export_plain

Pair = tuple[list[int], list[int], float]


def arrays(pairs: list[Pair]) -> list[tuple[np.ndarray, np.ndarray, float]]:
    return [(np.array(s), np.array(t), w) for s, t, w in pairs]


def naive_em(pairs: list[Pair], anchored: set[int], rounds: int) -> dict[int, dict[int, float]]:
    """IBM model 1 with dictionaries: expected counts of target <- source, rows normalised."""
    pairs = [([s for s in ss if s not in anchored], [t for t in ts if t in anchored], w) for ss, ts, w in pairs]
    translation: dict[tuple[int, int], float] = defaultdict(lambda: 1.0)
    counts: dict[tuple[int, int], float] = {(t, s): 1.0 for ss, ts, _ in pairs for t in ts for s in ss}
    for _ in range(rounds):
        counts = defaultdict(float)
        for ss, ts, w in pairs:
            for t in ts:
                total = sum(translation[t, s] for s in ss)
                for s in ss:
                    counts[t, s] += w * translation[t, s] / total
        sums: dict[int, float] = defaultdict(float)
        for (_, s), count in counts.items():
            sums[s] += count
        translation = defaultdict(float, {(t, s): count / sums[s] for (t, s), count in counts.items()})
    rows: dict[int, dict[int, float]] = defaultdict(dict)
    for (t, s), count in counts.items():
        rows[t][s] = count
    return {t: {s: c / sum(row.values()) for s, c in row.items()} for t, row in rows.items()}


token = st.integers(0, 11)
pair_lists = st.lists(
    st.tuples(st.lists(token, min_size=1, max_size=4), st.lists(token, min_size=1, max_size=4), st.floats(0.5, 9)),
    min_size=1,
    max_size=8,
)


@settings(max_examples=80, deadline=None)
@given(pair_lists, st.sets(token), st.integers(1, 4))
def test_equals_a_dictionary_loop(pairs: list[Pair], anchored: set[int], rounds: int) -> None:
    flags = np.isin(np.arange(12), list(anchored))
    expected = naive_em(pairs, anchored, rounds)
    if not expected:
        with pytest.raises(LexiconError, match="no anchored token meets"):
            estimate_anchors(arrays(pairs), flags, rounds=rounds)
        return
    found = estimate_anchors(arrays(pairs), flags, rounds=rounds, sources_per_row=12).toarray()
    dense = np.zeros((12, 12))
    for t, row in expected.items():
        for s, share in row.items():
            dense[t, s] = share
    np.testing.assert_allclose(found, dense, rtol=1e-9, atol=1e-15)


@settings(max_examples=80, deadline=None)
@given(pair_lists, st.sets(token, min_size=1), st.integers(1, 3))
def test_rows_are_shares_of_the_heaviest_free_sources(pairs: list[Pair], anchored: set[int], keep: int) -> None:
    flags = np.isin(np.arange(12), list(anchored))
    if not naive_em(pairs, anchored, 2):
        return
    full = estimate_anchors(arrays(pairs), flags, rounds=2, sources_per_row=12).toarray()
    cut = estimate_anchors(arrays(pairs), flags, rounds=2, sources_per_row=keep).toarray()
    covered = full.any(1)
    np.testing.assert_allclose(cut[covered].sum(1), 1, rtol=1e-12)
    assert not cut[~covered].any() and not covered[~flags].any(), "only anchored rows are tied"
    assert not cut[:, flags].any(), "anchored tokens are no sources"
    for row in np.flatnonzero(covered):
        kept = np.flatnonzero(cut[row])
        assert len(kept) == min(keep, np.count_nonzero(full[row]))
        left_out = np.setdiff1d(np.arange(12), kept)
        assert full[row, kept].min() >= full[row, left_out].max() - 1e-12
        np.testing.assert_allclose(cut[row, kept], full[row, kept] / full[row, kept].sum(), rtol=1e-9)


def test_a_clone_dictionary_comes_close_to_the_twin_map() -> None:
    # 300 words of 1 to 3 of 40 subwords, each word translating into its twins: more rounds, nearer to the identity.
    generator, size = np.random.default_rng(0), 40
    ids = [generator.integers(0, size, generator.integers(1, 4)) for _ in range(300)]
    pairs = [(word, word + size, 1.0) for word in ids]
    anchored = np.arange(2 * size) >= size
    share = [
        estimate_anchors(pairs, anchored, rounds=rounds).toarray()[np.arange(size) + size, np.arange(size)]
        for rounds in (1, 3, 10)
    ]
    assert share[0].mean() < share[1].mean() < share[2].mean()
    assert share[1].min() > 0.6 and share[2].mean() > 0.95


def test_pairs_weigh_by_the_square_root_of_frequency() -> None:
    words = toys.forms([[1], [2, 3], [4]], [[5, 6], [7]], count=[9, 2])
    found = [(s.tolist(), t.tolist(), w) for s, t, w in word_pairs(words)]
    assert found == [([1], [2, 3], 3.0), ([1], [4], 3.0), ([5, 6], [7], pytest.approx(2**0.5))]


def test_anchored_are_the_tokens_far_more_frequent_in_a_target() -> None:
    source = np.array([999, 100, 0, 0, 0])
    targets = np.array([[0, 50, 30, 20, 0], [0, 0, 0, 90, 10]])
    # (count + 1) / 1100 against shares: token 1 is 0.5 against 0.092, the others have 1/1100.
    assert anchored_languages(source, targets, 20.0).tolist() == [-1, -1, 0, 1, 1]
    assert anchored_languages(source, targets, 5.0).tolist() == [-1, 0, 0, 1, 1]


def anchors(size: int = 12) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Tokens 6..9 anchored to 0..3 in language 0, token 10 to 4 and 5 in language 1; 11 is anchored but not covered."""
    matrix = np.zeros((size, size))
    matrix[np.arange(6, 10), np.arange(4)] = 1
    matrix[10, [4, 5]] = 0.25, 0.75
    return sparse.csr_matrix(matrix), np.array([-1] * 6 + [0] * 4 + [1, 1] + [-1] * (size - 12))


@pytest.fixture(params=["untied", "tied", "gpt2"])
def model(request: pytest.FixtureRequest) -> Any:
    made = toys.gpt2(rows=15) if request.param == "gpt2" else toys.llama(rows=15, tied=request.param == "tied")
    return made.eval()  # 15 rows for 12 ids: padded as real models are


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.arange(12)[None]).logits


def embeddings(model: Any) -> list[torch.Tensor]:
    return [model.get_input_embeddings().weight.detach(), model.get_output_embeddings().weight.detach()]


def test_a_fresh_anchor_is_the_product(model: Any) -> None:
    before = [rows.clone() for rows in embeddings(model)]
    was_tied = tied(model)
    anchor_vocabulary(model, *anchors(), fresh=True)
    assert tied(model) == was_tied
    for old, new in zip(before, embeddings(model), strict=True):
        torch.testing.assert_close(new[6:10], old[:4])
        torch.testing.assert_close(new[10], 0.25 * old[4] + 0.75 * old[5])
        assert torch.equal(new[:6], old[:6]) and torch.equal(new[11:], old[11:]), "free rows stay"


@pytest.mark.parametrize("rate", [1.0, 0.1])
def test_anchoring_a_trained_model_changes_nothing(model: Any, rate: float) -> None:
    before = logits(model)
    anchor_vocabulary(model, *anchors(), rate=rate, fresh=False)
    torch.testing.assert_close(logits(model), before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rate", [1.0, 0.1])
def test_under_adam_the_residual_moves_at_its_rate(model: Any, rate: float) -> None:
    """Adam's first step is the learning rate in every coordinate that has a gradient; Delta's is rate times that."""
    anchor_vocabulary(model, *anchors(), rate=rate, fresh=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, eps=1e-12)
    states = encoded_word_states(model, torch.tensor([[6]]), torch.ones(1, dtype=torch.long))
    states[0].square().sum().backward()  # the input embedding of token 6, which token 0 anchors
    optimizer.step()
    rows = model.get_input_embeddings().weight.detach()
    vector = model.get_input_embeddings().parametrizations.weight[0].vectors.detach()[0]
    residual = rows[6] - rows[0] - vector
    torch.testing.assert_close(residual.abs(), torch.full_like(residual, rate * 1e-2), rtol=1e-3, atol=1e-7)


def test_a_gradient_that_moves_a_source_row_moves_its_twin(model: Any) -> None:
    anchor_vocabulary(model, *anchors(), fresh=True)
    before = [rows.clone() for rows in embeddings(model)]
    words = torch.tensor([[0], [4]])
    states = encoded_word_states(model, words, torch.ones(2, dtype=torch.long))
    states.square().sum().backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 0.1 * parameter.grad
    for old, new in zip(before, embeddings(model), strict=True):
        moved = new - old
        assert moved[0].any() and moved[4].any()
        torch.testing.assert_close(moved[6], moved[0])
        torch.testing.assert_close(moved[10], 0.25 * moved[4], rtol=1e-4, atol=1e-7)
        assert not moved[[1, 2, 3, 5, 7, 8, 9, 11, 12, 13, 14]].any()


def test_a_language_vector_moves_all_rows_of_its_language(model: Any) -> None:
    anchor_vocabulary(model, *anchors(), fresh=True)
    states = encoded_word_states(model, torch.tensor([[6]]), torch.ones(1, dtype=torch.long))
    states.square().sum().backward()
    parametrisation = model.get_input_embeddings().parametrizations.weight[0]
    assert parametrisation.vectors.shape == (2, toys.WIDTH)
    assert parametrisation.vectors.grad[0].any() and not parametrisation.vectors.grad[1].any()


def test_the_export_computes_what_was_trained(model: Any, tmp_path: Path) -> None:
    shapes = {name: p.shape for name, p in model.named_parameters()}
    was_tied, cls = tied(model), type(model)
    anchor_vocabulary(model, *anchors(), fresh=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    ids = torch.randint(0, 12, (4, 10), generator=torch.Generator().manual_seed(0))
    for _ in range(3):
        optimizer.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
    trained = logits(model)
    export_plain(model)
    torch.testing.assert_close(logits(model), trained)
    assert {name: p.shape for name, p in model.named_parameters()} == shapes and tied(model) == was_tied
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert type(loaded) is cls and tied(loaded) == was_tied
    torch.testing.assert_close(logits(loaded), trained)
