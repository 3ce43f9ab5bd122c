"""Retrieval against a float64 double loop, CSLS worked by hand, behaviour at chance and under ties."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from prealign.errors import PrealignError
from prealign.evaluation.retrieval import nearest
from prealign.evaluation.retrieval.nearest import Metric, retrieval_hits
from prealign.evaluation.retrieval.pairs import WordPairs
from prealign.evaluation.retrieval.words import word_scores
from prealign.evaluation.score import Score
from prealign.evaluation.statistics import wilson

Matrix = NDArray[np.float64]


def naive_hits(queries: Matrix, candidates: Matrix, gold: NDArray[np.bool_], k: int | None) -> list[float]:
    """The definition, one cosine at a time; ties (none in continuous data) go to the first."""

    def cosine(a: Matrix, b: Matrix) -> float:
        return float(a @ b / np.sqrt((a @ a) * (b @ b)))

    def nearness(a: Matrix, others: Matrix) -> float:
        return float(np.mean(sorted((cosine(a, other) for other in others), reverse=True)[:k]))

    hits = []
    for i, query in enumerate(queries):
        scores = []
        for candidate in candidates:
            score = cosine(query, candidate)
            if k is not None:
                score = 2 * score - nearness(query, candidates) - nearness(candidate, queries)
            scores.append(score)
        hits.append(float(gold[i, int(np.argmax(scores))]))
    return hits


def random_case(seed: int, n: int = 17, m: int = 23) -> tuple[Tensor, Tensor, NDArray[np.bool_]]:
    """Correlated states of one layer, and a many-to-many dictionary in which every form has a translation."""
    rng = np.random.default_rng(seed)
    meanings = rng.normal(size=(n, 6)) + 1.0  # a common direction makes hubs
    of = np.concatenate([np.arange(n), rng.integers(0, n, m - n)])
    source = torch.tensor(meanings + 0.6 * rng.normal(size=(n, 6)), dtype=torch.float32)
    target = torch.tensor(3 * (meanings[of] + 0.6 * rng.normal(size=(m, 6))), dtype=torch.float32)
    gold = of[None, :] == np.arange(n)[:, None]
    gold[0, 5] = True
    return source, target, gold


def pick(scores: list[Score], metric: str, split: str, layer: int = 0, condition: str | None = None) -> Score:
    (found,) = [s for s in scores if (s.metric, s.split, s.layer, s.condition) == (metric, split, layer, condition)]
    return found


# --- hits -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("neighbours", [None, 1, 4, 100])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_equals_a_double_loop(seed: int, neighbours: int | None) -> None:
    source, target, gold = random_case(seed)
    hits = retrieval_hits(source, target, torch.from_numpy(gold), neighbours)
    expected = naive_hits(source.double().numpy(), target.double().numpy(), gold, neighbours)
    assert hits.tolist() == expected
    assert 0 < sum(expected) < len(expected), "a case that tells right from wrong"


def test_csls_by_hand() -> None:
    """Sources at 0° and 60°, targets at -35° and (the hub, exactly between) 30°.

    Cosine: the source at 0° is nearer to the hub (cos 30 = .866) than to its own at 35° (.819).
    CSLS, k = 2: r(hub) = .866, r(own) = (cos 35 + cos 95) / 2 = .366; 2 * .819 - .366 = 1.272 beats .866.
    CSLS, k = 1: r(hub) = .866, r(own) = .819; the hub's .866 beats .819 again.
    """

    def at(*degrees: float) -> Tensor:
        angle = torch.deg2rad(torch.tensor(degrees))
        return torch.stack([angle.cos(), angle.sin()], dim=1)

    source, target, gold = at(0, 60), at(-35, 30), torch.eye(2, dtype=torch.bool)
    assert retrieval_hits(source, target, gold).tolist() == [0, 1]
    assert retrieval_hits(source, target, gold, csls_neighbours=2).tolist() == [1, 1]
    assert retrieval_hits(source, target, gold, csls_neighbours=1).tolist() == [0, 1]


def test_more_queries_than_fit_at_once() -> None:
    n = nearest._ROWS + 37
    states = torch.randn(n, 16, generator=torch.Generator().manual_seed(0))
    shuffle = torch.randperm(n, generator=torch.Generator().manual_seed(1))
    gold = shuffle[None, :] == torch.arange(n)[:, None]
    for neighbours in (None, 10):
        assert retrieval_hits(states, states[shuffle], gold, neighbours).sum() == n


@settings(deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 100))
def test_length_of_states_does_not_matter(seed: int, scale: float) -> None:
    source, target, gold = random_case(seed)
    plain = retrieval_hits(source, target, torch.from_numpy(gold), 3)
    scaled = retrieval_hits(source * scale, target, torch.from_numpy(gold), 3)
    torch.testing.assert_close(scaled, plain)


@pytest.mark.parametrize("neighbours", [None, 3])
def test_states_all_alike_score_chance_not_luck(neighbours: int | None) -> None:
    states = torch.full((9, 7), 0.3)
    gold = torch.eye(9, dtype=torch.bool)
    gold[0, 4] = True
    hits = retrieval_hits(states, states, gold, neighbours)
    assert hits.tolist() == [pytest.approx(2 / 9)] + [pytest.approx(1 / 9)] * 8


def test_a_tie_for_best_is_shared_between_the_tied() -> None:
    """Candidates 0 and 1 are one state up to float noise: the first two queries get half a hit each."""
    queries = torch.tensor([[1.0, 1.0], [1.0, 1.0], [-1.0, 1.0]])
    candidates = torch.tensor([[2.0, 0.0], [1.0, 3e-7], [-1.0, 1.0]])
    assert retrieval_hits(queries, candidates, torch.eye(3, dtype=torch.bool)).tolist() == [0.5, 0.5, 1.0]
    both = torch.tensor([[True, True, False], [True, True, False], [False, False, True]])
    assert retrieval_hits(queries, candidates, both).tolist() == [1.0, 1.0, 1.0]


def test_a_state_of_zeros_retrieves_at_chance() -> None:
    candidates = torch.eye(4)
    hits = retrieval_hits(torch.zeros(4, 4), candidates, torch.eye(4, dtype=torch.bool))
    assert hits.tolist() == [0.25] * 4


# --- scores ---------------------------------------------------------------------------------------


def scores_of(
    source: Tensor, target: Tensor, gold: NDArray[np.bool_], held_out: NDArray[np.bool_], k: int = 3
) -> tuple[list[Score], dict[str, list[object]]]:
    target_held_out = ~(gold & ~held_out[:, None]).any(axis=0)
    subwords = np.arange(len(gold)) % 5 + 1
    names = [[f"{letter}{i}" for i in range(n)] for letter, n in zip("st", gold.shape, strict=True)]
    pairs = WordPairs("de", "en", *names, gold, held_out, target_held_out)
    return word_scores(source, target, pairs, subwords, stage="align", signature="pairs:17", csls_neighbours=k)


def test_perfect_alignment_is_one_everywhere() -> None:
    states = torch.randn(3, 20, 8, generator=torch.Generator().manual_seed(0))
    order = np.random.default_rng(0).permutation(20)
    gold = np.eye(20, dtype=bool)[:, order]
    scores, _ = scores_of(states, states[:, order], gold, np.arange(20) < 5)
    assert len(scores) == 3 * 2 * (4 + 3)  # layers, splits, metrics and numbers of subwords
    assert {score.value for score in scores} == {1.0}
    assert [score.chance for score in scores] == pytest.approx([0.05] * len(scores))
    for layer, split in product(range(3), ("seen", "held_out")):
        assert pick(scores, "p_at_1", split, layer).n == (5 if split == "held_out" else 15)


def test_unrelated_states_are_at_chance() -> None:
    generator = torch.Generator().manual_seed(3)
    source, target = torch.randn(2, 40, 50, 16, generator=generator).unbind()  # 40 layers: 4,000 pooled tries
    scores, _ = scores_of(source, target, np.eye(50, dtype=bool), np.arange(50) < 10)
    for metric in ("p_at_1_forward", "p_at_1_backward", "p_at_1", "csls_p_at_1"):
        values = [score.value for score in scores if score.metric == metric and score.split == "seen"]
        assert np.mean(values) == pytest.approx(0.02, abs=0.012)


def test_scores_are_the_items_averaged() -> None:
    """Every metric, split and layer, recomputed from a double loop and the definition of the splits."""
    layers = [random_case(seed) for seed in (4, 5)]
    source, target = torch.stack([c[0] for c in layers]), torch.stack([c[1] for c in layers])
    gold = layers[0][2] | layers[1][2]
    held_out = np.arange(17) % 3 == 0
    scores, items = scores_of(source, target, gold, held_out)
    target_held_out = np.array([held_out[gold[:, m]].all() for m in range(23)])
    assert items["held_out_forward"] == held_out.tolist()
    assert items["held_out_backward"] == target_held_out.tolist()
    assert 0 < target_held_out.sum() < 23

    for layer in range(2):
        s, t = source[layer].double().numpy(), target[layer].double().numpy()
        for metric, k in (("p_at_1", None), ("csls_p_at_1", 3)):
            forward, backward = naive_hits(s, t, gold, k), naive_hits(t, s, gold.T, k)
            assert items[f"{metric}_forward"][layer] == forward
            assert items[f"{metric}_backward"][layer] == backward
            for split, chosen, target_chosen in (
                ("held_out", held_out, target_held_out),
                ("seen", ~held_out, ~target_held_out),
            ):
                pooled = np.concatenate([np.array(forward)[chosen], np.array(backward)[target_chosen]])
                assert pick(scores, metric, split, layer).value == pytest.approx(pooled.mean())
        assert pick(scores, "p_at_1_forward", "seen", layer).value == pytest.approx(
            np.mean(np.array(naive_hits(s, t, gold, None))[~held_out])
        )
        assert pick(scores, "p_at_1_backward", "seen", layer).value == pytest.approx(
            np.mean(np.array(naive_hits(t, s, gold.T, None))[~target_held_out])
        )
        forward, subwords = np.array(naive_hits(s, t, gold, None)), np.array(items["subwords"])
        for condition, chosen in (
            ("subwords=1", subwords == 1),
            ("subwords=2", subwords == 2),
            ("subwords=3+", subwords > 2),
        ):
            own = pick(scores, "p_at_1_forward", "seen", layer, condition)
            assert (own.value, own.n) == (pytest.approx(forward[chosen & ~held_out].mean()), (chosen & ~held_out).sum())


def test_splits_share_their_candidates_so_held_out_words_can_be_mistaken_for_seen_ones() -> None:
    """Held-out word 0 lies on seen word 1's translation; among held-out words alone it would be a hit."""
    source = torch.tensor([[[1.0, 0.0], [1.0, 0.1]]])
    target = torch.tensor([[[0.8, 0.6], [1.0, 0.05]]])
    scores, _ = scores_of(source, target, np.eye(2, dtype=bool), np.array([True, False]), k=1)
    assert pick(scores, "p_at_1_forward", "held_out").value == 0
    assert pick(scores, "p_at_1_forward", "held_out").chance == 0.5


