"""Initial embedding rows for tokens added to a pretrained model's vocabulary, input and output embedding alike.

1. Estimate M (new token <- base tokens) from the subwords of the lexicon's pairs, as the anchored vocabulary does. A
   row is a weighted mean over the translations of the token and their subwords.
2. A new token without a pair gets the mean of its pieces: the base tokens that spell it.
3. Both kinds of rows make R (new tokens, base tokens), with rows of sum 1. Then E_new = R · E_base.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import sparse

from prealign.methods.vocabulary.anchored import estimate_anchors

# B tokens of the base, N new tokens


@dataclass(frozen=True)
class NewRows:
    """R (N, B), and the number of its rows that come from translations."""

    shares: sparse.csr_matrix
    translated: int

    def as_dict(self) -> dict[str, int]:
        """Return the number of rows from "translations" and from "pieces" as JSON values."""
        return {"translations": self.translated, "pieces": self.shares.shape[0] - self.translated}

    @torch.no_grad()
    def write(self, model: Any) -> None:
        """Write the rows of the new tokens into `model`, whose embeddings are already large enough. Other rows stay."""
        new, base = self.shares.shape
        # Tied embeddings share one matrix, written once. A head may also have a bias, with one entry per token.
        heads = model.get_input_embeddings(), model.get_output_embeddings()
        for parameter in {id(p): p for head in heads for p in head.parameters()}.values():
            rows = self.shares @ parameter[:base].double().numpy()
            parameter[base : base + new] = torch.from_numpy(rows).to(parameter.dtype)


def new_rows(
    pairs: Sequence[tuple[np.ndarray, np.ndarray, float]], pieces: Sequence[Sequence[int]], base: int
) -> NewRows:
    """Return the rows of the new tokens, ids base .. base + N - 1.

    pairs: (source ids, target ids, weight) of translations. pieces: for each new token, the base tokens that spell it.
    """
    size = base + len(pieces)
    lengths = np.array([len(ids) for ids in pieces])
    row, column = np.repeat(np.arange(len(pieces)), lengths), np.concatenate(pieces)
    shares = sparse.csr_matrix((1 / np.repeat(lengths, lengths), (row, column)), shape=(len(pieces), base))
    covered = [(s[s < base], t[(t >= base) & (t < size)], weight) for s, t, weight in pairs]
    covered = [(s, t, weight) for s, t, weight in covered if len(s) and len(t)]
    if not covered:
        return NewRows(shares, 0)
    anchors = estimate_anchors(covered, np.arange(size) >= base)[base:, :base]
    translated = np.diff(anchors.indptr) > 0
    return NewRows((anchors + sparse.diags((~translated).astype(float)) @ shares).tocsr(), int(translated.sum()))
