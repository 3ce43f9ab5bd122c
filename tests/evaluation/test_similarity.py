"""Similarity of representations: known spaces, the debiased HSIC against its definition, and its null."""

from __future__ import annotations

from itertools import permutations
from math import factorial

import numpy as np
import pytest
from scipy.stats import ortho_group

from prealign.errors import DataError, DivergedError
from prealign.evaluation.probes.similarity import Kernel, debiased_hsic, layer_similarities

KERNELS: tuple[Kernel, ...] = ("linear", "rbf")


def states(layers: int = 1, sentences: int = 200, width: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(layers, sentences, width))


@pytest.mark.parametrize("kernel", KERNELS)
def test_rotated_scaled_and_shifted_spaces_are_the_same(kernel: Kernel) -> None:
    one = states(2)
    other = 3.0 * one @ ortho_group.rvs(6, random_state=0) + 5.0
    for layer in layer_similarities(one, other, kernel=kernel, permutations=50):
        assert layer.value == pytest.approx(1.0, abs=1e-9) and layer.p == pytest.approx(1 / 51)
        assert abs(layer.null) < 0.05 < 0.5 > layer.null_high


@pytest.mark.parametrize("kernel", KERNELS)
def test_permuted_sentences_are_their_null(kernel: Kernel) -> None:
    one = states(40)
    order = np.random.default_rng(1).permutation(200)
    found = layer_similarities(one, one[:, order], kernel=kernel, permutations=100)
    assert np.mean([layer.p < 0.05 for layer in found]) < 0.2, "p is uniform"
    values = np.array([layer.value for layer in found])
    assert abs(values.mean()) < 3 * values.std() / len(found) ** 0.5 + 0.005, "debiased: the mean is 0"
    within = [layer.low <= 0 <= layer.high for layer in found if layer.low is not None and layer.high is not None]
    assert np.mean(within) > 0.8


def test_half_related_spaces_are_in_between_and_grow_with_the_share() -> None:
    one, noise = states(1, 400), states(1, 400, seed=2)
    values = [layer_similarities(one, one + scale * noise, permutations=20)[0].value for scale in (0.3, 1.0, 3.0)]
    assert 1 > values[0] > values[1] > values[2] > 0


def test_the_debiased_hsic_is_its_definition() -> None:
    """The mean over all ordered quadruples of K_ij L_ij + K_ij L_kl - 2 K_ij L_ik (Song et al. 2012, equation 4)."""
    generator, n = np.random.default_rng(3), 6
    one, other = (half @ half.T for half in generator.normal(size=(2, n, 3)))
    total = 0.0
    for i, j, k, m in permutations(range(n), 4):
        total += one[i, j] * (other[i, j] + other[k, m] - 2 * other[i, k])
    assert debiased_hsic(one, other) == pytest.approx(total * factorial(n - 4) / factorial(n), rel=1e-9)


def test_one_state_for_all_sentences_is_similar_to_nothing() -> None:
    (layer,) = layer_similarities(np.ones((1, 40, 3)), states(1, 40, 3), permutations=5)
    assert layer.value == 0 and layer.p == 1


def test_too_few_sentences_and_states_that_are_not_finite_are_refused() -> None:
    with pytest.raises(DataError, match="39 sentences are too few for 5 folds"):
        layer_similarities(states(1, 39), states(1, 39))
    broken = states()
    broken[0, 3, 1] = np.nan
    with pytest.raises(DivergedError, match="layer 0"):
        layer_similarities(states(), broken)
