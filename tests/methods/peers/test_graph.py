"""GraphMerge: the hops against a loop in float64, the graph by hand, the export, and its cost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse
from torch.utils.flop_counter import FlopCounterMode

import toys
from prealign.methods.alignment.states import tied
from prealign.methods.peers.graph import GraphMerge, MergedVocabulary, both_ways
from prealign.methods.vocabulary.anchored import LexiconAnchors

ROWS, SOURCES = 14, 6
COUNTS = {"en": np.repeat([50, 0], SOURCES), "de": np.repeat([0, 50], SOURCES)}
WORDS = toys.forms([[0], [7]], [[1], [8]], [[2], [8]], [[3, 4], [9]], count=[1, 4, 1, 1])


def test_the_graph_goes_both_ways_worked_by_hand() -> None:
    shares = np.zeros((5, 5))
    shares[3, [0, 1]] = 0.25, 0.75
    shares[4, 1] = 1.0
    found = both_ways(sparse.csr_matrix(shares)).toarray()
    expected = shares.copy()
    expected[0, 3], expected[1, 3], expected[1, 4] = 1.0, 0.75 / 1.75, 1 / 1.75
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("hops", [1, 2])
def test_hops_equal_a_loop(hops: int) -> None:
    generator = np.random.default_rng(0)
    graph, weight = generator.random((9, 9)) * (generator.random((9, 9)) < 0.3), generator.normal(size=(9, 4))
    module = GraphMerge(sparse.csr_matrix(graph), 4, hops).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.from_numpy(generator.normal(size=parameter.shape)))
    expected = [weight[row].tolist() for row in range(9)]
    for hop in range(hops):
        neighbours, own = (p[hop].tolist() for p in (module.neighbours.detach(), module.own.detach()))
        before, expected = expected, []
        for row in range(9):
            mixed = [sum(np.float32(graph[row, j]).item() * before[j][d] for j in range(9)) for d in range(4)]
            expected.append(
                [sum(neighbours[i][d] * mixed[d] + own[i][d] * before[row][d] for d in range(4)) for i in range(4)]
            )
    np.testing.assert_allclose(module(torch.from_numpy(weight)).detach(), expected, rtol=1e-9)


@pytest.fixture(params=["untied", "tied", "gpt2"])
def model(request: pytest.FixtureRequest) -> Any:
    return toys.gpt2(rows=ROWS) if request.param == "gpt2" else toys.llama(rows=ROWS, tied=request.param == "tied")


def trained(model: Any, steps: int) -> torch.Tensor:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    ids = torch.tensor([[0, 7, 1, 8, 2, 9, 3, 4, 5]])
    for _ in range(steps):
        optimizer.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
    return model(input_ids=ids).logits.detach()


@pytest.mark.parametrize("hops", [1, 2])
def test_it_starts_with_the_models_outputs_and_exports_what_was_trained(model: Any, hops: int) -> None:
    model.eval()
    names, was_tied, before = [name for name, _ in model.named_parameters()], tied(model), trained(model, 0)
    merged = MergedVocabulary(LexiconAnchors(WORDS, COUNTS, ["en", "de"]), hops)
    merged.apply(model, fresh=True)
    torch.testing.assert_close(trained(model, 0), before)
    after = trained(model, 3)
    module = model.get_input_embeddings().parametrizations.weight[0]
    assert (module.neighbours.detach().abs().amax((1, 2)) > 1e-3).all(), "every hop learns"
    merged.export(model)
    torch.testing.assert_close(trained(model, 0), after)
    assert [name for name, _ in model.named_parameters()] == names and tied(model) == was_tied


@pytest.mark.parametrize("tie", [False, True])
@pytest.mark.parametrize("hops", [1, 2])
def test_the_cost_is_what_torch_counts(hops: int, tie: bool) -> None:
    ids, flops = torch.tensor([[0, 7, 1, 8]]), []
    merged = MergedVocabulary(LexiconAnchors(WORDS, COUNTS, ["en", "de"]), hops)
    for graph in (False, True):
        model = toys.llama(rows=ROWS, tied=tie)
        if graph:
            merged.apply(model, fresh=True)
        with FlopCounterMode(display=False) as counter:
            model(input_ids=ids, labels=ids).loss.backward()
        flops.append(counter.get_total_flops())
    assert merged.step_cost(toys.llama(rows=ROWS, tied=tie)).flops == flops[1] - flops[0]
