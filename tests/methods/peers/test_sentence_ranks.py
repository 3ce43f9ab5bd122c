"""Losses on sentences on two processes (gloo, CPU): the weights are those of one process with twice the batch."""

from __future__ import annotations

import faulthandler
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import parallel_toy as toy
import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import spawn

import toys
from prealign.methods.peers.afp import SentenceAlignment
from prealign.methods.peers.veco import TwoContrasts
from prealign.methods.peers.weam import Pointer
from prealign.methods.peers.xlco import XLCo
from prealign.methods.phase import Term
from prealign.methods.sentences.added_module import AddedModule
from prealign.methods.sentences.pairs import Partners
from prealign.methods.sentences.states import SentenceEncoder
from prealign.training.phase import train as train_phase

CONTEXT, RANKS, STEPS, PATIENCE = 10, 2, 3, 240
BLOCKS = toys.blocks(32, CONTEXT, vocabulary=60)
VALIDATION = {"en": toys.blocks(4, CONTEXT, vocabulary=60)}
METHODS = ("xlco", "afp", "veco", "weam")


def objective(name: str, size: int) -> Any:
    data, partners = toy.pairs(40), Partners(toy.Inputs(), toy.ESTIMATE)  # type: ignore[arg-type]
    encoder = SentenceEncoder(name, 1)
    if name == "xlco":
        return XLCo(encoder, data, size, queue=7, momentum=0.5, mixup=True, longest=10)
    if name == "afp":
        return SentenceAlignment(encoder, data, size, 0.5)
    return (
        TwoContrasts(encoder, data, size, partners, 0.5) if name == "veco" else Pointer(encoder, data, size, partners)
    )


def train(folder: Path, name: str, size: int) -> dict[str, Tensor]:
    """Three steps by plain gradient descent in float64, `size` blocks and pairs a device; weights and state."""
    made, model = objective(name, size), toys.llama().double()
    if hasattr(made, "module"):
        AddedModule(name, made.module).apply(model, fresh=True)
    settings: dict[str, Any] = {"steps": STEPS, "batch_size": size, "context": CONTEXT, "learning_rate": 0.05}
    train_phase(
        toys.phase(Term(made), weight_decay=0.0, **settings),
        model,
        BLOCKS,
        VALIDATION,
        seed=0,
        folder=folder,
        on_progress=lambda _: None,
        trainer={"bf16": False, "optim": "sgd"},
    )
    return {key: tensor.detach().clone() for key, tensor in model.state_dict().items()}


def one_rank(rank: int, folder: Path) -> None:
    faulthandler.dump_traceback_later(PATIENCE, exit=True)  # a rank that waits for ever says where, and ends
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(RANKS), "LOCAL_WORLD_SIZE": str(RANKS)}
    if sys.platform == "linux":
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    store = dist.FileStore(str(folder / "rendezvous"), RANKS)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=RANKS, timeout=timedelta(seconds=PATIENCE))
    torch.save({name: train(folder / f"{rank}-{name}", name, 2) for name in METHODS}, folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, Tensor]]]:
    folder = tmp_path_factory.mktemp("ranks")
    spawn(one_rank, (folder,), nprocs=RANKS)
    return [torch.load(folder / f"{rank}.pt") for rank in range(RANKS)]


@pytest.mark.parametrize("name", METHODS)
def test_two_ranks_are_one_with_twice_the_batch(ranks: list[Any], name: str, tmp_path: Path) -> None:
    expected, start = train(tmp_path, name, 4), toys.llama().double().state_dict()
    assert not any(torch.equal(start[key], expected[key]) for key in start if "layers.0" in key and "proj" in key)
    for rank in ranks:
        assert rank[name].keys() == expected.keys()
        for key, tensor in expected.items():  # queue and slow copy, too
            torch.testing.assert_close(
                rank[name][key], tensor, rtol=1e-9, atol=1e-12, msg=lambda told, key=key: key + told
            )
