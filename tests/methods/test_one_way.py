"""One-way alignment and the layers of the loss: against a naive float64 loop, with what torch counts as its cost."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import toys
from prealign.errors import LexiconError
from prealign.methods.alignment import states
from prealign.methods.alignment.layers import layer_count
from prealign.methods.alignment.objective import WordFormAlignment
from prealign.recipe.methods import Layers

WORDS = toys.forms([[1, 2], [20], [21, 22]], [[3], [23]], [[4, 5, 6], [24, 20]], [[7], [25]])
BLOCKS = 3


def model() -> Any:
    return toys.llama(num_hidden_layers=BLOCKS).double()


def naive(own: Any, layers: list[int], *, one_way: bool) -> torch.Tensor:
    """L_align by loops over anchors, positives and negatives, a form encoded at a time."""
    batch = WORDS.batch(np.arange(4))
    forms = [ids[:n] for ids, n in zip(batch["word_ids"], batch["word_lengths"], strict=True)]
    group = batch["word_groups"].tolist()
    vectors = []
    for form, source in zip(forms, batch["word_source"].tolist(), strict=True):
        hidden = own.base_model(input_ids=form[None], output_hidden_states=True).hidden_states
        found = [h[0].mean(0) for h in hidden] + [own.lm_head.weight[form].mean(0)]
        vectors.append([v.detach() if one_way and source else v for v in found])
    losses = []
    for layer in layers:
        unit = [v[layer] / v[layer].norm() for v in vectors]
        anchors = []
        for i, _ in enumerate(unit):
            positives = [p for p in range(len(unit)) if p != i and group[p] == group[i]]
            negatives = [n for n in range(len(unit)) if group[n] != group[i]]
            total = sum(math.e ** (unit[i] @ unit[n] / 0.1) for n in negatives)
            terms = [
                -(math.e ** (unit[i] @ unit[p] / 0.1) / (math.e ** (unit[i] @ unit[p] / 0.1) + total)).log()
                for p in positives
            ]
            anchors.append(sum(terms) / len(terms))
        losses.append(sum(anchors) / len(anchors))
    return sum(losses) / len(losses)


LAYERS: dict[Layers, list[int]] = {
    "all": [0, 1, 2, 3, 4],
    "embedding": [0],
    "blocks": [1, 2, 3],
    "lower_blocks": [1, 2],
    "output": [4],
}


@pytest.mark.parametrize(("layers", "one_way"), itertools.product(LAYERS, [False, True]))
def test_loss_and_gradients_are_those_of_a_loop(layers: Layers, one_way: bool) -> None:
    objective = WordFormAlignment(WORDS, groups=4, layers=layers, one_way=one_way)
    own, other, batch = model(), model(), WORDS.batch(np.arange(4))
    loss = objective.loss(objective.encode(own, batch), batch)["align"]
    expected = naive(other, LAYERS[layers], one_way=one_way)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-9)
    loss.backward()
    expected.backward()
    for name, parameter in other.named_parameters():
        found = dict(own.named_parameters())[name].grad
        if parameter.grad is None:
            assert found is None or not found.any(), name
        else:
            torch.testing.assert_close(found, parameter.grad, rtol=1e-7, atol=1e-12, msg=name)
    assert layer_count(layers, BLOCKS) == len(LAYERS[layers])


def test_source_rows_without_a_target_form_get_no_gradient() -> None:
    objective, own, batch = WordFormAlignment(WORDS, groups=4, one_way=True), model(), WORDS.batch(np.arange(4))
    objective.loss(objective.encode(own, batch), batch)["align"].backward()
    for matrix in (own.get_input_embeddings().weight, own.get_output_embeddings().weight):
        moved = set(matrix.grad.abs().sum(1).nonzero()[:, 0].tolist())
        assert moved == {20, 21, 22, 23, 24, 25}, "the tokens of target forms"


def test_micro_batches_leave_one_way_unchanged() -> None:
    batch, found = WORDS.batch(np.arange(4)), []
    for micro in (None, 1):
        own = model()
        objective = WordFormAlignment(WORDS, groups=4, one_way=True, micro_pairs=micro)
        objective.loss(objective.encode(own, batch), batch)["align"].backward()
        found.append({name: p.grad for name, p in own.named_parameters()})
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("layers", ["all", "lower_blocks"])
def test_the_cost_of_one_way_is_what_torch_counts(layers: Layers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states, "ROW", 1)
    own = toys.llama(rows=200, attn_implementation="eager")
    words = toys.forms(*[[[1 + i % 90] * (1 + i % 2), [100 + i % 90] * 2] for i in range(128)])
    objective, batch = WordFormAlignment(words, groups=128, layers=layers, one_way=True), words.batch(np.arange(128))
    objective.score.tile = 2**11  # as in training: several tiles
    assert states.packs(own)
    with FlopCounterMode(display=False) as counter:
        objective.loss(objective.encode(own, batch), batch)["align"].backward()
    cost = objective.cost(own)
    assert cost.flops == pytest.approx(counter.get_total_flops(), rel=0.05)
    assert cost.flops < WordFormAlignment(words, groups=128, layers=layers).cost(own).flops


def test_a_lexicon_of_one_word_is_refused_with_its_numbers() -> None:
    with pytest.raises(LexiconError, match=r"at least 2 words with a translation.*the training lexicon has 1"):
        WordFormAlignment(toys.forms([[1], [2]]))


def test_only_a_setting_that_is_on_is_described() -> None:
    assert "one_way" not in WordFormAlignment(WORDS).describe()
    assert WordFormAlignment(WORDS, one_way=True).describe()["one_way"] is True
