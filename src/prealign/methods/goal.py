"""The goal of a phase that aligns words: how well they are aligned, and whether the phase ends as soon as they are.

1. The goal is measured on a fixed sample of the word pairs that the phase trains, as P@1 of word retrieval
   (`prealign.evaluation.retrieval.established`).
2. With `until`, it is measured at `measured_steps`: every 25 steps, later every 5 % of the steps so far. The number of
   measurements grows with the logarithm of the steps. Their FLOPs are part of the phase's cost.
3. The learning rate rises linearly, then stays at its peak. When step m reaches `until`, it falls linearly to 0 over the
   next m / 10 steps, and the phase ends. If no step reaches it, the same decay ends at the last step of the phase.
4. Without `until`, the phase trains all its steps, with the Trainer's own schedule.

A cosine over the most steps would not do: the rate at a step, and so the step that reaches the goal, would depend on how
large the user chose the limit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from prealign.methods.alignment.layers import layer_count
from prealign.methods.alignment.words import WordSizes
from prealign.methods.cost import Cost
from prealign.methods.flops import forward_flops_per_token
from prealign.recipe.methods import Layers

PAIRS = 500
"""Word pairs of the sample, per target language: P@1 of both directions has a standard error of 0.01 at 0.9."""
_INTERVAL = 25  # steps between two measurements, at least
_GROWTH = 0.05  # of the steps so far between two measurements
_DECAY = 0.1  # steps of the decay, as a share of the steps before it


@dataclass(frozen=True)
class Goal:
    """The goal of a phase. until: P@1 at which the phase ends, None for no early end.

    words, targets: sizes of the forms and number of target languages, for the cost. layers: those that the phase aligns.
    """

    until: float | None
    words: WordSizes
    targets: int
    layers: Layers = "all"

    def cost(self, model: Any, steps: int) -> Cost:
        """Return the cost on one device of all measurements within `steps` steps; none without `until`."""
        return self.measurement(model) * (len(measured_steps(steps)) if self.until is not None else 0)

    def measurement(self, model: Any) -> Cost:
        """Return the cost of one measurement: the forward of the sampled forms, and their similarities both ways.

        n groups of F forms on average, in K target languages: each language encodes the source words again. A layer takes
        2 · 2 · n² · (F - 1) · D over all languages. Similarities are float32.
        """
        words, config = self.words, model.config
        groups = min(PAIRS, words.groups)
        length = words.mean_tokens_per_group / words.mean_forms_per_group
        tokens = groups * length * (words.mean_forms_per_group + self.targets - 1)
        layers = layer_count(measured_layers(self.layers), config.num_hidden_layers)
        similarities = 4 * groups**2 * (words.mean_forms_per_group - 1) * config.hidden_size * layers
        encode = tokens * forward_flops_per_token(model, length, logits=False)
        return Cost(encode + similarities, tokens, similarities)

    def describe(self) -> dict[str, Any]:
        """Return the settings as JSON values; empty without `until`, which changes nothing in training."""
        return {} if self.until is None else {"until": self.until, "pairs": PAIRS}


def measured_layers(layers: Layers) -> Layers:
    """Return the layers that a goal is measured at: the blocks, if all layers are aligned, else the aligned ones."""
    return "blocks" if layers == "all" else layers


def measured_steps(most: int) -> list[int]:
    """Return the steps of the measurements within a phase of `most` steps. The last step is not among them.

    The steps do not depend on `most`, which only cuts them off.
    """

    def steps() -> Iterator[int]:
        step = _INTERVAL
        while True:
            yield step
            step += max(_INTERVAL, math.ceil(_GROWTH * step))

    return list(takewhile(lambda step: step < most, steps()))


def last_step(reached: int, most: int) -> int:
    """Return the last step of a phase whose step `reached` has reached the goal: after the decay, at most `most`."""
    return min(most, reached + math.ceil(_DECAY * reached))


def rate_factor(step: int, last: int, warmup: int) -> float:
    """Return the factor on the learning rate after `step` steps of a phase that ends after `last`.

    warmup: steps in which the rate rises. The three parts are the rise, the peak, and a fall over the last 1/11 of all
    steps, which is 1/10 of the steps before it.
    """
    rise = step / warmup if step < warmup else 1.0
    return max(0.0, min(rise, (1 + 1 / _DECAY) * (1 - step / last)))
