"""The alignment objective: which words a step reads, and their loss over all ranks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from datasets import Dataset
from torch import Tensor
from torch.distributed.nn.functional import all_gather
from torch.nn import functional as F

from prealign.errors import RecipeError
from prealign.methods.alignment.states import tied
from prealign.methods.alignment.words import WordForms


def layer_slice(layers: str, model: Any) -> slice:
    """Return the layers of `align.layers` that take part. "output" with tied embeddings is a RecipeError."""
    if layers == "output" and tied(model):
        raise RecipeError(
            "align.layers is 'output', but the model ties its embeddings, so the output embedding is layer 0. "
            "Use align.layers: embedding, or model.tie_embeddings: false."
        )
    return {"all": slice(None), "embedding": slice(0, 1), "output": slice(-1, None)}[layers]


class AlignmentSteps(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Example e: blocks e·B .. e·B+B-1 and, every `every`-th step, a batch of `groups` translation groups.

    Rank r of `ranks` reads example s·ranks + r at step s, so all ranks meet words at the same steps.
    """

    def __init__(
        self,
        blocks: Dataset,
        words: WordForms,
        *,
        batch_size: int,
        groups: int,
        every: int = 1,
        seed: int = 0,
        ranks: int = 1,
    ) -> None:
        self.blocks = blocks.with_format("torch")
        self.words, self.batch_size, self.groups = words, batch_size, groups
        self.every, self.seed, self.ranks = every, seed, ranks

    def __len__(self) -> int:
        return len(self.blocks) // self.batch_size

    def __getitem__(self, example: int) -> dict[str, Tensor]:
        rows = self.blocks[example * self.batch_size : (example + 1) * self.batch_size]
        item = {"input_ids": rows["input_ids"].long(), "labels": rows["labels"].long()}
        step, rank = divmod(example, self.ranks)
        if step % self.every == 0:
            item |= self.words.numbered_batch(step // self.every * self.ranks + rank, self.groups, self.seed)
        return item


def _several_ranks() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _most(*numbers: int, device: torch.device) -> Sequence[int]:
    """Return the greatest that any rank has of each."""
    if not _several_ranks():
        return numbers
    most = torch.tensor(numbers, device=device)
    dist.all_reduce(most, dist.ReduceOp.MAX)
    return [*map(int, most.tolist())]


def gather_words(states: Tensor, groups: Tensor, surfaces: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Join the word forms of all ranks, padding before the collective and cutting after it.

    states (L, W, D), groups and surfaces (W,), W may differ by rank. Gradients flow to every rank's states: the backward
    of the gather sums over ranks, so with gradients averaged over ranks (DDP, FSDP) each rank's loss of the joined batch
    yields exactly its gradient. One process gets its own tensors back.
    """
    if not _several_ranks():
        return states, groups, surfaces
    count = torch.tensor([len(groups)], device=groups.device)
    counts = [torch.empty_like(count) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, count)
    sizes = [int(c) for c in counts]
    padding = max(sizes) - len(groups)
    gathered = all_gather(F.pad(states, (0, 0, 0, padding)).contiguous())
    states = torch.cat([part[:, :size] for part, size in zip(gathered, sizes, strict=True)], dim=1)
    labels = F.pad(torch.stack([groups, surfaces]), (0, padding)).contiguous()
    label_parts = [torch.empty_like(labels) for _ in sizes]
    dist.all_gather(label_parts, labels)
    labels = torch.cat([part[:, :size] for part, size in zip(label_parts, sizes, strict=True)], dim=1)
    return states, labels[0], labels[1]
