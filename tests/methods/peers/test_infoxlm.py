"""InfoXLM: the contrast against a naive loop, queue and slow copy over three steps unrolled by hand, and what is refused."""

from __future__ import annotations

from typing import Any

import parallel_toy as toy
import pytest
import torch
from torch import Tensor

import toys
from prealign.errors import RecipeError
from prealign.methods.peers.infoxlm import InfoXLM
from prealign.methods.peers.xlco import MODULE, TEMPERATURE, XLCo
from prealign.methods.sentences.added_module import AddedModule
from prealign.methods.sentences.momentum_queue import MomentumQueue
from prealign.methods.sentences.states import SentenceEncoder
from prealign.recipe.sections import PretrainSection, TokenizerSection
from prealign.training.forward import with_objectives

SIZE, QUEUE, LAYER = 3, 7, 1


def contrast(**changes: Any) -> XLCo:
    settings = {"size": SIZE, "queue": QUEUE, "momentum": 0.6, "mixup": True, "longest": 10}
    return XLCo(SentenceEncoder("infoxlm", LAYER, normalised=True), toy.pairs(40), **settings | changes)


def trained(objective: XLCo, seed: int = 0) -> Any:
    model = toys.llama(seed=seed).double()
    AddedModule(MODULE, objective.module).apply(model, fresh=True)
    return with_objectives(model, {MODULE: objective})


def vector(model: Any, projection: Tensor, ids: list[int]) -> Tensor:
    """The projected mean of a sentence's states, each centred and divided by its standard deviation."""
    states = toy.states(model, ids, LAYER)
    centred = states - states.mean(1, keepdim=True)
    normal = centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt()
    return projection @ normal.mean(0)


def test_queue_and_slow_copy_over_three_steps_unrolled_by_hand() -> None:
    """The weights change after each step; a second model, whose weights are set by hand, is the slow copy."""
    objective = contrast()
    model, slow = trained(objective), trained(objective)
    projection = model.xlco.projection
    batches = {step: toy.sentences(objective.batch(step)) for step in range(-3, 3)}
    with torch.no_grad():
        # Three batches of three keys fill seven places: those of the last seven of nine keys stay.
        queue: list[Tensor] = [
            vector(slow, slow.xlco.projection, ids) for s in (-3, -2, -1) for ids in batches[s][SIZE:]
        ]
        for step in range(3):
            for own, other in zip(slow.parameters(), model.parameters(), strict=True):
                own.copy_(0.6 * own + 0.4 * other)
            expected: dict[str, list[Tensor]] = {"queries": [], "keys": []}
            for number in range(SIZE):
                expected["queries"].append(vector(model, projection, batches[step][number]))
                expected["keys"].append(vector(slow, slow.xlco.projection, batches[step][SIZE + number]))
            batch = objective.batch(step)
            encoded = model(objectives={MODULE: batch})["objectives"][MODULE]
            for name, rows in expected.items():
                torch.testing.assert_close(encoded[name], torch.stack(rows), rtol=1e-9, atol=1e-12)
            found = sorted(encoded["negatives"].tolist())
            torch.testing.assert_close(torch.tensor(found), torch.tensor(sorted(k.tolist() for k in queue[-QUEUE:])))
            losses = []
            for query, key in zip(expected["queries"], expected["keys"], strict=True):
                scores = [float(query @ n) / TEMPERATURE for n in (key, *queue[-QUEUE:])]
                losses.append(-scores[0] + float(torch.tensor(scores, dtype=torch.float64).logsumexp(0)))
            assert float(objective.loss(encoded, batch)["xlco"]) == pytest.approx(sum(losses) / SIZE, rel=1e-9)
            queue += expected["keys"]
            for parameter in model.parameters():  # a step of training
                parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(step))


def test_gradients_are_those_of_a_naive_loop_and_keys_have_none() -> None:
    objective = contrast(mixup=False)
    model, batch = trained(objective), objective.batch(4)
    encoded = model(objectives={MODULE: batch})["objectives"][MODULE]
    assert not encoded["keys"].requires_grad and not encoded["negatives"].requires_grad
    objective.loss(encoded, batch)["xlco"].backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    total = torch.zeros((), dtype=torch.float64)
    for number, ids in enumerate(toy.sentences(batch)[:SIZE]):
        query = vector(model, model.xlco.projection, ids)
        scores = torch.stack([query @ n for n in (encoded["keys"][number], *encoded["negatives"])]) / TEMPERATURE
        total = total + scores.logsumexp(0) - scores[0]
    (total / SIZE).backward()
    own = {name: p.grad for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert (
        own.keys() <= found.keys() and f"{MODULE}.projection" in own and "model.layers.1.mlp.up_proj.weight" not in own
    )
    for name, gradient in own.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-8, atol=1e-12)


