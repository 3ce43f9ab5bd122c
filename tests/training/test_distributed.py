"""Two processes (gloo, CPU) do exactly what one process does on the joined batch."""

from __future__ import annotations

import faulthandler
import os
import sys
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.fsdp import fully_shard
from torch.multiprocessing.spawn import ProcessExitedException, spawn
from torch.nn.parallel import DistributedDataParallel

import toys
from prealign.evaluation.retrieval.established import UntilEstablished
from prealign.methods.alignment.objective import WordFormAlignment
from prealign.methods.goal import Goal
from prealign.methods.phase import Term
from prealign.training.forward import with_objectives
from prealign.training.phase import train as train_phase
from prealign.training.ranks import gather_weights

CONTEXT, RANKS, STEPS = 10, 2, 4
# Group 2 is met by both ranks, and [1, 2] is a surface of groups on both; rank 1 has more and longer forms.
WORDS = toys.forms([[1, 2], [20]], [[3], [21, 22]], [[4, 5, 6], [23]], [[7], [24], [1, 2]], [[8, 9, 10, 11], [25]])
GROUPS_OF_RANK = ([0, 1, 2], [2, 3, 4])
FORMS = 7  # of the rank that has most
BLOCKS = toys.blocks(32, CONTEXT, vocabulary=60)
# So many that neither batches nor ranks come out even; every token is a label, as in blocks of validation text.
VALIDATION = {
    name: toys.blocks(number, CONTEXT, vocabulary=60, seed=number).map(lambda row: {"labels": row["input_ids"]})
    for name, number in (("en", 9), ("de", 15))
}
RATES = {"learning_rate": 0.05, "weight_decay": 0.0, "warmup": 0.0}
# Group 0 draws one of three senses; [1, 2] relates groups 0 and 2 also when it is not drawn.
SENSES = toys.forms([[1, 2], [20], [3], [21]], [[3, 4], [22]], [[5], [23], [1, 2]], [[6, 7], [24]])
WAYS = {"whole": None, "micro-batches": 1}  # groups that each rank encodes at once
PATIENCE = 240  # seconds; the work itself takes about ten


def model() -> Any:
    return toys.llama().double()


def batch(groups: list[int]) -> dict[str, Tensor]:
    return WORDS.batch(torch.tensor(groups).numpy())


def wrapped(micro_pairs: int | None = None) -> tuple[Any, WordFormAlignment]:
    """A model with an objective that encodes `micro_pairs` groups at once."""
    objective = WordFormAlignment(WORDS, micro_pairs=micro_pairs)
    return with_objectives(model(), {"words": objective}), objective


def one_sense() -> WordFormAlignment:
    """An objective with one sense a group, two groups a rank."""
    return WordFormAlignment(SENSES, groups=2, senses="one", seed=3)


def loss_of(model: Any, objective: WordFormAlignment, words: dict[str, Tensor], rows: slice) -> Tensor:
    """L_align + L_LM of one process: its words and its text."""
    text = {key: torch.tensor(BLOCKS[rows][key]) for key in ("input_ids", "labels")}
    text["labels"] = text["input_ids"]  # as many labels on each rank, so that the mean of means is the mean
    output = model(**text, objectives={"words": words})
    return objective.loss(output["objectives"]["words"], words)["align"] + output["loss"]


class Reached:
    """A sample of word pairs that are all aligned."""

    pairs = (None,)

    def __call__(self, model: Any) -> dict[str, float]:
        return {"de": 1.0}


MANY = toys.forms(*([[i], [30 + i]] for i in range(1, 25)))  # enough groups for every step of one pass


def one_way_with_less_text(folder: Path, *, batch_size: int, groups: int) -> dict[str, Tensor]:
    """The weights after some steps of one-way alignment with text at every second one, by gradient descent in float64."""
    objective = WordFormAlignment(MANY, groups=groups, one_way=True)
    shape: dict[str, Any] = {"steps": STEPS, "batch_size": batch_size, "context": CONTEXT, **RATES}
    trained = model()
    train_phase(
        toys.phase(Term(objective), lm_every=2, **shape), trained, BLOCKS, VALIDATION, seed=0, folder=folder,
        on_progress=lambda _: None, trainer={"bf16": False, "optim": "sgd"}, eval_batch_size=4,
    )  # fmt: skip
    return {name: p.detach().clone() for name, p in trained.named_parameters()}


