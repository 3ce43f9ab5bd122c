"""Alignment over the course of a stage: word retrieval per layer at log-spaced steps.

1. Draw a fixed sample of seen and held-out pairs of every target language before the stage.
2. After the steps of `log_steps`, measure P@1 by cosine, both directions pooled, at every layer.

Points are kept in the Trainer's log: a checkpoint holds them, and a resumed stage has them all. Measuring draws no random
number, keeps the model's mode and makes no gradient: training is the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import TrainerCallback

from prealign.errors import DivergedError
from prealign.evaluation.retrieval.nearest import two_way_precision
from prealign.evaluation.retrieval.pairs import WordPairs
from prealign.methods.alignment.states import word_states
from prealign.text.words import Tokenizer

_KEY = "dynamics"


def log_steps(steps: int, number: int) -> list[int]:
    """Return at most `number` steps (2 at least) from 1 to `steps`, both included, at ratios as equal as rounding allows."""
    spaced = np.geomspace(1, steps, max(2, number))
    return sorted({int(step) for step in spaced.round()} | {1, steps})


def precision_by_layer(source: Tensor, target: Tensor, pairs: WordPairs) -> dict[str, list[float]]:
    """Return P@1 per layer of "seen" and "held_out" words, both directions pooled; an empty list for a split without words.

    source (L, N, D) and target (L, M, D): states.
    """
    held_out = torch.from_numpy(np.concatenate([pairs.held_out, pairs.target_held_out]))  # (N + M,)
    hits = two_way_precision(source, target, torch.from_numpy(pairs.gold), {"p_at_1": None})[
        "p_at_1"
    ].hits  # (L, N + M)
    return {
        split: hits[:, chosen].mean(dim=1).tolist() if chosen.any() else []
        for split, chosen in (("seen", ~held_out), ("held_out", held_out))
    }


class Dynamics(TrainerCallback):
    """Trainer callback: measures at `number` log-spaced steps of a stage; `record` returns the points.

    bos: encode words after BOS.
    """

    def __init__(self, tokenizer: Tokenizer, pairs: Sequence[WordPairs], number: int, *, bos: bool) -> None:
        self.tokenizer, self.pairs, self.number, self.bos = tokenizer, pairs, number, bos
        self.steps: list[int] = []
        self.points: list[dict[str, Any]] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Set the steps; restore the points of the checkpoint that training resumes from."""
        self.steps = log_steps(args.max_steps, self.number)
        self.points = [entry for entry in state.log_history if _KEY in entry]

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Measure at the steps of `log_steps`, and at the last step of a stage that ends before them."""
        if state.global_step not in self.steps and state.global_step != state.max_steps:
            return
        measured = {}
        for pairs in self.pairs:
            source, target = (
                word_states(model, self.tokenizer, words, language=language, bos=self.bos)
                for words, language in ((pairs.sources, pairs.source_language), (pairs.targets, pairs.language))
            )
            try:
                measured[pairs.language] = precision_by_layer(source, target, pairs)
            except DivergedError as error:
                raise DivergedError(f"alignment at step {state.global_step:,}: {error}") from None
        self.points.append({"step": state.global_step, _KEY: measured})
        state.log_history.append(self.points[-1])

    def record(self, tokens_per_step: float) -> list[dict[str, Any]]:
        """Return one entry a language: points with "step", "tokens", and P@1 per layer of "seen" and "held_out" words."""
        return [
            {
                "language": pairs.language,
                "points": [
                    {
                        "step": point["step"],
                        **point[_KEY][pairs.language],
                        "tokens": round(point["step"] * tokens_per_step),
                    }
                    for point in self.points
                ],
            }
            for pairs in self.pairs
        ]
