"""Twin-masked softmax: against naive loops, by hand, over two ranks, and as an arm."""

from __future__ import annotations

import faulthandler
import math
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import text_losses as toy
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.multiprocessing.spawn import spawn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

import toy_experiment
import toys
from prealign.errors import RecipeError
from prealign.files import read_json
from prealign.methods.peers.next_word import NextWord
from prealign.methods.peers.text_rows import PART
from prealign.methods.peers.twin_mask import TwinMask
from prealign.methods.phase import Objective
from prealign.recipe.methods import AnchorSection, NextWordSection, TwinMaskSection
from prealign.run.experiment import run_experiment
from prealign.run.folder import RunFolder
from prealign.training.forward import with_objectives

PATIENCE = 240


def objective(**section: Any) -> TwinMask:
    return TwinMask(TwinMaskSection(**section), toy.inputs(), anchor=AnchorSection())


def correction(made: TwinMask, ids: Tensor, labels: Tensor, logits: Tensor) -> Tensor:
    batch = made.of_text(ids, labels)
    return made.loss(made.encode(None, {**batch, "text_logits": logits}), batch)["twin_mask"]


def naive(labels: Tensor, logits: Tensor, gamma: float, keep: int) -> Tensor:
    """L_LM whose denominators have twins scaled, minus L_LM, by loops."""
    masked, plain = [], []
    for b in range(labels.shape[0]):
        for t in range(1, labels.shape[1]):
            label = int(labels[b, t])
            if label >= 0:
                twins = [token for token, _ in toy.heaviest(label, None, keep)]
                shares = logits[b, t - 1].exp()
                scaled = sum(shares[v] * (gamma if v in twins else 1.0) for v in range(toy.ROWS))
                masked.append(scaled.log() - logits[b, t - 1, label])
                plain.append(shares.sum().log() - logits[b, t - 1, label])
    return torch.stack(masked).mean() - torch.stack(plain).mean()


@pytest.mark.parametrize(("gamma", "keep", "seed"), [(0.1, 8, 0), (0.0, 8, 1), (0.5, 1, 2), (1.0, 8, 3)])
def test_correction_and_gradient_are_those_of_a_naive_loop(gamma: float, keep: int, seed: int) -> None:
    ids, labels = toy.text(5, seed=seed)
    logits = torch.randn(5, 9, toy.ROWS, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    made, results = objective(gamma=gamma, twins=keep), []
    for compute in (lambda z: correction(made, ids, labels, z), lambda z: naive(labels, z, gamma, keep)):
        own = logits.clone().requires_grad_()
        loss = compute(own)
        results.append((loss.detach(), *torch.autograd.grad(2 * loss, own)))
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_a_case_worked_by_hand() -> None:
    # The twins of 2 are 8 and 9: of fourteen equal logits they have 2/14. The label 0 has none, and counts as a label.
    ids, labels = torch.tensor([[0, 2, 0]]), torch.tensor([[2, 2, 0]])
    logits = torch.zeros(1, 3, toy.ROWS, dtype=torch.float64)
    for gamma in (0.0, 0.1, 1.0):
        expected = math.log(1 - (1 - gamma) * 2 / 14) / 2
        assert float(correction(objective(gamma=gamma), ids, labels, logits)) == pytest.approx(expected, abs=1e-15)


@given(st.floats(-80, 80), st.floats(0, 1))
def test_extreme_logits_stay_finite(twin: float, gamma: float) -> None:
    """A twin that takes all of the softmax leaves the loss of the label among the others."""
    logits = torch.zeros(1, 2, toy.ROWS)
    logits[0, 0, 8] = logits[0, 0, 9] = twin
    logits.requires_grad_()
    ids = torch.tensor([[0, 2]])
    loss = correction(objective(gamma=gamma), ids, torch.tensor([[-100, 2]]), logits)
    precise = math.log(12 + 2 * gamma * math.exp(twin)) - math.log(12 + 2 * math.exp(twin))
    assert loss.item() == pytest.approx(precise, abs=1e-4, rel=1e-4)
    (slope,) = torch.autograd.grad(loss, logits)
    assert slope.isfinite().all()


def test_more_rows_than_a_part_holds_are_scored_alike() -> None:
    rows = PART // 4  # four rows of logits a part
    ids, labels = toy.text(2)
    logits = torch.full((2, 9, rows), -60.0)
    logits[..., : toy.ROWS] = torch.randn(2, 9, toy.ROWS, generator=torch.Generator().manual_seed(0))
    few = correction(objective(), ids, labels, logits[..., : toy.ROWS].clone())
    torch.testing.assert_close(correction(objective(), ids, labels, logits), few, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.1])
