"""What the losses on pairs of sentences share: the batch of a step, its encoding, its cost and its memory.

1. A step reads `size` pairs a device (`pairs`). The sentences are rows 0 .. S - 1 of the batch, their translations
   rows S .. 2 S - 1.
2. Both sides are encoded by themselves (`states`): joined, the second side of a causal model would see the first.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from prealign.methods.alignment.objective import gather_states
from prealign.methods.flops import BACKWARD
from prealign.methods.phase import Cost, Objective
from prealign.methods.sentences.pairs import SentencePairs, side_by_side
from prealign.methods.sentences.states import SentenceEncoder

# S pairs of a step on a device, n tokens of the longest sentence, D width

PRODUCT = (1 + BACKWARD) * 2
"""FLOPs of a multiplication of matrices for each of its products of numbers, with the gradients of both matrices."""


@dataclass(frozen=True)
class SentenceObjective(Objective):
    """A loss on `size` pairs of sentences a step and device."""

    encoder: SentenceEncoder
    data: SentencePairs
    size: int

    def batch(self, step: int, rank: int = 0, ranks: int = 1) -> dict[str, Tensor]:
        """Return ids (2 S, n), padded with 0 on the right, and lengths (2 S,)."""
        return side_by_side(*self.data.batch(step, rank, ranks, self.size))

    @abstractmethod
    def score_flops(self, model: Any, devices: int) -> float:
        """Return the FLOPs of the loss on one device, forward and backward; they are float32."""

    def cost(self, model: Any, devices: int = 1, *, freeze_body: bool = False) -> Cost:
        """Return the cost of a step: encoding of all sentences, and the loss."""
        length, scores = self.data.mean_tokens, self.score_flops(model, devices)
        tokens = 2 * self.size * length
        encoding = self.encoder.flops(model, tokens, length, freeze_body=freeze_body)
        return Cost(encoding + scores, tokens, scores)

    def memory(self, model: Any, devices: int = 1, *, bf16: bool = False) -> float:
        """Return the bytes of the activations of sentences of mean length."""
        return self.encoder.memory(model, 2 * self.size, self.data.mean_tokens, bf16=bf16)

    def check(self, model: Any) -> None:
        """RecipeError if the model has fewer blocks than the layer."""
        self.encoder.number(model)

    def describe(self) -> dict[str, Any]:
        """Return the settings of the batch and of its encoding as JSON values."""
        return {"objective": self.name, "pairs": self.size, **self.encoder.describe()}


def sentence_contrast(sources: Tensor, targets: Tensor, temperature: float, *, both_ways: bool = False) -> Tensor:
    """Return the contrast of sentences with their translations among those of all ranks.

    sources, targets: (S, D), row i of one translates row i of the other. With tau the temperature:
        mean over i of -log( exp(cos(a_i, b_i) / tau) / sum over j of exp(cos(a_i, b_j) / tau) )
    both_ways: the mean of this loss from a to b and from b to a.
    """
    one, other = (F.normalize(gather_states(states), dim=1) for states in (sources, targets))
    with torch.autocast(one.device.type, enabled=False):
        similarities = one @ other.T / temperature
    own = torch.arange(len(similarities), device=one.device)
    loss = F.cross_entropy(similarities, own)
    return (loss + F.cross_entropy(similarities.T, own)) / 2 if both_ways else loss


def contrast_flops(sentences: int, width: int) -> float:
    """Return the FLOPs of `sentence_contrast` for the sentences of all devices: each scores all of them."""
    return float(PRODUCT * sentences**2 * width)
