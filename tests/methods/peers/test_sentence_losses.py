"""AFP, VECO 2.0 and the pointer of WEAM: losses and gradients against naive loops in float64, and cases by hand."""

from __future__ import annotations

import math
from typing import Any

import parallel_toy as toy
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

import toys
from prealign.methods.peers.added_module import AddedModule
from prealign.methods.peers.afp import SentenceAlignment
from prealign.methods.peers.sentence_objective import sentence_contrast
from prealign.methods.peers.sentence_pairs import Partners
from prealign.methods.peers.sentence_states import SentenceEncoder
from prealign.methods.peers.veco import TwoContrasts, token_contrast
from prealign.methods.peers.weam import Pointer, pointer_losses
from prealign.training.forward import with_objectives

SIZE = 5
PARTNERS = Partners(toy.Inputs(), toy.ESTIMATE)  # type: ignore[arg-type]


def afp(size: int = SIZE) -> SentenceAlignment:
    return SentenceAlignment(SentenceEncoder("afp", 1, pooling="last"), toy.pairs(), size, 0.05)


def veco(size: int = SIZE) -> TwoContrasts:
    return TwoContrasts(SentenceEncoder("veco", 1), toy.pairs(), size, PARTNERS, 0.1)


def weam(size: int = SIZE) -> Pointer:
    return Pointer(SentenceEncoder("weam"), toy.pairs(), size, PARTNERS)


MADE = {"afp": afp, "veco": veco, "weam": weam}


def trained(objective: Any) -> Any:
    model = toys.llama().double()
    if objective.name == "weam":
        AddedModule("weam", objective.module).apply(model, fresh=True)
        with torch.no_grad():
            for parameter in model.weam.parameters():
                parameter.mul_(20)  # so that the positions differ
    return with_objectives(model, {objective.name: objective})


def naive_afp(model: Any, sides: list[list[int]]) -> dict[str, Tensor]:
    ends = [toy.states(model, ids, 1)[-1] for ids in sides]
    losses = []
    for i in range(SIZE):
        scores = torch.stack([cosine_similarity(ends[i], ends[SIZE + j], dim=0) / 0.05 for j in range(SIZE)])
        losses.append(scores.logsumexp(0) - scores[i])
    return {"afp": torch.stack(losses).mean()}


def naive_veco(model: Any, sides: list[list[int]]) -> dict[str, Tensor]:
    states = [toy.states(model, ids, 1) for ids in sides]
    means = [own.mean(0) for own in states]
    sentences, tokens = [], []
    for i in range(SIZE):
        for one, others in ((means[i], means[SIZE:]), (means[SIZE + i], means[:SIZE])):
            scores = torch.stack([cosine_similarity(one, other, dim=0) / 0.1 for other in others])
            sentences.append(scores.logsumexp(0) - scores[i])
        ids, own = [*sides[i], *sides[SIZE + i]], torch.cat([states[i], states[SIZE + i]])
        alone = [u for u in range(len(ids)) if not any(toy.translates(ids[u], other) for other in ids)]
        for a in range(len(ids)):
            for p in range(len(ids)):
                if toy.translates(ids[a], ids[p]):
                    among = torch.stack([cosine_similarity(own[a], own[u], dim=0) / 0.1 for u in (p, *alone)])
                    tokens.append(among.logsumexp(0) - among[0])
    return {"veco_sentences": torch.stack(sentences).mean(), "veco_tokens": torch.stack(tokens).mean()}


def naive_weam(model: Any, sides: list[list[int]]) -> dict[str, Tensor]:
    states = [toy.states(model, ids, toys.BLOCKS) for ids in sides]
    losses = []
    for row, ids in enumerate(sides):
        other = (row + SIZE) % (2 * SIZE)
        for i, token in enumerate(ids):
            partners = [j for j, candidate in enumerate(sides[other]) if toy.translates(token, candidate)]
            query = model.weam.query @ states[row][i]
            scores = torch.stack([query @ (model.weam.key @ h) / math.sqrt(toys.WIDTH) for h in states[other]])
            if partners:
                losses.append(torch.stack([scores.logsumexp(0) - scores[j] for j in partners]).mean())
    return {"weam": torch.stack(losses).mean()}