def train(
    folder: Path,
    micro_pairs: int | None = None,
    *,
    embedding_alone: bool = False,
    batch_size: int,
    groups: int,
    until: float | None = None,
) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    """A phase of a few steps with words at every second one, by plain gradient descent in float64.

    until: a goal that is reached at the first measurement, long before the last step; words are then at every 20th step,
    as there are too few groups for more passes. embedding_alone: without L_LM, so that steps with words leave the blocks
    out. Returns the weights, and the validation perplexities of each step.
    """
    lm_weight, layers = (0.0, "embedding") if embedding_alone else (1.0, "all")
    objective = WordFormAlignment(WORDS, groups=groups, layers=layers, micro_pairs=micro_pairs)
    shape: dict[str, Any] = {"steps": 60 if until else STEPS, "batch_size": batch_size, "context": CONTEXT, **RATES}
    phase = toys.phase(
        Term(objective, every=20 if until else 2), lm_weight=lm_weight, goal=until and Goal(until, WORDS, 1), **shape
    )
    trained = model()
    record = train_phase(
        phase,
        trained,
        toys.blocks(240, CONTEXT, vocabulary=60) if until else BLOCKS,
        VALIDATION,
        seed=0,
        folder=folder,
        on_progress=lambda _: None,
        trainer={"bf16": False, "optim": "sgd"},
        eval_batch_size=4,
        validations=8,
        callbacks=[UntilEstablished(Reached(), until)] if until else [],  # type: ignore[arg-type]
    )
    history = record["history"]
    assert record["steps"] == (28 if until else STEPS)
    weights = {name: p.detach().clone() for name, p in trained.named_parameters()}
    return weights, [point["validation"] for point in history if "validation" in point]


def sharded(rank: int) -> dict[str, Any]:
    """Gradients of the same step under FSDP2 (each block a unit, the rest the root's), and the weights put together.

    In micro-batches one rank alone would need one more, for which the other would not gather its shards.
    """
    gradients = {}
    for way, micro in WAYS.items():
        parts, objective = wrapped(micro)
        for block in parts.model.layers:
            fully_shard(block)
        fully_shard(parts)
        loss_of(parts, objective, batch(GROUPS_OF_RANK[rank]), slice(4 * rank, 4 * rank + 4)).backward()
        gradients[f"{way}: sharded"] = {name: p.grad.full_tensor() for name, p in parts.named_parameters()}
    local = sum(p.to_local().numel() for p in parts.parameters())
    gather_weights(parts)
    return {
        **gradients,
        "local": local,
        "gathered": {name: p.detach() for name, p in parts.named_parameters()},
    }


def one_rank(rank: int, folder: Path) -> None:
    """What each of two processes does: save the gradients of one step, and the weights after some steps."""
    faulthandler.dump_traceback_later(PATIENCE, exit=True)  # a rank that waits for ever says where, and ends
    torch.set_num_threads(1)  # waiting threads of two ranks would take the cores from those that work
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(RANKS), "LOCAL_WORLD_SIZE": str(RANKS)}
    if sys.platform == "linux":
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"  # whatever name the machine has, and whether it resolves
    # A file to meet at: a port found free may be taken by the time it is used.
    store = dist.FileStore(str(folder / "rendezvous"), RANKS)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=RANKS, timeout=timedelta(seconds=PATIENCE))
    found = sharded(rank)
    for way, micro in WAYS.items():
        own, objective = wrapped(micro)
        parallel = DistributedDataParallel(own)
        loss_of(parallel, objective, batch(GROUPS_OF_RANK[rank]), slice(4 * rank, 4 * rank + 4)).backward()
        found[f"{way}: gradients"] = {name: p.grad for name, p in parallel.module.named_parameters()}
        found[f"{way}: weights"], found[f"{way}: validation"] = train(folder, micro_pairs=micro, batch_size=2, groups=2)
    objective = one_sense()
    parallel = DistributedDataParallel(with_objectives(model(), {"words": objective}))
    text = slice(4 * rank, 4 * rank + 4)
    loss_of(parallel, objective, objective.batch(0, rank, RANKS), text).backward()
    found["one sense: gradients"] = {name: p.grad for name, p in parallel.module.named_parameters()}
    found["embedding alone: weights"], found["embedding alone: validation"] = train(
        folder, embedding_alone=True, batch_size=2, groups=2
    )
    found["one way: weights"] = one_way_with_less_text(folder, batch_size=2, groups=2)
    found["until: weights"], _ = train(folder, batch_size=2, groups=2, until=0.9)
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("ranks")
    try:
        spawn(one_rank, (folder,), nprocs=RANKS)
    except ProcessExitedException as error:  # not an exception of a rank: it was ended while it waited
        warnings.warn(f"{error}; once more, as sockets of a busy machine may fail to connect", stacklevel=2)
        folder = tmp_path_factory.mktemp("ranks")
        spawn(one_rank, (folder,), nprocs=RANKS)
    return [torch.load(folder / f"{rank}.pt") for rank in range(RANKS)]