def test_a_batch_is_pairs_mixed_and_turned_by_draws_of_each_item() -> None:
    objective = contrast(size=20)
    sides = [toy.sentences(objective.batch(step)) for step in range(2)]
    turned = 0
    for step, batch in enumerate(sides):
        for query, key in zip(batch[:20], batch[20:], strict=True):
            source, target = (query, key) if any(10 <= t < 30 for t in query) else (key, query)
            turned += source is key
            assert not any(30 <= t < 50 for t in source) and not any(10 <= t < 30 for t in target), step
            assert max(len(query), len(key)) <= 10
    assert 8 < turned < 32
    plain = contrast(size=20, mixup=False)
    known = {tuple(ids.tolist()) for side in plain.data.at(torch.arange(40).numpy()) for ids in side}
    assert {tuple(ids) for ids in toy.sentences(plain.batch(0))} <= known
    halves = [toy.sentences(contrast(size=10).batch(0, rank, 2)) for rank in range(2)]
    assert halves[0][:10] + halves[1][:10] == sides[0][:20], "two ranks read the batch of one"


def test_the_queue_keeps_the_newest_keys_in_a_ring() -> None:
    weight = torch.ones(2, dtype=torch.bfloat16)
    state = MomentumQueue({"w": weight}, width=1, size=4, momentum=0.5)
    assert not state.full and state.slow.dtype == torch.float32
    for first in (0, 3, 6):
        state.push(torch.arange(first, first + 3)[:, None].float())
    assert state.full and state.queue.flatten().tolist() == [8, 5, 6, 7]
    state.push(torch.arange(20.0)[:, None])
    assert sorted(state.queue.flatten().tolist()) == [16, 17, 18, 19]
    state.follow({"w": 3 * weight})
    assert state.weights["w"].tolist() == [2, 2]


def test_the_model_is_plain_after_export() -> None:
    objective, model = contrast(), toys.llama()
    names, added = [*model.state_dict()], AddedModule(MODULE, objective.module, objective.fill_cost)
    added.apply(model, fresh=True)
    assert {f"{MODULE}.{name}" for name in ("projection", "slow", "queue", "pushed")} <= set(model.state_dict())
    added.export(model)
    assert [*model.state_dict()] == names


def settings(**changes: Any) -> InfoXLM.Settings:
    pretrain = PretrainSection(steps=1500, batch_size=4, context=32)
    return InfoXLM.Settings(pretrain=pretrain, tokenizer=TokenizerSection(), **{"pairs": 4, "queue": 8} | changes)


def inputs(number: int = 40) -> Any:
    made = toy.Inputs()
    object.__setattr__(made, "bitext", toy.pairs(number).bitext)
    return made


def test_weight_and_momentum_follow_the_recipe() -> None:
    (phase,) = InfoXLM().phases(settings(), inputs())
    (term,) = phase.terms
    assert term.weight == 4 / 128 and term.objective.momentum == pytest.approx(0.99)  # type: ignore[attr-defined]
    (phase,) = InfoXLM().phases(settings(weight=0.5, momentum=0.7), inputs())
    assert phase.terms[0].weight == 0.5 and phase.describe()["objectives"][0]["momentum"] == 0.7
    assert (
        phase.bitext is not None and phase.unshardable == "adds the module xlco, which FSDP cannot spread over devices"
    )


def test_a_queue_larger_than_the_text_is_refused() -> None:
    InfoXLM().phases(settings(queue=16), inputs(40))
    with pytest.raises(RecipeError, match=r"queue: 17 keys .* take 42 pairs .* has 40, .* lower it to at most 16\."):
        InfoXLM().phases(settings(queue=17), inputs(40))
    InfoXLM().phases(settings(queue=36, mixup=False), inputs(40))
    with pytest.raises(RecipeError, match=r"lower methods\.infoxlm\.pairs"):
        InfoXLM().phases(settings(pairs=30), inputs(40))
