"""Time the steps of a stock Trainer from within one run, so that start-up is never counted."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PrinterCallback, Trainer, TrainerCallback

from prealign.forward import training_forward
from prealign.recipe import Recipe
from prealign.training import training_arguments


class RoundClock(TrainerCallback):
    """Records `seconds`, those of one step on average over each round of `every` steps; the first round warms up.

    `between` runs after every round, off the clock; it is told whether the round counts.
    """

    def __init__(self, every: int, between: Callable[[bool], object] = lambda counts: None) -> None:
        self.every, self.between = every, between
        self.seconds: list[float] = []
        self._began = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close a round."""
        if state.global_step % self.every:
            return
        taken = (time.perf_counter() - self._began) / self.every
        counts = state.global_step > self.every
        if counts:
            self.seconds.append(taken)
        self.between(counts)
        self._began = time.perf_counter()


def train(model: Any, blocks: Dataset, recipe: Recipe, steps: int, folder: Path, clock: RoundClock) -> None:
    """Train as stage 2 does, without validation."""
    section = recipe.pretrain
    arguments = training_arguments(recipe, folder, section, steps=steps, batch_size=section.batch_size, seed=0)
    model = training_forward(model, recipe)
    trainer = Trainer(model, arguments, train_dataset=blocks, eval_dataset={}, callbacks=[clock])
    trainer.remove_callback(PrinterCallback)
    trainer.train()
