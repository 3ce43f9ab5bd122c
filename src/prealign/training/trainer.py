"""A Trainer whose loss is lm_weight · L_LM plus the losses of a phase's objectives.

1. A training example is one whole step of one rank (`PhaseSteps`): a batch of text blocks, and one batch for each
   objective of that step. The step number decides both, so order, resume and sharding are those of the stock Trainer.
2. The model's forward encodes the objectives' batches beside the text (`prealign.training.forward.with_objectives`).
3. Each objective turns its encoded batch into named parts of the loss. The parts are weighted, summed and logged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import default_data_collator

from prealign.errors import RecipeError
from prealign.methods.phase import Phase
from prealign.training.optimiser import OptimisedTrainer

OBJECTIVES = "objectives"
"""Key of {name: batch} in an example, and of {name: encoded batch} in the output of the forward."""


class PhaseSteps(torch.utils.data.Dataset[dict[str, Any]]):
    """Example e of a phase: blocks e·B .. e·B+B-1 (B = batch_size), and a batch for each objective of its step.

    At step s, rank r of `ranks` reads example s·ranks + r. All ranks therefore have the same objectives in a step. With
    `lm_every` k, only steps 0, k, 2k, … have text: step s reads the blocks of example (s / k)·ranks + r.
    """

    def __init__(self, blocks: Dataset, phase: Phase, *, ranks: int = 1) -> None:
        assert phase.lm_every == 1 or any(term.every == 1 for term in phase.terms), "a step would read nothing"
        self.blocks, self.phase, self.ranks = blocks.with_format("torch"), phase, ranks

    def __len__(self) -> int:
        return len(self.blocks) // self.phase.batch_size * self.phase.lm_every

    def __getitem__(self, example: int) -> dict[str, Any]:
        step, rank = divmod(example, self.ranks)
        item: dict[str, Any] = {}
        if step % self.phase.lm_every == 0:
            first = (step // self.phase.lm_every * self.ranks + rank) * self.phase.batch_size
            rows = self.blocks[first : first + self.phase.batch_size]
            item = {"input_ids": rows["input_ids"].long(), "labels": rows["labels"].long()}
        batches: dict[str, dict[str, Tensor]] = {}
        for term in self.phase.terms:
            if step % term.every == 0:
                objective = term.objective
                batch = objective.batch(step // term.every, rank, self.ranks)
                text = objective.of_text(item["input_ids"], item["labels"]) if objective.reads_text else {}
                batches[objective.name] = batch | text
        return item | ({OBJECTIVES: batches} if batches else {})


def collate(examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the single training example unchanged: it is a whole batch. Stack validation blocks."""
    if "input_ids" not in examples[0] or torch.as_tensor(examples[0]["input_ids"]).ndim == 2:
        (step,) = examples
        return step
    return default_data_collator(list(examples))


class PhaseTrainer(OptimisedTrainer):
    """The Trainer with the loss of the module. `train_dataset` is a `PhaseSteps`; evaluation is unchanged.

    Gradient accumulation is a RecipeError: in-batch negatives are not additive.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.args.gradient_accumulation_steps > 1:
            raise RecipeError(
                "gradient accumulation does not make a bigger alignment batch: in-batch negatives are not additive. "
                "Set trainer.gradient_accumulation_steps to 1 and raise align.pairs_per_batch instead; "
                "align.micro_pairs bounds the memory it takes."
            )
        self._parts: dict[str, list[Tensor]] = {}

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the loss of a step. Inputs without objectives give lm_weight · L_LM, or in validation L_LM."""
        batches = inputs.get(OBJECTIVES)
        if batches is None:
            loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
            return loss if return_outputs or not model.training else self.phase.lm_weight * loss
        parts: dict[str, Tensor] = {}
        if self.phase.lm_weight and "input_ids" in inputs:
            parts["lm"], output = super().compute_loss(model, inputs, True, num_items_in_batch)
        else:
            output = model(**{OBJECTIVES: batches})
        total = self.phase.lm_weight * parts.get("lm", torch.zeros((), device=self.args.device))
        progress = self.state.global_step / max(1, self.state.max_steps)
        for term in self.phase.terms:
            name = term.objective.name
            if name in batches:
                losses = term.objective.loss(output[OBJECTIVES][name], batches[name])
                parts |= losses
                total = total + term.weight_at(progress) * sum(losses.values())
        self._keep_for_log(parts)
        return (total, output) if return_outputs else total

    @property
    def parts(self) -> dict[str, Tensor]:
        """The last value of each part of the loss, by its name in the log."""
        return {name: values[-1] for name, values in self._parts.items()}

    def _keep_for_log(self, parts: dict[str, Tensor]) -> None:
        for name, value in parts.items():
            self._parts.setdefault(f"{name}_loss", []).append(value.detach())

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log like the stock Trainer, plus the mean of each part of the loss since the last entry, over all ranks."""
        if "loss" in logs:
            means = {name: torch.stack(values).float().mean() for name, values in self._parts.items()}
            logs |= {name: float(self.accelerator.reduce(mean, "mean")) for name, mean in means.items()}
            self._parts.clear()
        super().log(logs, *args, **kwargs)
