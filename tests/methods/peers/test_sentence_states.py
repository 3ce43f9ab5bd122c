"""States of sentences: those of the whole model, by fewer blocks, with other weights, and their cost."""

from __future__ import annotations

from typing import Any

import parallel_toy as toy
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import toys
from prealign.errors import RecipeError
from prealign.methods.sentences.pairs import side_by_side
from prealign.methods.sentences.states import SentenceEncoder, pooled, shallow

BATCH = side_by_side(*toy.pairs().batch(0, 0, 1, 6))


@pytest.mark.parametrize("bos", [None, 3])
@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize("make", list(toys.ARCHITECTURES.values()))
def test_states_are_those_of_the_whole_model_sentence_by_sentence(make: Any, layer: int, bos: int | None) -> None:
    model = make().double().eval()
    encoder = SentenceEncoder("toy", layer, bos=bos)
    found = encoder.tokens(model, BATCH["ids"])
    start = [] if bos is None else [bos]
    for row, ids in enumerate(toy.sentences(BATCH)):
        expected = toy.states(model, start + ids, layer)[len(start) :]
        torch.testing.assert_close(found[row, : len(ids)], expected, rtol=1e-9, atol=1e-9)
        for pooling, own in (("mean", expected.mean(0)), ("last", expected[-1])):
            torch.testing.assert_close(pooled(found, BATCH["lengths"], pooling)[row], own)  # type: ignore[arg-type]
    assert len(model.base_model(BATCH["ids"], output_hidden_states=True).hidden_states) == toys.BLOCKS + 1, (
        "whole again"
    )


def test_other_weights_take_the_place_of_the_models_own() -> None:
    model, other = toys.llama().double(), toys.llama(seed=1).double()
    encoder = SentenceEncoder("toy", 1)
    with shallow(other, 1) as (body, _):
        weights = {name: weight.detach() for name, weight in body.named_parameters()}
    found = encoder.sentences(model, BATCH["ids"], BATCH["lengths"], weights)
    torch.testing.assert_close(found, encoder.sentences(other, BATCH["ids"], BATCH["lengths"]))
    assert not found.requires_grad and encoder.sentences(model, BATCH["ids"], BATCH["lengths"]).requires_grad


@pytest.mark.parametrize("layer", [1, 2])
def test_the_cost_is_what_torch_counts(layer: int) -> None:
    model, encoder = toys.llama(attn_implementation="eager"), SentenceEncoder("toy", layer)
    ids = torch.zeros(4, 6, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        states = encoder.tokens(model, ids)
    forward = encoder.forward_flops(model, 24, 6)
    assert counter.get_total_flops() == pytest.approx(forward, rel=1e-3)
    with counter:
        states.sum().backward()
    whole = encoder.flops(model, 24, 6, freeze_body=False)
    assert counter.get_total_flops() + forward == pytest.approx(whole, rel=0.1), (
        "attention's backward is more than twice"
    )


def test_layers_by_depth_and_a_layer_that_the_model_lacks() -> None:
    model = toys.llama()
    assert [SentenceEncoder("toy", depth=depth).number(model) for depth in (0.5, 2 / 3, 1.0)] == [1, 1, 2]
    with pytest.raises(RecipeError, match=r"methods\.toy\.layer is 3, and the model has 2 blocks"):
        SentenceEncoder("toy", 3).number(model)
