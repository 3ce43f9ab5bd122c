"""Subword vectors: counts and PPMI against loops, the mapping against known rotations, and an estimate of the work."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, svds

import prealign.methods.vocabulary.vectors as vectors_module
from prealign.methods.vocabulary.crosslingual import common_space, identical_seeds
from prealign.methods.vocabulary.vectors import (
    LanguageVectors,
    cooccurrences,
    language_vectors,
    making_flops,
    mutual_neighbours,
    normalised,
    orthogonal_map,
    ppmi,
    self_learned_map,
    singular_vectors,
)
from prealign.text.ragged import Ragged

documents = st.lists(st.lists(st.integers(0, 6), max_size=12), min_size=1, max_size=5)


def naive_counts(texts: list[list[int]], window: int) -> np.ndarray:
    counts = np.zeros((7, 7))
    for text in texts:
        for i, one in enumerate(text):
            for j, other in enumerate(text):
                if i != j and abs(i - j) <= window:
                    counts[one, other] += 1
    return counts


def arrays(texts: list[list[int]]) -> list[np.ndarray]:
    return [np.array(text, dtype=np.int32) for text in texts]


@settings(deadline=None)
@given(documents, st.integers(1, 15))
def test_counts_equal_a_loop_and_never_cross_documents(texts: list[list[int]], window: int) -> None:
    found = cooccurrences(arrays(texts), 7, window).toarray()
    np.testing.assert_array_equal(found, naive_counts(texts, window))


@settings(deadline=None)
@given(documents)
def test_ppmi_equals_a_loop(texts: list[list[int]]) -> None:
    counts = naive_counts(texts, 3)
    smoothed = [sum(row) ** 0.75 for row in counts]
    expected = np.zeros((7, 7))
    for a, b in zip(*np.nonzero(counts), strict=True):
        joint, first, second = counts[a, b] / counts.sum(), counts[a].sum() / counts.sum(), smoothed[b] / sum(smoothed)
        expected[a, b] = max(0.0, math.log(joint / (first * second)))
    np.testing.assert_allclose(ppmi(sparse.csr_matrix(counts)).toarray(), expected, rtol=1e-9, atol=1e-12)


def test_ppmi_worked_by_hand() -> None:
    """Tokens 0 and 1 meet 4 times, 2 meets itself 16 times: p = 1/6 each way, and contexts go as 4^0.75, 4^0.75, 16^0.75."""
    found = ppmi(sparse.csr_matrix([[0.0, 4, 0], [4, 0, 0], [0, 0, 16]])).toarray()
    context = 4**0.75 / (2 * 4**0.75 + 16**0.75)
    assert found[0, 1] == found[1, 0] == pytest.approx(math.log(1 / context))
    assert found[2, 2] == pytest.approx(math.log((2 * 4**0.75 + 16**0.75) / 16**0.75))
    assert np.count_nonzero(found) == 3


def test_vectors_give_back_the_matrix_and_are_the_same_again() -> None:
    generator = np.random.default_rng(0)
    half = generator.normal(size=(30, 4))
    matrix = sparse.csr_matrix(half @ half.T)
    found = singular_vectors(matrix, 6)
    np.testing.assert_allclose(found @ found.T, half @ half.T, atol=1e-6)
    np.testing.assert_array_equal(found, singular_vectors(matrix, 6))
    assert not singular_vectors(matrix[:3, :3], 6)[:, 2:].any(), "three tokens have at most two vectors"


def test_the_map_is_the_rotation_of_the_pairs() -> None:
    generator = np.random.default_rng(0)
    rotation = np.linalg.qr(generator.normal(size=(5, 5)))[0]
    source = generator.normal(size=(40, 5))
    np.testing.assert_allclose(orthogonal_map(source @ rotation.T, source), rotation, atol=1e-12)
    noisy = orthogonal_map(source @ rotation.T + generator.normal(size=source.shape), source)
    np.testing.assert_allclose(noisy @ noisy.T, np.eye(5), atol=1e-12)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 4), st.integers(0, 99))
def test_mutual_neighbours_equal_a_loop(sources: int, targets: int, k: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    x, y = normalised(generator.normal(size=(sources, 3))), normalised(generator.normal(size=(targets, 3)))
    cosines = [[float(a @ b) for b in y] for a in x]
    of_source = [np.mean(sorted(row)[-k:]) for row in cosines]
    of_target = [np.mean(sorted(column)[-k:]) for column in zip(*cosines, strict=True)]
    score = np.array(
        [[2 * cosines[i][j] - of_source[i] - of_target[j] for j in range(targets)] for i in range(sources)]
    )
    expected = [(i, int(j)) for i, j in enumerate(score.argmax(1)) if score[:, j].argmax() == i]
    assert [*zip(*(rows.tolist() for rows in mutual_neighbours(x, y, k)), strict=True)] == expected


def test_self_learning_turns_a_few_seeds_into_the_whole_map() -> None:
    generator = np.random.default_rng(0)
    rotation = np.linalg.qr(generator.normal(size=(20, 20)))[0]
    source = normalised(generator.normal(size=(300, 20)))
    target = normalised(source @ rotation.T + 0.05 * generator.normal(size=source.shape))
    hits = []
    for rounds in (0, 1, 3):
        found = self_learned_map(target, source, (target[:12], source[:12]), candidates=300, rounds=rounds)
        hits.append(float(((target @ found @ source.T).argmax(1) == np.arange(300)).mean()))
    assert hits[0] < hits[1] <= hits[2] and hits[0] < 0.7 and hits[2] > 0.95


def test_twins_of_disjoint_texts_meet_in_one_space() -> None:
    """A clone of 40 tokens whose text differs: 20 pairs are seeds, and the other 20 meet as well."""
    generator = np.random.default_rng(0)
    topics = generator.dirichlet(np.full(40, 0.1), 12)
    texts = [generator.choice(40, 60, p=topics[generator.integers(12)]) for _ in range(600)]
    made: dict[str, Any] = {
        language: language_vectors(own, 80, 10, window=3, minimum_count=5, tokens=10**6)
        for language, own in {"en": texts[:300], "en-clone": [text + 40 for text in texts[300:]]}.items()
    }
    place = {token: i for i, token in enumerate(made["en-clone"].tokens)}
    known = [(place[t + 40], i) for i, t in enumerate(made["en"].tokens) if t < 20]
    seeds = tuple(made[name].vectors[rows] for name, rows in zip(("en-clone", "en"), np.array(known).T, strict=True))
    rows, vectors = common_space(made, {"en-clone": seeds}, 80, candidates=100, rounds=2)
    assert rows.tolist() == [*range(80)]
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1)
    nearest = (vectors[60:] @ vectors[:40].T).argmax(1)
    assert (nearest == np.arange(20, 40)).mean() > 0.8


def test_a_shared_token_has_the_mean_of_its_vectors_by_frequency() -> None:
    axes = np.eye(3)
    source = LanguageVectors(np.array([0, 1, 2]), np.array([9, 6, 3]), axes)
    target = LanguageVectors(np.array([1, 2, 4]), np.array([2, 1, 5]), axes[[1, 0, 2]])
    assert [pair.tolist() for pair in identical_seeds(target, source)] == [axes[[1, 0]].tolist(), axes[[1, 2]].tolist()]
    seeds = {"de": (axes, axes)}  # the map is the identity
    rows, vectors = common_space({"en": source, "de": target}, seeds, 6, candidates=3, rounds=0)
    assert rows.tolist() == [0, 1, 2, 4]
    np.testing.assert_allclose(vectors, [[1, 0, 0], [0, 1, 0], [1 / 10**0.5, 0, 3 / 10**0.5], [0, 0, 1]], atol=1e-12)


def test_a_word_is_the_mean_of_its_tokens() -> None:
    own = LanguageVectors(np.array([2, 0]), np.array([3, 3]), np.eye(2))
    found = own.of_words(Ragged.of([[0], [0, 2], [5], [2, 9]]))
    np.testing.assert_allclose(found, [[0, 1], [0.5**0.5, 0.5**0.5], [0, 0], [1, 0]])


def test_reads_so_many_tokens_and_keeps_the_frequent() -> None:
    texts = [np.array([1, 2, 1, 3]), np.array([2, 1, 2, 4, 4, 4])]
    found = language_vectors(texts, 6, 2, window=2, minimum_count=2, tokens=7)
    assert found.tokens.tolist() == [1, 2] and found.counts.tolist() == [3, 3], "4 is beyond the seventh token"


@pytest.mark.parametrize(("size", "width"), [(300, 8), (900, 64)])
def test_the_estimate_is_an_upper_one(size: int, width: int) -> None:
    generator, products = np.random.default_rng(0), []
    share = 1 / np.arange(1, size + 1)
    texts = [generator.choice(size, 200, p=share / share.sum()) for _ in range(100)]
    matrix = ppmi(cooccurrences(texts, size, 4))

    def product(own: Any) -> Any:
        return lambda vector: products.append(1) or own @ vector

    counted = LinearOperator(matrix.shape, matvec=product(matrix), rmatvec=product(matrix.T), dtype=float)
    svds(counted, width, v0=generator.normal(size=size))
    spent = len(products) * 2 * matrix.nnz
    assert spent < making_flops(20_000, size, width, 4) < 20 * spent


def test_equal_text_has_its_vectors_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seeds and arms that read the same text share the work; other text, or another setting, is other work."""
    made: list[int] = []
    once = vectors_module.singular_vectors

    def counted(matrix: Any, width: int) -> np.ndarray:
        made.append(width)
        return once(matrix, width)

    monkeypatch.setattr(vectors_module, "singular_vectors", counted)
    generator = np.random.default_rng(5)
    texts = [generator.integers(0, 9, 30) for _ in range(6)]

    def vectors(read: list[np.ndarray], width: int = 3) -> np.ndarray:
        return language_vectors(iter(read), 9, width, window=2, minimum_count=1, tokens=1000).vectors

    first = vectors(texts)
    assert vectors([ids.copy() for ids in texts]) is first and made == [3]
    vectors(texts, 4)
    vectors([np.concatenate(texts[:2]), *texts[2:]])
    assert made == [3, 4, 3], "documents that end elsewhere are another text"
