"""Twin-coupled AdamW: rows of tokens that translate each other share their second moment (METHOD.md).

Adam divides a row's step by the root of its second moment. Rows of rare target tokens have small ones, so they drift fast
and apart from their translations' rows, which have large ones. Coupled Adam shares the moment among all rows of an
embedding. Here twins alone share it:

1. Each token of a target language belongs to the group of its heaviest link, a token of the source; links are those of
   `prealign.methods.vocabulary.links`. All other tokens are in the group of their own number.
2. In each step of the main phase, the second moment of a row is the mean over its group
   (`prealign.training.optimiser.TwinAdamW`), for the input and the output embedding.

Reference: Stollenwerk, Stollenwerk: Better Embeddings with Coupled Adam. arXiv:2502.08441.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from prealign.methods.phase import Coupling, Inputs
from prealign.methods.vocabulary.anchored import heaviest
from prealign.methods.vocabulary.links import TokenLinks, vocabulary_parts
from prealign.recipe.methods import AnchorSection

# V rows of the embedding


class TwinCoupling(Coupling):
    """The groups of rows that share their second moment. Nothing is estimated before the first use."""

    def __init__(self, inputs: Inputs, anchor: AnchorSection) -> None:
        self.inputs, self.anchor = inputs, anchor

    def groups(self, rows: int) -> NDArray[np.int64]:
        """Return the group (V,) of each row: the number of the source token, or the row's own."""
        part = vocabulary_parts(self.inputs.token_counts, self.inputs.languages, self.anchor.frequency_ratio)
        return twin_groups(TokenLinks.estimate(self.inputs.words, part, em_rounds=self.anchor.em_rounds), rows)

    def describe(self) -> dict[str, Any]:
        """Return the settings."""
        return {
            "coupling": "second moments of twins",
            "frequency_ratio": self.anchor.frequency_ratio,
            "em_rounds": self.anchor.em_rounds,
        }


def twin_groups(links: TokenLinks, rows: int) -> NDArray[np.int64]:
    """Return the group of each of `rows` rows by the heaviest link of every target token."""
    group = np.arange(rows)
    first = heaviest(links.counts, 1).tocoo()
    group[first.row] = first.col
    return group
