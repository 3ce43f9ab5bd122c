"""The rows that tokens added to a pretrained model's vocabulary begin with, in its input and output embedding alike.

1. From the subwords of the lexicon's pairs estimate M (new token <- tokens of the base), as an anchored vocabulary does: a
   weighted mean over the token's senses and their subwords.
2. A new token that no pair covers has the mean of the base tokens it stands for.
3. Together they are R (new tokens, base tokens), whose rows sum to 1: E_new = R · E_base.
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
    """R (N, B), and how many of its rows come from translations."""

    shares: sparse.csr_matrix
    translated: int

    def as_dict(self) -> dict[str, int]:
        """Return the number of rows from "translations" and from "pieces"."""
        return {"translations": self.translated, "pieces": self.shares.shape[0] - self.translated}

    @torch.no_grad()
    def write(self, model: Any) -> None:
        """Give the new tokens their rows in `model`, which has rows for all; nothing else changes."""
        new, base = self.shares.shape
        # Of tied embeddings there is one matrix; a head may have a bias, an entry a token.
        heads = model.get_input_embeddings(), model.get_output_embeddings()
        for parameter in {id(p): p for head in heads for p in head.parameters()}.values():
            rows = self.shares @ parameter[:base].double().numpy()
            parameter[base : base + new] = torch.from_numpy(rows).to(parameter.dtype)


def new_rows(
    pairs: Sequence[tuple[np.ndarray, np.ndarray, float]], pieces: Sequence[Sequence[int]], base: int
) -> NewRows:
    """Return the rows of tokens base, base + 1 …

    pairs: (source ids, target ids, weight) of translations; pieces: of each new token, the base tokens it stands for.
    """
    size = base + len(pieces)
    lengths = np.array([len(own) for own in pieces])
    row, column = np.repeat(np.arange(len(pieces)), lengths), np.concatenate(pieces)
    shares = sparse.csr_matrix((1 / np.repeat(lengths, lengths), (row, column)), shape=(len(pieces), base))
    covered = [(s[s < base], t[(t >= base) & (t < size)], weight) for s, t, weight in pairs]
    covered = [(s, t, weight) for s, t, weight in covered if len(s) and len(t)]
    if not covered:
        return NewRows(shares, 0)
    anchors = estimate_anchors(covered, np.arange(size) >= base)[base:, :base]
    translated = np.diff(anchors.indptr) > 0
    return NewRows((anchors + sparse.diags((~translated).astype(float)) @ shares).tocsr(), int(translated.sum()))
