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
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import Trainer, default_data_collator

from prealign.errors import RecipeError
from prealign.methods.alignment.loss import ExcludedPairs, WordAlignmentLoss
from prealign.methods.alignment.objective import _most, gather_words


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