def test_chance_is_what_identical_states_score() -> None:
    _, _, gold = random_case(6)
    states = torch.ones(1, 23, 4)
    scores, _ = scores_of(states[:, :17], states, gold, np.arange(17) < 6)
    assert len(scores) == 2 * (4 + 3)
    for score in scores:
        assert score.value == pytest.approx(score.chance)


def test_intervals_count_pairs_and_not_queries() -> None:
    """15 seen pairs: 15 items one way, and still 15 when both ways are pooled."""
    states = torch.randn(1, 20, 8, generator=torch.Generator().manual_seed(0))
    noisy = states + torch.randn(1, 20, 8, generator=torch.Generator().manual_seed(1))
    scores, _ = scores_of(states, noisy, np.eye(20, dtype=bool), np.arange(20) < 5)
    for metric in ("p_at_1_forward", "p_at_1"):
        score = pick(scores, metric, "seen")
        assert 0 < score.value < 1 and score.n == 15
        assert (score.value, score.low, score.high) == pytest.approx(wilson(score.value * 15, 15))


def test_pooled_interval_covers_the_truth_even_when_both_directions_agree() -> None:
    """Both hits of a pair are the same coin: 40 coins, not 80."""
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(300):
        coins = torch.from_numpy(rng.random(40) < 0.3).double()
        hits = torch.cat([coins, coins])[None]
        metric = Metric("p_at_1", hits, torch.full((80,), 0.025), queries_per_item=2)
        (score,) = metric.scores(task="retrieval", language="de", split="seen", stage="align", signature="")
        assert score.low is not None and score.high is not None
        covered += score.low <= 0.3 <= score.high
    assert 0.91 <= covered / 300 <= 0.985