@pytest.mark.parametrize("way", [f"{way}: {kind}" for way in WAYS for kind in ("gradients", "sharded")])
def test_gradients_of_two_ranks_are_those_of_the_joined_batch(ranks: list[dict[str, Any]], way: str) -> None:
    (alone, objective), words = wrapped(), [batch(groups) for groups in GROUPS_OF_RANK]
    assert [len(own["word_ids"]) for own in words] == [6, FORMS]
    width = max(one["word_ids"].shape[1] for one in words)
    joined = {key: torch.cat([one[key] for one in words]) for key in ("word_lengths", "word_groups", "word_surfaces")}
    pad = [torch.nn.functional.pad(one["word_ids"], (0, width - one["word_ids"].shape[1])) for one in words]
    loss_of(alone, objective, {**joined, "word_ids": torch.cat(pad)}, slice(0, 8)).backward()
    for name, parameter in alone.named_parameters():
        for rank in ranks:
            torch.testing.assert_close(rank[way][name], parameter.grad, rtol=1e-9, atol=1e-13)


def test_gradients_of_two_ranks_with_one_sense_are_those_of_the_joined_batch(ranks: list[dict[str, Any]]) -> None:
    objective = one_sense()
    objective.groups = 4
    alone, joined = with_objectives(model(), {"words": objective}), objective.batch(0)
    parts = [one_sense().batch(0, rank, RANKS) for rank in range(RANKS)]
    assert sorted(joined["word_surfaces"].tolist()) == sorted(s for p in parts for s in p["word_surfaces"].tolist())
    loss_of(alone, objective, joined, slice(0, 8)).backward()
    for name, parameter in alone.named_parameters():
        for rank in ranks:
            torch.testing.assert_close(rank["one sense: gradients"][name], parameter.grad, rtol=1e-9, atol=1e-13)


def test_one_way_alignment_with_less_text_is_the_same_on_two_ranks(ranks: list[dict[str, Any]], tmp_path: Path) -> None:
    expected = one_way_with_less_text(tmp_path, batch_size=4, groups=4)
    start = dict(model().named_parameters())
    assert not any(torch.equal(weight, start[name]) for name, weight in expected.items())
    for name, weight in expected.items():
        for rank in ranks:
            torch.testing.assert_close(rank["one way: weights"][name], weight, rtol=1e-8, atol=1e-11)


def test_two_ranks_end_at_the_goal_with_the_weights_of_one(ranks: list[dict[str, Any]], tmp_path: Path) -> None:
    expected, _ = train(tmp_path, batch_size=4, groups=4, until=0.9)
    for name, weight in expected.items():
        for rank in ranks:
            torch.testing.assert_close(rank["until: weights"][name], weight, rtol=1e-8, atol=1e-11)


def test_sharded_weights_are_put_together_again(ranks: list[dict[str, Any]]) -> None:
    whole = dict(model().named_parameters())
    assert sum(rank["local"] for rank in ranks) < 1.5 * sum(p.numel() for p in whole.values()), "each had a part only"
    for rank in ranks:
        assert rank["gathered"].keys() == whole.keys()
        assert all(torch.equal(rank["gathered"][name], weight) for name, weight in whole.items())


@pytest.mark.parametrize("way", [*WAYS, "embedding alone"])
def test_training_on_two_ranks_is_training_on_one_with_twice_the_batch(
    ranks: list[dict[str, Any]], way: str, tmp_path: Path
) -> None:
    expected, validation = train(tmp_path, embedding_alone=way == "embedding alone", batch_size=4, groups=4)
    start = dict(model().named_parameters())
    moved = {name for name, weight in expected.items() if not torch.equal(weight, start[name])}
    assert moved == ({"model.embed_tokens.weight"} if way == "embedding alone" else set(start))
    for name, weight in expected.items():
        for rank in ranks:
            torch.testing.assert_close(rank[f"{way}: weights"][name], weight, rtol=1e-9, atol=1e-12)
    assert len(validation) == STEPS
    for rank in ranks:
        for found, own in zip(rank[f"{way}: validation"], validation, strict=True):
            assert found == pytest.approx(own, rel=1e-6)  # the Trainer keeps losses in float32
