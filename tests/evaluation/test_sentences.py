"""Sentence retrieval: states against a loop over single sentences, MEXA by hand and against the definition."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import toys
from prealign.evaluation.retrieval.sentences import mexa_hits, position_weights, sentence_scores, sentence_states
from prealign.evaluation.statistics import wilson

Matrix = NDArray[np.float64]


def naive_mexa(source: Matrix, target: Matrix) -> list[float]:
    """The definition, one comparison at a time."""
    n = len(source)
    similarity = [[float(a @ b / np.sqrt((a @ a) * (b @ b))) for b in target] for a in source]
    return [
        float(all(similarity[i][i] > max(similarity[i][j], similarity[j][i]) for j in range(n) if j != i))
        for i in range(n)
    ]


def at(*degrees: float) -> Tensor:
    angle = torch.deg2rad(torch.tensor(degrees))
    return torch.stack([angle.cos(), angle.sin()], dim=1)


# --- states ---------------------------------------------------------------------------------------


def test_late_positions_weigh_more() -> None:
    mask = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]])
    expected = torch.tensor([[1 / 6, 2 / 6, 3 / 6, 0], [1, 0, 0, 0], [0.1, 0.2, 0.3, 0.4]])
    torch.testing.assert_close(position_weights(mask), expected)


@pytest.mark.parametrize("make", [toys.llama, toys.gpt2, toys.neox, toys.qwen2])
@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_states_equal_a_loop_over_sentences(make: Any, batch_size: int) -> None:
    """One sentence at a time, unpadded, the weights written out, in float64."""
    model = make()
    rng = np.random.default_rng(0)
    sentences = [rng.integers(1, 60, length) for length in (4, 1, 9, 4, 2)]
    model.train()
    states = sentence_states(model, sentences, separator=0, batch_size=batch_size)
    assert model.training, "the mode is put back"
    assert states.shape == (toys.BLOCKS + 1, 5, toys.WIDTH) and states.dtype == torch.float32
    model.eval()
    for i, ids in enumerate(sentences):
        with torch.no_grad():
            hidden = model(input_ids=torch.tensor([[0, *ids]]), output_hidden_states=True).hidden_states
        for layer, own in enumerate(hidden):
            total = len(ids) * (len(ids) + 1) / 2
            naive = sum((t + 1) / total * own[0, t + 1].double() for t in range(len(ids)))
            torch.testing.assert_close(states[layer, i].double(), naive, rtol=1e-4, atol=1e-5)


# --- MEXA -----------------------------------------------------------------------------------------


def test_mexa_by_hand() -> None:
    """Sources at 0°, 40°, 90°; targets at 5°, 20°, 80°. Cosines, row by row:

    .996 .940 .174        row 1: .996 is the greatest, and column 1 has .819 and .087 beside it: aligned
    .819 .940 .766        row 2: .940 is the greatest, but its column has .940 of row 1 too (40 - 20 = 20 - 0): a tie
    .087 .342 .985        row 3: .985 is the greatest of row and column: aligned
    """
    assert mexa_hits(at(0, 40, 90), at(5, 20, 80)).tolist() == [1, 0, 1]


def test_both_row_and_column_count() -> None:
    """Source 1 at 0°, its translation at 30°, nearest of both; but source 2, at 25°, is nearer to that translation."""
    assert mexa_hits(at(0, 25), at(30, 90)).tolist() == [0, 0]
    assert mexa_hits(at(30, 90), at(0, 25)).tolist() == [0, 0]
    assert mexa_hits(at(0, 25), at(5, 26)).tolist() == [1, 1]


@pytest.mark.parametrize("seed", range(5))
def test_mexa_equals_the_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    meanings = rng.normal(size=(23, 5)) + 0.7
    source, target = (torch.tensor(meanings + 0.7 * rng.normal(size=(23, 5))).float() for _ in range(2))
    found = mexa_hits(source, target).tolist()
    assert found == naive_mexa(source.double().numpy(), target.double().numpy())
    assert 0 < sum(found) < 23
    assert mexa_hits(target, source).tolist() == found, "it has no direction"
    assert mexa_hits(source * 7, target * 0.1).tolist() == found


def test_states_all_alike_are_not_aligned() -> None:
    assert mexa_hits(torch.full((9, 7), 0.3), torch.full((9, 7), 0.3)).tolist() == [0] * 9


def test_unrelated_states_are_at_chance() -> None:
    states = torch.randn(2, 400, 8, 64, generator=torch.Generator().manual_seed(0))
    values = [mexa_hits(s, t).mean().item() for s, t in zip(*states, strict=True)]
    assert np.mean(values) == pytest.approx(1 / 15, abs=4 * np.sqrt(1 / 15 * 14 / 15 / 3200))


# --- scores ---------------------------------------------------------------------------------------


def scored(source: Tensor, target: Tensor) -> tuple[dict[tuple[str, int | None], Any], dict[str, Any]]:
    scores, items = sentence_scores(
        source, target, language="de", condition="flores", stage="pretrain", signature="sentences:40"
    )
    return {(score.metric, score.layer): score for score in scores}, items


@pytest.fixture(scope="module")
def aligned() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    source = torch.randn(3, 40, 8, generator=generator)
    noise = torch.randn(3, 40, 8, generator=generator) * torch.tensor([0.2, 0.9, 3.0])[:, None, None]
    return source, source + noise


def test_scores_are_the_hits_averaged(aligned: tuple[Tensor, Tensor]) -> None:
    scores, items = scored(*aligned)
    assert len(scores) == 3 * 4 + 2
    for layer in range(3):
        for metric in ("p_at_1_forward", "p_at_1_backward", "mexa"):
            score = scores[metric, layer]
            assert score.value == pytest.approx(np.mean(items[metric][layer])) and score.n == 40
            assert (score.low, score.high) == pytest.approx(wilson(score.value * 40, 40)[1:])
        both = [scores[f"p_at_1_{way}", layer].value for way in ("forward", "backward")]
        assert scores["p_at_1", layer].value == pytest.approx(np.mean(both)) and scores["p_at_1", layer].n == 40
        assert scores["mexa", layer].value <= min(both), "it asks for both directions at once"
        assert scores["p_at_1", layer].chance == pytest.approx(1 / 40)
        assert scores["mexa", layer].chance == pytest.approx(1 / 79)
    by_layer = [scores["mexa", layer].value for layer in range(3)]
    assert by_layer[0] > by_layer[1] > by_layer[2] > 0
    assert scores["mexa_mean", None].value == pytest.approx(np.mean(by_layer))
    assert scores["mexa_max", None].value == pytest.approx(max(by_layer))
    for name in ("mexa_mean", "mexa_max"):
        score = scores[name, None]
        assert (score.low, score.high) == pytest.approx(wilson(score.value * 40, 40)[1:])
    assert (scores["mexa_mean", None].chance, scores["mexa_max", None].chance) == (pytest.approx(1 / 79), None)
    for score in scores.values():
        entry = asdict(score)
        assert (entry["task"], entry["condition"], entry["split"]) == ("sentence_retrieval", "flores", "test")
    assert json.loads(json.dumps(items)) == items
