"""A Trainer whose loss is weight · L_align + lm_weight · L_LM: stage 1, and stage 2 with sustained alignment.

1. A training example is one whole step of one rank (`AlignmentSteps`): a batch of text blocks and a batch of word forms,
   both known from the step's number. So order, resume and sharding stay the stock Trainer's.
2. `with_word_states` lets the model's own forward return word states beside the LM loss: one wrapped forward, as data
   parallel and sharded training need it.
3. With `micro_pairs`, words are encoded in micro-batches whose activations are made again in the backward pass (see
   `states`): one forward and one backward all the same, so nothing else of a step changes.
4. The states of all ranks are gathered with gradients; each rank scores the joined batch, and its gradient is scaled so
   that the average over ranks is the gradient of one process on that batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from datasets import Dataset
from torch import Tensor
from torch.distributed.nn.functional import all_gather
from torch.nn import functional as F
from transformers import Trainer, default_data_collator

from prealign.alignment.loss import ExcludedPairs, WordAlignmentLoss
from prealign.alignment.states import encoded_word_states, tied
from prealign.alignment.words import WordForms
from prealign.errors import RecipeError
from prealign.forward import replace_forward


def with_word_states(model: Any) -> Any:
    """Give this model instance a forward that, called with `word_ids` and `word_lengths`, also returns `word_states`.

    Calls without word inputs are those of the forward it had. Returns the model.
    """

    def make(inner: Callable[..., Any]) -> Callable[..., Any]:
        # Under `trainer.torch_compile` this frame is left as it is and the inner forward is compiled, whose text always
        # has the same shape: a graph that saw the words would be compiled again for each new shape of theirs.
        @torch.compiler.disable(recursive=False)
        def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
            words = kwargs.pop("word_ids", None)
            if words is None:
                return inner(self, *args, **kwargs)
            inputs = (
                words,
                kwargs.pop("word_lengths"),
                *(kwargs.pop(n, None) for n in ("bos", "word_micro", "word_most")),
            )
            output = dict(inner(self, *args, **kwargs)) if "input_ids" in kwargs else {}
            return {**output, "word_states": encoded_word_states(self, *inputs)}

        return forward

    return replace_forward(model, make)


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


def collate(examples: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """A training example is a batch already; blocks for validation are stacked."""
    if torch.as_tensor(examples[0]["input_ids"]).ndim == 2:
        (step,) = examples
        return step
    return default_data_collator(list(examples))


class AlignmentTrainer(Trainer):
    """Stock Trainer with the loss above. `training_dataset` is an `AlignmentSteps`; evaluation is the stock one's.

    weight, lm_weight: of L_align and L_LM; temperature: tau; layers: which of the (L+2) layers take part; bos: the id
    words are encoded after, if any; micro_pairs: translation groups whose activations are in memory at once, all if None.
    """

    def __init__(
        self,
        *args: Any,
        weight: float,
        lm_weight: float = 1.0,
        temperature: float = 0.1,
        layers: slice = slice(None),
        bos: int | None = None,
        micro_pairs: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if self.args.gradient_accumulation_steps > 1:
            raise RecipeError(
                "gradient accumulation does not make a bigger alignment batch: in-batch negatives are not additive. "
                "Set trainer.gradient_accumulation_steps to 1 and raise align.pairs_per_batch instead; "
                "align.micro_pairs bounds the memory it takes."
            )
        self.weight, self.lm_weight, self.layers, self.bos = weight, lm_weight, layers, bos
        self.micro_pairs = micro_pairs
        self.alignment_loss = WordAlignmentLoss(temperature)
        self._parts: dict[str, list[Tensor]] = {}

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return weight · L_align + lm_weight · L_LM of a step; L_LM alone for inputs without words."""
        if "word_ids" not in inputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        inputs = dict(inputs)
        groups, surfaces = inputs.pop("word_groups"), inputs.pop("word_surfaces")
        if self.bos is not None:
            inputs["bos"] = self.bos
        forms, pairs = _most(len(groups), len(groups.unique()), device=groups.device)
        inputs["word_most"] = forms
        if self.micro_pairs is not None and self.micro_pairs < pairs:
            inputs["word_micro"] = math.ceil(self.micro_pairs * forms / pairs)
        if self.lm_weight:
            lm_loss, output = super().compute_loss(model, inputs, True, num_items_in_batch)
        else:
            output = model(**{k: v for k, v in inputs.items() if k not in ("input_ids", "labels")})
            lm_loss = torch.zeros((), device=groups.device)
        states, groups, surfaces = gather_words(output["word_states"][self.layers], groups, surfaces)
        align_loss = self.alignment_loss(states, groups, ExcludedPairs(groups, surfaces))
        self._note(align_loss=align_loss, lm_loss=lm_loss)
        loss = self.weight * align_loss + self.lm_weight * lm_loss
        return (loss, output) if return_outputs else loss

    def _note(self, **parts: Tensor) -> None:
        for name, value in parts.items():
            self._parts.setdefault(name, []).append(value.detach())

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log as the stock Trainer, with the mean of each part of the loss since the last time, over all ranks."""
        if "loss" in logs:
            means = {name: torch.stack(values).float().mean() for name, values in self._parts.items()}
            logs |= {name: float(self.accelerator.reduce(mean, "mean")) for name, mean in means.items()}
            self._parts.clear()
        super().log(logs, *args, **kwargs)


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
