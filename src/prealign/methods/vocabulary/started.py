"""Rows that start from given vectors: free afterwards, or held near their start.

1. The vectors have length 1. They are written at the scale of the model's initial weights: a row of D numbers has the root
   mean square that the whole matrix has.
2. Held rows are E = R + rate · W. R is the start and stays; W begins at 0 and is learned. Adam moves a number by about the
   learning rate however small its gradient, so a rate below 1 acts as a smaller learning rate of these rows. Weight decay
   draws them back to R. On export E is written out.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from prealign.methods.vocabulary.parametrised import ParametrisedVocabulary, parametrise

# V rows of the embedding, A of them with a start, D width


class Held(nn.Module):
    """The parametrisation: W (V, D) -> R + rate · W on the rows (A,), R = `start` (A, D); the other rows are those of W."""

    rows: Tensor
    start: Tensor

    def __init__(self, rows: Tensor, start: Tensor, rate: float) -> None:
        super().__init__()
        self.rate = rate
        # In checkpoints: a resumed run has the same start to the last bit, even if making it again would round differently.
        self.register_buffer("rows", rows)
        self.register_buffer("start", start)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the embedding that the model uses (V, D)."""
        return weight.index_add(0, self.rows, self.start.to(weight.dtype) + (self.rate - 1) * weight[self.rows])


class StartedVocabulary(ParametrisedVocabulary):
    """Writes the vectors that `vectors` makes into a new model. hold: the rate of held rows; None: rows are free."""

    action = "holds the vocabulary near its start"

    def __init__(self, hold: float | None = None) -> None:
        self.hold = hold

    @abstractmethod
    def vectors(self, size: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows (A,) that have a start, and unit vectors (A, D). size: V. width: D."""

    def apply(self, model: Any, *, fresh: bool) -> None:
        """Write the vectors into the input and the output embedding; hold them there if `hold` says so."""
        numbers, vectors = self.vectors(*model.get_input_embeddings().weight.shape)
        self.changed, rows = len(numbers), torch.from_numpy(numbers)

        def start(weight: Tensor) -> Tensor:
            scale = weight.square().mean().sqrt() * weight.shape[1] ** 0.5  # the length of a row
            return torch.from_numpy(vectors).to(weight) * scale

        def held(weight: Tensor) -> Held:
            parametrisation = Held(rows.to(weight.device), start(weight), self.hold or 1.0)
            weight[parametrisation.rows] = 0.0
            return parametrisation

        if self.hold:
            parametrise(model, held)
            return
        heads = model.get_input_embeddings(), model.get_output_embeddings()
        with torch.no_grad():
            for weight in {id(head.weight): head.weight for head in heads}.values():  # one of tied embeddings
                weight[rows] = start(weight)

    def export(self, model: Any) -> None:
        """Write held rows out as ordinary weights."""
        if self.hold:
            super().export(model)

    def memory(self, model: Any) -> float:
        """Return the bytes of R and E of held rows."""
        return 2 * super().memory(model) if self.hold else 0.0

    @property
    def unshardable(self) -> str | None:
        """FSDP cannot spread held rows over devices; free rows it can."""
        return super().unshardable if self.hold else None
