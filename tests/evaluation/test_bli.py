"""Words of a test dictionary against a float64 double loop over whole vocabularies."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from prealign.errors import PrealignError
from prealign.evaluation.retrieval.dictionary import CONDITION, dictionary_scores
from prealign.evaluation.retrieval.queries import DictionaryQueries
from prealign.evaluation.score import Score
from prealign.evaluation.statistics import wilson

Matrix = NDArray[np.float64]


def words(pairs: list[tuple[int, int]], sources: int, targets: int) -> DictionaryQueries:
    names = [[f"{letter}{i}" for i in range(n)] for letter, n in (("s", sources), ("t", targets))]
    return DictionaryQueries("en", "de", *names, np.array(sorted(pairs)), words=len({s for s, _ in pairs}), floor=1)


def naive(queries: Matrix, candidates: Matrix, asked: list[int], gold: Matrix, k: int | None) -> list[float]:
    """The definition: queries and candidates are whole vocabularies, `asked` the queries that count."""

    def cosine(a: Matrix, b: Matrix) -> float:
        return float(a @ b / np.sqrt((a @ a) * (b @ b)))

    def nearness(a: Matrix, others: Matrix) -> float:
        return float(np.mean(sorted((cosine(a, other) for other in others), reverse=True)[:k]))

    hits = []
    for i in asked:
        found = [cosine(queries[i], c) for c in candidates]
        if k is not None:
            own = nearness(queries[i], candidates)
            found = [2 * s - own - nearness(c, queries) for s, c in zip(found, candidates, strict=True)]
        hits.append(float(gold[i, int(np.argmax(found))]))
    return hits


def case(seed: int, layers: int = 2) -> tuple[Tensor, Tensor, DictionaryQueries]:
    """18 words among 25 and 30 candidates, some with two translations."""
    rng = np.random.default_rng(seed)
    meanings = rng.normal(size=(30, 6)) + 1.0  # a common direction makes hubs
    source = meanings[None, :25] + 0.6 * rng.normal(size=(layers, 25, 6))
    target = 3 * (meanings[None] + 0.6 * rng.normal(size=(layers, 30, 6)))
    pairs = [(i, i) for i in range(18)] + [(0, 20), (3, 21)]
    return torch.tensor(source).float(), torch.tensor(target).float(), words(pairs, 25, 30)


def measured(
    source: Tensor, target: Tensor, asked: DictionaryQueries, k: int = 4
) -> tuple[list[Score], dict[str, list[list[float]]]]:
    return dictionary_scores(source, target, asked, stage="align", signature="asked:18", csls_neighbours=k)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_equals_a_double_loop_over_whole_vocabularies(seed: int) -> None:
    source, target, asked = case(seed)
    scores, items = measured(source, target, asked)
    gold, told = asked.gold(), 0
    for layer in range(2):
        s, t = source[layer].double().numpy(), target[layer].double().numpy()
        for metric, k in (("p_at_1", None), ("csls_p_at_1", 4)):
            forward = naive(s, t, asked.forward.tolist(), gold, k)
            backward = naive(t, s, asked.backward.tolist(), gold.T, k)
            assert items[f"{metric}_forward"][layer] == forward and len(forward) == 18
            assert items[f"{metric}_backward"][layer] == backward and len(backward) == 20
            values = {s.metric: s for s in scores if s.layer == layer}
            assert values[f"{metric}_forward"].value == pytest.approx(np.mean(forward))
            assert values[f"{metric}_backward"].value == pytest.approx(np.mean(backward))
            pooled = values[metric]
            assert pooled.value == pytest.approx(np.mean([*forward, *backward])) and pooled.n == 19
            assert (pooled.low, pooled.high) == pytest.approx(wilson(pooled.value * 19, 19)[1:])
            told += 0 < sum(forward) < 18
    assert told == 4, "a case that tells right from wrong"


def test_words_that_nobody_asks_for_are_candidates_and_hubs() -> None:
    """The one word asked for has its translation at 20°; another candidate, at 10°, is nearer."""

    def at(*degrees: float) -> Tensor:
        angle = torch.deg2rad(torch.tensor(degrees))
        return torch.stack([angle.cos(), angle.sin()], dim=1)[None]

    asked = words([(0, 0)], 3, 2)
    found = {s.metric: s.value for s in measured(at(0, 14, 12), at(20, 10), asked, k=2)[0]}
    assert found["p_at_1_forward"] == found["p_at_1_backward"] == 0
    # By CSLS with k = 2, between targets at -11° (right) and 10°: two sources at 10°, which nobody asks for, make the latter
    # a hub with r = 1; r of the other is (cos 11 + cos 21) / 2 = .958; 2 cos 11 - .958 = 1.005 beats 2 cos 10 - 1 = .970.
    crowded, targets = at(0, 10, 10), at(-11, 10)
    found = {s.metric: s.value for s in measured(crowded, targets, asked, k=2)[0]}
    assert (found["p_at_1_forward"], found["csls_p_at_1_forward"]) == (0, 1)
    # Among the words asked for alone there is no hub: r is .982 and .985, and 2 cos 10 - .985 = .985 beats .981.
    found = {s.metric: s.value for s in measured(crowded[:, :1], targets, words([(0, 0)], 1, 2), k=2)[0]}
    assert found["csls_p_at_1_forward"] == 0


def test_states_all_alike_are_at_chance() -> None:
    _, _, asked = case(5)
    scores, _ = measured(torch.ones(1, 25, 4), torch.ones(1, 30, 4), asked)
    assert len(scores) == 6
    for score in scores:
        assert score.value == pytest.approx(score.chance)
    chance = {score.metric: score.chance for score in scores}
    assert chance["p_at_1_forward"] == pytest.approx(20 / 18 / 30)
    assert chance["p_at_1_backward"] == pytest.approx(1 / 25)


def test_entries_are_told_apart_from_other_word_retrieval() -> None:
    scores, items = measured(*case(6))
    for score in scores:
        entry = asdict(score)
        assert (entry["task"], entry["split"], entry["condition"]) == ("retrieval", "test", CONDITION)
        assert (entry["language"], entry["stage"], entry["signature"]) == ("de", "align", "asked:18")
    assert json.loads(json.dumps(items)) == items


def test_states_that_are_not_finite_are_an_error() -> None:
    source, target, asked = case(7)
    source[1, 24, 0] = torch.inf
    with pytest.raises(PrealignError, match=r"not finite at layers \[1\]"):
        measured(source, target, asked)
