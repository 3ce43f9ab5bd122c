"""Similarity of the representations of two languages, layer by layer: CKA, and its null under permuted sentences.

1. Take the states (L+1, N, D) of N parallel sentences in both languages (`prealign.evaluation.retrieval.sentences`).
2. Split the sentences into disjoint folds, drawn by seed. In a fold of n sentences, K and K' (n, n) are the similarities of
   the sentences within each language: X Xᵀ (linear), or exp(-d² / (2 s²)) with s the median distance (rbf).
3. CKA = H(K, K') / sqrt(H(K, K) · H(K', K')), with the debiased HSIC H of Song et al. (2012). It is 1 for spaces that differ
   by a rotation and a scale, and about 0 for unrelated ones. The biased HSIC is above 0 for any two spaces of few sentences.
4. The value of a layer is the mean over folds, with Student's t interval.
5. Null: the same mean with the sentences of one language permuted within each fold. p is the share of permutations, and
   the value itself, that are at least the value.

Muller et al. (2021) compare languages by CKA with the biased HSIC on windows that overlap by three quarters. Their numbers
are higher, and their intervals too narrow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from prealign.errors import DataError, DivergedError
from prealign.evaluation.statistics import seed_interval

# L layers, N sentences, F folds, n sentences of a fold, D width

Kernel = Literal["linear", "rbf"]
FloatArray = NDArray[np.float64]
LEAST = 8
"""Sentences in a fold: the debiased HSIC needs four, and few more are no measurement."""


@dataclass(frozen=True)
class LayerSimilarity:
    """CKA of a layer: mean over folds, its 95 % interval, mean and 95th percentile of the null, and p of the null."""

    layer: int
    value: float
    low: float | None
    high: float | None
    null: float
    null_high: float
    p: float


def layer_similarities(
    source: Any, target: Any, *, kernel: Kernel = "linear", folds: int = 5, permutations: int = 200, seed: int = 0
) -> list[LayerSimilarity]:
    """Return the similarity of each layer of states (L+1, N, D) of both languages; row i of both is the same sentence.

    DataError if a fold has fewer than `LEAST` sentences; DivergedError for states that are not finite.
    """
    number = len(source[0])
    if number < folds * LEAST:
        raise DataError(
            f"{number:,} sentences are too few for {folds} folds: a fold needs {LEAST}. Give more, or fewer folds."
        )
    generator = np.random.default_rng(seed)
    parts = np.array_split(generator.permutation(number), folds)
    orders = [[generator.permutation(len(part)) for part in parts] for _ in range(permutations)]
    found = []
    for layer, (one, other) in enumerate(zip(source, target, strict=True)):
        sides = [np.asarray(side, dtype=np.float64) for side in (one, other)]
        if not all(np.isfinite(side).all() for side in sides):
            raise DivergedError(f"the states of layer {layer} are not finite: the model has diverged.")
        pairs = [(_centred(sides[0][part], kernel), _centred(sides[1][part], kernel)) for part in parts]
        interval = seed_interval([_cka(*pair) for pair in pairs])
        null = np.array(
            [np.mean([_cka(*pair, order) for pair, order in zip(pairs, own, strict=True)]) for own in orders]
        )
        p = (1 + (null >= interval.value).sum()) / (1 + permutations)
        found.append(LayerSimilarity(layer, *interval, float(null.mean()), float(np.quantile(null, 0.95)), float(p)))
    return found


def debiased_hsic(one: FloatArray, other: FloatArray) -> float:
    """Return the debiased HSIC of similarities (n, n) (Song et al. 2012, equation 5); their diagonals are of no account."""
    return _inner(_without_diagonal(one), _without_diagonal(other))


def _centred(states: FloatArray, kernel: Kernel) -> tuple[FloatArray, float]:
    """Return the similarities of states (n, D) without their diagonal, and the debiased HSIC with themselves."""
    similarities = _without_diagonal(_similarities(states, kernel))
    return similarities, _inner(similarities, similarities)


def _similarities(states: FloatArray, kernel: Kernel) -> FloatArray:
    centred = states - states.mean(0)
    products = centred @ centred.T
    if kernel == "linear":
        return products
    lengths = products.diagonal()
    distances = np.maximum(lengths[:, None] + lengths - 2 * products, 0)
    scale = np.median(distances[~np.eye(len(states), dtype=bool)])
    return np.exp(-distances / (2 * scale)) if scale > 0 else np.ones_like(distances)


def _without_diagonal(similarities: FloatArray) -> FloatArray:
    return similarities - np.diag(similarities.diagonal())


def _inner(one: FloatArray, other: FloatArray) -> float:
    n = len(one)
    trace = (one * other).sum()  # both are symmetric
    sums = one.sum() * other.sum() / ((n - 1) * (n - 2))
    cross = 2 * one.sum(0) @ other.sum(0) / (n - 2)
    return float((trace + sums - cross) / (n * (n - 3)))


def _cka(
    one: tuple[FloatArray, float], other: tuple[FloatArray, float], order: NDArray[np.int64] | None = None
) -> float:
    (own, length), (others, other_length) = one, other
    if min(length, other_length) <= 0:  # all sentences have one state
        return 0.0
    return _inner(own, others if order is None else others[np.ix_(order, order)]) / (length * other_length) ** 0.5