def test_it_stops_l_lm_from_pushing_twins_down(gamma: float) -> None:
    ids, labels = torch.tensor([[0, 2]]), torch.tensor([[-100, 2]])
    logits = torch.randn(1, 2, toy.ROWS, dtype=torch.float64, requires_grad=True)
    lm = F.cross_entropy(logits[0, :1], labels[0, 1:])
    (plain,) = torch.autograd.grad(lm, logits, retain_graph=True)
    (both,) = torch.autograd.grad(lm + correction(objective(gamma=gamma), ids, labels, logits), logits)
    if gamma == 0:
        assert both[0, 0, 8:10].abs().max() < 1e-15
    assert (both[0, 0, 8:10] < plain[0, 0, 8:10]).all() and both.sum().abs() < 1e-12


def test_models_that_change_their_logits_are_refused() -> None:
    model = toys.gemma()
    objective().check(model)
    model.config.final_logit_softcapping = 30.0
    with pytest.raises(RecipeError, match=r"twin_mask needs .* final_logit_softcapping 30\.0\. Leave out"):
        objective().check(model)


# Two ranks


def objectives() -> dict[str, Objective]:
    return {
        "twin_mask": objective(),
        "next_word": NextWord(NextWordSection(share=0.6), toy.inputs(), anchor=AnchorSection()),
    }


def loss_of(model: Any, made: dict[str, Objective], rows: slice) -> Tensor:
    ids, labels = toy.text(6)
    ids, labels = ids[rows], labels[rows]
    batches = {name: one.of_text(ids, labels) for name, one in made.items()}
    found = model(input_ids=ids, objectives=batches)["objectives"]
    return sum((sum(one.loss(found[name], batches[name]).values()) for name, one in made.items()), torch.zeros(()))


def model_with(made: dict[str, Objective]) -> Any:
    return with_objectives(toys.llama(toy.ROWS).double(), made)


def one_rank(rank: int, folder: Path) -> None:
    """The gradients of one of two processes, which have different numbers of blocks and labels."""
    faulthandler.dump_traceback_later(PATIENCE, exit=True)
    torch.set_num_threads(1)
    if sys.platform == "linux":
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    store = dist.FileStore(str(folder / "rendezvous"), 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=timedelta(seconds=PATIENCE))
    made = objectives()
    parallel = DistributedDataParallel(model_with(made))
    loss_of(parallel, made, slice(0, 2) if rank == 0 else slice(2, 6)).backward()
    torch.save({name: p.grad for name, p in parallel.module.named_parameters()}, folder / f"{rank}.pt")
    del parallel  # before the group that it holds
    dist.barrier()
    dist.destroy_process_group()


def test_two_ranks_have_the_gradients_of_one_with_all_blocks(tmp_path: Path) -> None:
    spawn(one_rank, (tmp_path,), nprocs=2)
    made = objectives()
    alone = model_with(made)
    loss_of(alone, made, slice(0, 6)).backward()
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt")
        for name, parameter in alone.named_parameters():
            torch.testing.assert_close(found[name], parameter.grad, rtol=1e-9, atol=1e-13)


def test_it_runs_as_an_arm(tmp_path: Path) -> None:
    made = toy_experiment.recipe(tmp_path / "text", arms=["joint", "joint_twin_mask"])
    run_experiment(made, RunFolder(tmp_path / "run"), lambda _: None, command="test")
    results = read_json(tmp_path / "run" / "results.json")
    steps = {row["arm"]: row["steps"] for row in results["budget"] if row["stage"] == "pretrain"}
    assert steps["joint_twin_mask"] == steps["joint"]
    (points,) = [row["points"] for row in results["history"] if row["arm"] == "joint_twin_mask"]
    for point in points:
        assert point["twin_mask_loss"] < 0
        assert point["loss"] == pytest.approx(point["lm_loss"] + point["twin_mask_loss"], rel=1e-3)