def test_a_split_without_words_has_no_scores() -> None:
    source, target, gold = random_case(8)
    scores, _ = scores_of(source[None], target[None], gold, np.zeros(17, dtype=bool))
    assert {score.split for score in scores} == {"seen"}


def test_a_word_queried_in_one_direction_only_is_one_item() -> None:
    """Two sources, one held out, share the only target, which therefore is seen."""
    states = torch.ones(1, 2, 3)
    scores, _ = scores_of(states, states[:, :1], np.ones((2, 1), dtype=bool), np.array([True, False]))
    assert {pick(scores, metric, "held_out").n for metric in ("p_at_1_forward", "p_at_1")} == {1}
    assert pick(scores, "p_at_1", "held_out").value == 1
    assert not [s for s in scores if (s.metric, s.split) == ("p_at_1_backward", "held_out")]


def test_a_target_shared_with_a_seen_word_is_seen() -> None:
    gold = np.array([[True, True], [False, True]])
    _, items = scores_of(torch.randn(1, 2, 3), torch.randn(1, 2, 3), gold, np.array([True, False]))
    assert items["held_out_backward"] == [True, False]


def test_entries_are_complete_and_items_are_json() -> None:
    source, target, gold = random_case(9)
    scores, items = scores_of(source[None], target[None], gold, np.arange(17) < 6)
    for score in scores:
        entry = asdict(score)
        assert (entry["task"], entry["language"], entry["stage"]) == ("retrieval", "de", "align")
        assert entry["signature"] == "pairs:17" and json.loads(json.dumps(entry)) == entry
    assert json.loads(json.dumps(items)) == items
    assert np.shape(items["csls_p_at_1_backward"]) == (1, 23)


def test_states_that_are_not_finite_are_an_error_that_names_the_layers() -> None:
    states = torch.ones(4, 3, 2)
    broken = states.clone()
    broken[2, 1, 0] = float("nan")
    with pytest.raises(PrealignError, match=r"not finite at layers \[2\]"):
        scores_of(states, broken, np.eye(3, dtype=bool), np.zeros(3, dtype=bool))


def test_half_precision_states_are_compared_in_float32() -> None:
    source, target, gold = random_case(10)
    half = retrieval_hits(source.bfloat16(), target.bfloat16(), torch.from_numpy(gold), 3)
    full = retrieval_hits(source.bfloat16().float(), target.bfloat16().float(), torch.from_numpy(gold), 3)
    assert half.tolist() == full.tolist()