@pytest.mark.parametrize(("name", "naive"), [("afp", naive_afp), ("veco", naive_veco), ("weam", naive_weam)])
def test_losses_and_gradients_are_those_of_a_naive_loop(name: str, naive: Any) -> None:
    objective = MADE[name]()
    model, batch = trained(objective), objective.batch(1)
    found = objective.loss(model(objectives={name: batch})["objectives"][name], batch)
    expected = naive(model, toy.sentences(batch))
    assert found.keys() == expected.keys()
    weights = [weight for _, weight in model.named_parameters()]
    for part, value in expected.items():
        assert (
            float(found[part].detach()) == pytest.approx(float(value.detach()), rel=1e-9)
            and float(value.detach()) > 0.1
        )
        gradients = [
            torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True) for loss in (found[part], value)
        ]
        for own, other in zip(*gradients, strict=True):
            zero = torch.zeros(())
            torch.testing.assert_close(
                *(zero if g is None or not g.any() else g for g in (own, other)), rtol=1e-7, atol=1e-10
            )


def test_the_contrast_of_sentences_worked_by_hand() -> None:
    one, other = torch.tensor([[2.0, 0], [0, 3]]), torch.tensor([[5.0, 0], [1, 1]])
    half = math.sqrt(0.5)
    forward = [math.log(1 + math.exp(half - 1)), math.log(1 + math.exp(0 - half))]
    back = [math.log(1 + math.exp(0 - 1)), math.log(1 + math.exp(half - half))]
    assert float(sentence_contrast(one, other, 1.0)) == pytest.approx(sum(forward) / 2, rel=1e-5)
    assert float(sentence_contrast(one, other, 1.0, both_ways=True)) == pytest.approx(sum(forward + back) / 4, rel=1e-5)


def test_the_contrast_of_tokens_worked_by_hand() -> None:
    """The only partners are token 0 of both sides; token 1 of the source is alone, and the target has one token."""
    tokens = torch.tensor([[[1.0, 0], [0, 1]], [[1.0, 1], [9, 9]]])
    partners = torch.tensor([[[True, False], [False, False]]])
    found = token_contrast(tokens, torch.tensor([2, 1]), partners, 1.0)
    half = math.sqrt(0.5)
    torch.testing.assert_close(found, torch.tensor([math.log(1 + math.exp(0 - half)), math.log(2)]))
    tokens.requires_grad_()
    crowded = token_contrast(tokens[:, :1], torch.tensor([1, 1]), partners[:, :1, :1], 1.0)
    assert crowded.tolist() == [0, 0], "no token is alone"
    crowded.sum().backward()
    assert not tokens.grad.any()


def test_the_pointer_worked_by_hand() -> None:
    scores = torch.log(torch.tensor([[[1.0, 3, 99], [5, 7, 99]], [[2.0, 6, 1], [2, 6, 1]]])[:, :, :2])
    partners = torch.tensor([[[True, True], [False, False]]])
    found = pointer_losses(scores, torch.tensor([1, 2]), partners)
    source = -(math.log(1 / 4) + math.log(3 / 4)) / 2
    torch.testing.assert_close(found, torch.tensor([source, 0.0, 0.0])), "the source has one position"


@pytest.mark.parametrize("name", [*MADE])
def test_batches_without_partners_give_no_loss_of_tokens(name: str) -> None:
    objective = MADE[name]()
    model, batch = trained(objective), objective.batch(0)
    if "partners" in batch:
        batch["partners"].zero_()
        losses = objective.loss(model(objectives={name: batch})["objectives"][name], batch)
        assert float(losses["veco_tokens" if name == "veco" else name]) == 0
        sum(losses.values()).backward()
        assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)
    else:
        assert name == "afp"
