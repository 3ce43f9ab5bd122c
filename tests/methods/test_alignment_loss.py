"""The loss against a naive double loop, a published library, and angles worked by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.losses import NTXentLoss  # type: ignore[import-untyped]
from torch import Tensor

from prealign.methods.alignment.loss import ExcludedPairs, WordAlignmentLoss


def naive(states: Tensor, groups: list[int], excluded: list[list[bool]], tau: float) -> float:
    """The loss of docs/method.md, stage 1, word for word in Python floats."""
    layers = []
    for h in states.double().tolist():
        norm = [math.sqrt(sum(x * x for x in row)) for row in h]

        def s(i: int, j: int, h: list[list[float]] = h, norm: list[float] = norm) -> float:
            return sum(a * b for a, b in zip(h[i], h[j], strict=True)) / norm[i] / norm[j] / tau

        anchors = []
        for i in range(len(groups)):
            others = [j for j in range(len(groups)) if j != i and not excluded[i][j]]
            negatives = sum(math.exp(s(i, n)) for n in others if groups[n] != groups[i])
            terms = [
                -math.log(math.exp(s(i, p)) / (math.exp(s(i, p)) + negatives)) for p in others if groups[p] == groups[i]
            ]
            if terms:
                anchors.append(sum(terms) / len(terms))
        layers.append(sum(anchors) / len(anchors) if anchors else 0.0)
    return sum(layers) / len(layers)


def random_states(layers: int, words: int, width: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(layers, words, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(
        dtype
    )


def angles(*degrees: float) -> Tensor:
    turned = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack([turned.cos(), turned.sin()], dim=-1)[None]  # (1, W, 2)


word_lists = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 7)), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(word_lists, st.sampled_from([0.07, 0.1, 1.0]), st.integers(1, 3), st.integers(0, 10**6))
def test_equals_the_naive_double_loop(words: list[tuple[int, int]], tau: float, layers: int, seed: int) -> None:
    groups, surfaces = (torch.tensor(column) for column in zip(*words, strict=True))
    states = random_states(layers, len(words), 5, seed)
    excluded = ExcludedPairs(groups, surfaces)
    loss = WordAlignmentLoss(tau)(states, groups, excluded)
    assert loss.item() == pytest.approx(naive(states, groups.tolist(), excluded[:].tolist(), tau), rel=1e-9, abs=1e-12)


def plain(states: Tensor, groups: Tensor, excluded: Tensor, tau: float) -> Tensor:
    """The same for autograd, with whole (W, W) matrices."""
    layers = []
    for h in torch.nn.functional.normalize(states, dim=-1):
        s = h @ h.T / tau
        others = ~(torch.eye(len(groups), dtype=torch.bool) | excluded)
        same = groups[:, None] == groups
        positive, negative = same & others, others & ~same
        push = torch.where(negative, s.exp(), 0).sum(1, keepdim=True)
        terms = torch.where(positive, -(s.exp() / (s.exp() + push)).log(), 0).sum(1) / positive.sum(1).clamp(min=1)
        layers.append(terms.sum() / positive.any(1).sum().clamp(min=1))
    return torch.stack(layers).mean()


@settings(max_examples=100, deadline=None)
@given(word_lists, st.integers(1, 150), st.integers(1, 3), st.integers(0, 10**6))
def test_in_tiles_of_any_size_values_and_gradients_are_those_of_whole_matrices(
    words: list[tuple[int, int]], tile: int, layers: int, seed: int
) -> None:
    groups, surfaces = (torch.tensor(column) for column in zip(*words, strict=True))
    states = random_states(layers, len(words), 5, seed).requires_grad_()
    excluded = ExcludedPairs(groups, surfaces)
    loss = WordAlignmentLoss(0.1, tile=tile)(states, groups, excluded)
    expected = plain(states, groups, excluded[:], 0.1)
    torch.testing.assert_close(loss, expected, rtol=1e-11, atol=1e-13)
    gradients = [torch.autograd.grad(3 * value, states)[0] for value in (loss, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("tile", [1, 700, 2**22])
def test_a_matrix_of_excluded_pairs_is_what_their_groups_and_surfaces_say(tile: int) -> None:
    generator = torch.Generator().manual_seed(0)
    groups, surfaces = (
        torch.randint(0, 40, (99,), generator=generator),
        torch.randint(0, 80, (99,), generator=generator),
    )
    excluded, loss = ExcludedPairs(groups, surfaces), WordAlignmentLoss(tile=tile)
    found = []
    for given_as in (excluded, excluded[:]):
        states = random_states(2, 99, 8, 1).requires_grad_()
        value = loss(states, groups, given_as)
        value.backward()
        found.append((value.detach(), states.grad))
    assert found[0][0] > 0 and torch.equal(found[0][0], found[1][0])
    assert found[0][1] is not None and found[1][1] is not None and torch.equal(found[0][1], found[1][1])


def test_pairs_may_be_excluded_in_one_direction_only() -> None:
    states, groups = random_states(2, 7, 4, 3).requires_grad_(), torch.tensor([0, 0, 0, 1, 1, 2, 2])
    excluded = torch.rand(7, 7, generator=torch.Generator().manual_seed(1)) < 0.3
    assert not torch.equal(excluded, excluded.T)
    losses = [WordAlignmentLoss(tile=20)(states, groups, excluded), plain(states, groups, excluded, 0.1)]
    gradients = [torch.autograd.grad(loss, states)[0] for loss in losses]
    torch.testing.assert_close(*losses, rtol=1e-11, atol=0)
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("temperature", [0.01, 1e-3])
def test_what_overflows_as_a_quotient_is_finite(temperature: float) -> None:
    # exp(1 / 0.001) is no float: group 0 is apart in its first layer and together in the second.
    states = torch.stack([angles(0, 180, 90, 91)[0], angles(0, 1, 180, 181)[0]]).float().requires_grad_()
    loss = WordAlignmentLoss(temperature)(states, torch.tensor([0, 0, 1, 1]))
    loss.backward()
    # In the first layer the anchors at 0 and 180 degrees see their positive at -1 and the nearest negative at 90 and 91.
    assert loss.item() == pytest.approx((1 + math.cos(math.radians(89)) + 1) / 4 / temperature / 2, rel=0.01)
    assert states.grad is not None and states.grad.isfinite().all() and states.grad.any()


@settings(max_examples=60, deadline=None)
@given(word_lists, st.integers(0, 12), st.integers(0, 12))
def test_excluded_pairs_equals_sets(words: list[tuple[int, int]], begin: int, size: int) -> None:
    groups, surfaces = (torch.tensor(column) for column in zip(*words, strict=True))
    surfaces_of = {g: {s for other, s in words if other == g} for g, _ in words}
    expected = [
        [si == sj or (gi != gj and bool(surfaces_of[gi] & surfaces_of[gj])) for gj, sj in words] for gi, si in words
    ]
    excluded = ExcludedPairs(groups, surfaces)
    assert excluded[:].tolist() == expected
    assert excluded[begin : begin + size].tolist() == expected[begin : begin + size]


@settings(max_examples=60, deadline=None)
@given(word_lists, st.sets(st.integers(0, 30)), st.integers(0, 8), st.integers(1, 8))
def test_some_forms_of_the_groups_are_excluded_as_all_forms_say(
    words: list[tuple[int, int]], left_out: set[int], begin: int, size: int
) -> None:
    kept = [i for i in range(len(words)) if i not in left_out]
    groups, surfaces = (torch.tensor(column) for column in zip(*words, strict=True))
    whole = ExcludedPairs(groups, surfaces)[:]
    some = ExcludedPairs(groups[kept], surfaces[kept], (groups, surfaces))
    assert some[begin : begin + size].tolist() == whole[kept][:, kept][begin : begin + size].tolist()


def test_two_groups_that_share_a_word_exclude_each_other_whole() -> None:
    # bank|Bank, bank's homograph shares "Bank"; house|Haus stands apart.
    groups, surfaces = torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([10, 11, 12, 11, 13, 14])
    excluded = ExcludedPairs(groups, surfaces)[:]
    assert excluded[:2, 2:4].all() and excluded[2:4, :2].all()
    assert not excluded[:4, 4:].any() and not excluded[0, 1] and not excluded[2, 3]


@pytest.mark.parametrize("tau", [0.05, 0.1, 0.5])
def test_equals_ntxent_of_pytorch_metric_learning_on_plain_pairs(tau: float) -> None:
    # Their loss averages over (anchor, positive) pairs; with pairs that is over anchors.
    groups = torch.arange(8).repeat(2)
    states = random_states(1, 16, 6, seed=3)
    theirs = NTXentLoss(temperature=tau)(states[0], groups)
    torch.testing.assert_close(WordAlignmentLoss(tau)(states, groups), theirs, rtol=1e-9, atol=0)


def test_angles_worked_by_hand() -> None:
    # Groups {0°, 60°} and {90°}: cos 60° = 1/2, cos 90° = 0, cos 30° = √3/2; the single word is no anchor.
    loss = WordAlignmentLoss(1.0)(angles(0, 60, 90), torch.tensor([0, 0, 1]))
    first = -math.log(math.exp(0.5) / (math.exp(0.5) + 1))
    second = -math.log(math.exp(0.5) / (math.exp(0.5) + math.exp(math.sqrt(3) / 2)))
    assert loss.item() == pytest.approx((first + second) / 2, rel=1e-12)


def test_several_positives_worked_by_hand() -> None:
    # Group {0°, 60°, 300°}, negative 180°: from 0° both positives are at cos 60°, from 60° one is at cos 120°.
    loss = WordAlignmentLoss(1.0)(angles(0, 60, 300, 180), torch.tensor([0, 0, 0, 1]))

    def term(positive: float, negative: float) -> float:
        return -math.log(math.exp(positive) / (math.exp(positive) + math.exp(negative)))

    from_0 = term(0.5, -1)
    from_60 = (term(0.5, -0.5) + term(-0.5, -0.5)) / 2
    assert loss.item() == pytest.approx((from_0 + 2 * from_60) / 3, rel=1e-12)


def test_perfect_alignment_is_near_zero_and_not_ln_2() -> None:
    states = torch.eye(6, dtype=torch.float64).repeat_interleave(2, 0)[None]
    loss = WordAlignmentLoss(0.05)(states, torch.arange(6).repeat_interleave(2))
    assert loss.item() == pytest.approx(math.log1p(10 * math.exp(-20)), rel=1e-6)


def test_a_pair_alone_has_no_negatives_and_no_loss() -> None:
    states = random_states(1, 2, 4, 0).requires_grad_()
    loss = WordAlignmentLoss()(states, torch.tensor([5, 5]))
    loss.backward()
    assert loss.item() == 0
    assert states.grad is not None and not states.grad.any()


def test_a_form_that_is_excluded_from_all_changes_nothing() -> None:
    groups = torch.tensor([0, 0, 1, 1, 2, 2])
    states = random_states(2, 6, 5, 1)
    more = torch.cat([states, random_states(2, 1, 5, 2)], dim=1).requires_grad_()
    excluded = torch.zeros(7, 7, dtype=torch.bool)
    excluded[6], excluded[:, 6] = True, True
    loss = WordAlignmentLoss()(more, torch.cat([groups, torch.tensor([0])]), excluded)
    loss.backward()
    torch.testing.assert_close(loss, WordAlignmentLoss()(states, groups), rtol=1e-12, atol=0)
    assert more.grad is not None
    assert not more.grad[:, 6].any() and more.grad[:, :6].abs().sum(-1).all()


def test_same_surface_and_related_forms_change_nothing() -> None:
    # The newcomer, alone in group 3, is written like word 0: to word 0 the same surface, to word 1 of a related group.
    groups, surfaces = torch.tensor([0, 0, 1, 2, 3]), torch.tensor([0, 1, 2, 3, 0])
    states = random_states(2, 5, 5, 1).requires_grad_()
    loss = WordAlignmentLoss()(states, groups, ExcludedPairs(groups, surfaces))
    loss.backward()
    torch.testing.assert_close(loss, WordAlignmentLoss()(states[:, :4], groups[:4]), rtol=1e-12, atol=0)
    assert states.grad is not None
    assert not states.grad[:, 4].any() and states.grad[:, :4].abs().sum(-1).all()
    assert WordAlignmentLoss()(states, groups) > loss * 1.01, "as a negative it would have counted"


def test_words_without_a_positive_do_not_count_as_anchors() -> None:
    groups = torch.tensor([0, 0, 1, 2, 3])
    states = random_states(1, 5, 4, 11)
    h = torch.nn.functional.normalize(states[0], dim=-1)
    exponentials = (h @ h.T / 0.1).exp()
    terms = [-(exponentials[i, 1 - i] / (exponentials[i, 1 - i] + exponentials[i, 2:].sum())).log() for i in (0, 1)]
    torch.testing.assert_close(WordAlignmentLoss()(states, groups), sum(terms) / 2, rtol=1e-9, atol=0)


def test_without_positives_the_loss_is_zero_and_has_a_graph() -> None:
    states = random_states(2, 3, 4, 0).requires_grad_()
    loss = WordAlignmentLoss()(states, torch.tensor([0, 1, 2]))
    loss.backward()
    assert loss.item() == 0
    assert states.grad is not None and not states.grad.any()


def test_the_order_of_words_does_not_matter() -> None:
    groups, states, order = (
        torch.tensor([0, 0, 1, 1, 1, 2]),
        random_states(2, 6, 4, 5),
        torch.tensor([3, 5, 0, 2, 1, 4]),
    )
    shuffled = WordAlignmentLoss()(states[:, order], groups[order])
    torch.testing.assert_close(shuffled, WordAlignmentLoss()(states, groups), rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("given", "computed"),
    [(torch.float64, torch.float64), (torch.float32, torch.float32), (torch.bfloat16, torch.float32)],
)
def test_precision(given: torch.dtype, computed: torch.dtype) -> None:
    groups = torch.arange(10).repeat(2)
    states = random_states(2, 20, 8, 4, dtype=given)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = WordAlignmentLoss()(states, groups)
    assert loss.dtype == computed
    # bf16 inputs are exact in float64, so what remains is the error of the computation itself.
    assert loss.item() == pytest.approx(naive(states, groups.tolist(), [[False] * 20] * 20, 0.1), rel=1e-5)


@pytest.mark.parametrize("temperature", [0.0, -0.1])
def test_a_temperature_must_be_positive(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature"):
        WordAlignmentLoss(temperature)


@pytest.mark.parametrize("shape", [(3, 4), (1, 4, 5)])
def test_states_and_groups_must_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected states"):
        WordAlignmentLoss()(torch.zeros(shape), torch.tensor([0, 1, 2]))
