"""Token links: which tokens of the vocabulary translate each other, by the subwords of the lexicon's pairs.

1. Each token belongs to one *part* of the vocabulary: that of a target language whose text has it at least
   `frequency_ratio` times more often than the source's, or the rest.
2. Expectation-maximisation over the subwords of the pairs counts how often a source token translates a target token
   (`prealign.methods.vocabulary.anchored`).
3. The links of a token are the heaviest of these counts, normalised to 1. They lead from the rest to the target languages
   and back, and never stay in one part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from prealign.methods.alignment.words import WordForms, WordSizes
from prealign.methods.vocabulary.anchored import anchored_languages, heaviest, link_counts, word_pairs

# V rows of the embedding, K target languages, k links of a token

REST = -1
"""The number of the part that belongs to no target language."""


@dataclass(frozen=True)
class TokenLinks:
    """Links between tokens. part (V,): the number of each token's target language, or REST.

    counts (V, V): how often a token of the rest (column) translates a token of a target language (row).
    """

    part: np.ndarray
    counts: sparse.csr_matrix

    @classmethod
    def estimate(
        cls,
        words: WordForms | WordSizes,
        part: np.ndarray,
        *,
        em_rounds: int = 3,
    ) -> TokenLinks:
        """Estimate links from a lexicon in tokens. LexiconError if no pair links a target language to the rest."""
        assert isinstance(words, WordForms), "made for sizes alone"
        return cls(part, link_counts(word_pairs(words), part != REST, rounds=em_rounds))

    @cached_property
    def both_ways(self) -> sparse.csr_matrix:
        """The counts (V, V), symmetric: each token in its row, the tokens that translate it in the columns."""
        return (self.counts + self.counts.T).tocsr()

    def into(self, part: int, keep: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the `keep` heaviest links of every token into one part, as `padded` does."""
        columns = sparse.diags((self.part == part).astype(float))
        return padded(sparse.csr_matrix(self.both_ways @ columns), keep)


def vocabulary_parts(
    counts: Mapping[str, np.ndarray], languages: Sequence[str], frequency_ratio: float = 20.0
) -> np.ndarray:
    """Return the part (V,) of each token. counts (V,) of tokens by language; languages: the source, then the targets."""
    source, *targets = languages
    return anchored_languages(counts[source], np.stack([counts[target] for target in targets]), frequency_ratio)


def padded(counts: sparse.csr_matrix, keep: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the tokens (V, k) and weights (V, k) of the heaviest entries of each row; k is at most `keep`.

    The weights of a row sum to 1. Unused places repeat the first token with weight 0. A row without entries is -1.
    """
    counts.eliminate_zeros()
    chosen = heaviest(counts, keep)
    lengths = np.diff(chosen.indptr)
    width = max(1, int(lengths.max(initial=0)))
    row = np.repeat(np.arange(len(lengths)), lengths)
    place = np.arange(len(row)) - chosen.indptr[row]
    tokens: np.ndarray = np.full((len(lengths), width), -1, dtype=np.int64)
    weights: np.ndarray = np.zeros((len(lengths), width))
    tokens[row, place], weights[row, place] = chosen.indices, chosen.data
    return np.where(tokens < 0, tokens[:, :1], tokens), weights
