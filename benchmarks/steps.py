"""Time the steps of stage 2 from within one run, so that start-up is never counted."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import TrainerCallback

from benchmarks.material import SEED, Material
from prealign.methods.phase import main_phase
from prealign.recipe.sections import Recipe
from prealign.training import launch
from prealign.training.phase import train as train_phase


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


def train(material: Material, model: Any, blocks: Dataset, recipe: Recipe, folder: Path, clock: RoundClock) -> None:
    """Train on all blocks as stage 2 does, without validation."""
    steps = len(blocks) // (launch.count() * recipe.pretrain.batch_size)
    train_phase(
        replace(main_phase(recipe.pretrain), steps=steps),
        model,
        blocks,
        {},
        seed=SEED,
        folder=folder,
        on_progress=lambda progress: None,
        trainer=recipe.trainer,
        callbacks=[clock],
    )
