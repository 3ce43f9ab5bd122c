"""Anchored vocabulary: a target token's row is tied to the rows of its translations, E_t = M · E_s + Delta_t + v_lang.

1. A token is *anchored* if it is at least `frequency_ratio` times more frequent in target than in source text, and a
   translation pair of the lexicon links it to a source token. Anchored tokens never serve as sources.
2. Estimate M (target token <- source tokens) from the subwords of translation pairs with the expectation-maximisation
   of IBM model 1: p(s | t, pair) is proportional to p(t | s). A pair has the square root of its source word's frequency
   as weight. Keep the heaviest sources of each row and normalise the row to sum 1.
3. Register a parametrisation of the input and output embedding: E = rate · W + M · W + v on anchored rows, E = W
   elsewhere. W holds the source rows unchanged, and Delta / rate in the anchored rows (0 at the start). A gradient that
   moves a source row also moves its target rows. Adam moves a parameter by about the learning rate however small its
   gradient; for rare rows this is mostly drift. A rate below 1 slows Delta down, like a smaller learning rate for Delta
   alone.
4. `export` writes the product E out as ordinary weights and removes the parametrisation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from prealign.errors import LexiconError
from prealign.methods.alignment.words import WordForms, WordSizes
from prealign.methods.vocabulary.parametrised import ParametrisedVocabulary, parametrise

# V rows of the embedding, D width, A anchored rows, P pairs


@dataclass(frozen=True)
class TokenPairs:
    """All (source token, target token) combinations within each translation pair; entry e belongs to pair `pair[e]`."""

    pair: np.ndarray  # (E,)
    source: np.ndarray  # (E,) token id
    target: np.ndarray  # (E,) token id
    position: np.ndarray  # (E,) running number of the target token's occurrence, over all pairs
    weight: np.ndarray  # (E,) weight of the pair

    @classmethod
    def cross(cls, pairs: Sequence[tuple[np.ndarray, np.ndarray, float]]) -> TokenPairs:
        """Combine every source token with every target token of each (source ids, target ids, weight)."""
        rows = [np.meshgrid(source, target, indexing="ij") for source, target, _ in pairs]
        lengths = np.array([len(target) for _, target, _ in pairs])
        begins = np.cumsum(lengths) - lengths
        positions = [
            np.tile(begin + np.arange(n), len(p[0])) for begin, n, p in zip(begins, lengths, pairs, strict=True)
        ]
        sizes = [row[0].size for row in rows]
        return cls(
            pair=np.repeat(np.arange(len(pairs)), sizes),
            source=np.concatenate([row[0].ravel() for row in rows]),
            target=np.concatenate([row[1].ravel() for row in rows]),
            position=np.concatenate(positions),
            weight=np.repeat([weight for _, _, weight in pairs], sizes),
        )


def estimate_anchors(
    pairs: Sequence[tuple[np.ndarray, np.ndarray, float]],
    anchored: np.ndarray,
    *,
    rounds: int = 3,
    sources_per_row: int = 8,
) -> sparse.csr_matrix:
    """Return M (V, V): rows of anchored tokens that a pair covers sum to 1, all other rows are zero.

    The arguments are those of `link_counts`. sources_per_row: entries kept in a row, the heaviest.
    """
    return heaviest(link_counts(pairs, anchored, rounds=rounds), sources_per_row)


def link_counts(
    pairs: Sequence[tuple[np.ndarray, np.ndarray, float]], anchored: np.ndarray, *, rounds: int = 3
) -> sparse.csr_matrix:
    """Return the expected number of times (V, V) that a source token (column) translates an anchored token (row).

    pairs: (source ids, target ids, weight). anchored: (V,) bool. rounds: of expectation-maximisation (IBM model 1,
    Brown et al. 1993, with weighted pairs). Raises LexiconError if no pair covers an anchored token.
    """
    size = len(anchored)
    pairs = [(s[~anchored[s]], t[anchored[t]], w) for s, t, w in pairs]
    pairs = [(s, t, w) for s, t, w in pairs if len(s) and len(t)]
    if not pairs:
        raise LexiconError(
            "no anchored token meets a source token in the lexicon. Lower anchor.frequency_ratio, or check that the "
            "dictionary's target language is the one of the target text."
        )
    crossed = TokenPairs.cross(pairs)
    cell, index = np.unique(crossed.source * size + crossed.target, return_inverse=True)
    source, target = cell // size, cell % size
    counts: np.ndarray = np.ones(len(cell))
    translation = counts
    for _ in range(rounds):
        likelihood = translation[index]
        posterior = likelihood / np.bincount(crossed.position, likelihood)[crossed.position]
        counts = np.bincount(index, crossed.weight * posterior, minlength=len(cell))
        translation = counts / np.bincount(source, counts, minlength=size)[source]
    return sparse.csr_matrix((counts, (target, source)), shape=(size, size))


def heaviest(counts: sparse.csr_matrix, keep: int) -> sparse.csr_matrix:
    """Keep each row's `keep` largest entries and make the rows sum to 1."""
    row = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    order = np.lexsort((counts.indices, -counts.data, row))
    rank = np.arange(len(order)) - counts.indptr[row[order]]
    chosen = order[rank < keep]
    data, row, column = counts.data[chosen], row[chosen], counts.indices[chosen]
    total = np.bincount(row, data, minlength=counts.shape[0])
    return sparse.csr_matrix((data / total[row], (row, column)), shape=counts.shape)


def anchored_languages(source_counts: np.ndarray, target_counts: np.ndarray, ratio: float) -> np.ndarray:
    """Return (V,) int: the index of the target language that a token is anchored for, -1 for free tokens.

    source_counts (V,), target_counts (K, V). A token is anchored if its share of a target's text is at least `ratio`
    times its share of the source text. One is added to the source counts, so a token without source occurrences still
    needs target occurrences. If several targets qualify, the token goes to the target with the largest share.
    """
    source_share = (source_counts + 1) / (source_counts.sum() + 1)
    target_share = target_counts / np.maximum(target_counts.sum(1, keepdims=True), 1)
    best = target_share.argmax(0)
    return np.where(target_share.max(0) >= ratio * source_share, best, -1)


def word_pairs(words: WordForms) -> list[tuple[np.ndarray, np.ndarray, float]]:
    """Return (source ids, target ids, weight) of every translation pair; weight: square root of the source frequency."""
    return [
        (words.ids[first], words.ids[form], float(np.sqrt(count)))
        for first, end, count in zip(words.first[:-1], words.first[1:], words.count, strict=True)
        for form in range(first + 1, end)
    ]


class Anchored(nn.Module):
    """The parametrisation: W (V, D) -> E (V, D), with E = rate · W + M · W + v on anchored rows and E = W elsewhere.

    Sources are never anchored, so M · W needs no recursion. anchors: M (V, V), sparse. language (V,): index of each
    row's language vector, -1 on free rows. rate: 0 or above.
    """

    rows: Tensor
    row: Tensor
    source: Tensor
    share: Tensor
    language: Tensor

    def __init__(self, anchors: sparse.csr_matrix, language: np.ndarray, width: int, rate: float) -> None:
        super().__init__()
        self.rate = rate
        rows = np.flatnonzero(np.diff(anchors.indptr))
        block = anchors[rows].tocoo()
        self.register_buffer("rows", torch.from_numpy(rows), persistent=False)
        self.register_buffer("row", torch.from_numpy(block.row.astype(np.int64)), persistent=False)
        self.register_buffer("source", torch.from_numpy(block.col.astype(np.int64)), persistent=False)
        self.register_buffer("share", torch.from_numpy(block.data.astype(np.float32)), persistent=False)
        self.register_buffer("language", torch.from_numpy(language[rows]), persistent=False)
        self.vectors = nn.Parameter(torch.zeros(int(language.max()) + 1, width))

    def anchor(self, weight: Tensor) -> Tensor:
        """Return M · W + v on the anchored rows (A, D)."""
        parts = weight[self.source] * self.share[:, None].to(weight.dtype)
        summed = torch.zeros(len(self.rows), weight.shape[1], dtype=weight.dtype, device=weight.device)
        return summed.index_add(0, self.row, parts) + self.vectors[self.language].to(weight.dtype)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the embedding that the model uses, E (V, D)."""
        return weight.index_add(0, self.rows, self.anchor(weight) + (self.rate - 1) * weight[self.rows])


def anchor_vocabulary(
    model: Any, anchors: sparse.csr_matrix, language: np.ndarray, *, rate: float = 1.0, fresh: bool
) -> Any:
    """Tie the embeddings of `model`, in place, by M (V', V') and the rows' languages (V',). Returns the model.

    V' may be smaller than the number of embedding rows; further rows are free. rate: learning speed of Delta relative
    to other weights; 0 means that there is no Delta. fresh: start with Delta = 0 (random weights); otherwise Delta, if
    there is one, is set such that no row changes. Tied embeddings share one W and one v.
    """
    rows, width = model.get_input_embeddings().weight.shape
    anchors = anchors.copy()
    anchors.resize(rows, rows)
    language = np.append(language, np.full(rows - len(language), -1))

    def make(weight: Tensor) -> Anchored:
        parametrisation = Anchored(anchors, language, width, rate).to(weight.device)
        anchored = parametrisation.rows
        delta = weight[anchored] - parametrisation.anchor(weight)
        weight[anchored] = torch.zeros_like(delta) if fresh or not rate else delta / rate
        return parametrisation

    return parametrise(model, make)


@dataclass(frozen=True)
class LexiconAnchors:
    """The inputs and settings from which M is estimated; `estimate` does the work.

    words: the lexicon in token ids (`prealign.methods.alignment.words.word_forms`). counts: by language, the
    occurrences of each embedding row (V,) in its text. languages: the source language, then the targets. The other
    fields are those of `prealign.recipe.methods.AnchorEstimate`.
    """

    words: WordForms | WordSizes
    counts: Mapping[str, np.ndarray]
    languages: Sequence[str]
    frequency_ratio: float = 20.0
    em_rounds: int = 3
    sources_per_row: int = 8

    def row_languages(self) -> np.ndarray:
        """Return the number of the target language that each row (V,) belongs to, -1 for the others."""
        source, *targets = self.languages
        target_counts = np.stack([self.counts[target] for target in targets])
        return anchored_languages(self.counts[source], target_counts, self.frequency_ratio)

    def pairs(self) -> list[tuple[np.ndarray, np.ndarray, float]]:
        """Return the translation pairs in tokens, with their weights (`word_pairs`)."""
        assert isinstance(self.words, WordForms), "`apply` needs word forms, not their sizes alone"
        return word_pairs(self.words)

    def estimate(self) -> tuple[sparse.csr_matrix, np.ndarray]:
        """Return M (V, V) and the rows' languages (V,). LexiconError if no pair reaches a row of a target language."""
        language = self.row_languages()
        settings = {"rounds": self.em_rounds, "sources_per_row": self.sources_per_row}
        return estimate_anchors(self.pairs(), language >= 0, **settings), language

    def describe(self) -> dict[str, Any]:
        """Return the settings."""
        return {key: getattr(self, key) for key in ("frequency_ratio", "em_rounds", "sources_per_row")}


class AnchoredVocabulary(ParametrisedVocabulary):
    """The anchored vocabulary of a lexicon: `apply` estimates M and ties the embeddings, `export` restores plain
    weights.

    words, counts, languages: those of `LexiconAnchors`. The settings are those of the recipe's `anchor`.
    """

    action = "anchors the vocabulary"

    def __init__(
        self,
        words: WordForms | WordSizes,
        counts: Mapping[str, np.ndarray],
        languages: Sequence[str],
        *,
        residual_rate: float = 1.0,
        **settings: Any,
    ) -> None:
        self.anchors = LexiconAnchors(words, counts, languages, **settings)
        self.residual_rate = residual_rate

    def apply(self, model: Any, *, fresh: bool) -> None:
        """Tie the embeddings in place. fresh: residuals start at 0; otherwise no row changes.

        Raises LexiconError if no token can be tied.
        """
        shares, language = self.anchors.estimate()
        self.changed = int((np.diff(shares.indptr) > 0).sum())
        anchor_vocabulary(model, shares, language, rate=self.residual_rate, fresh=fresh)

    def describe(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return {
            "initialisation": "anchored vocabulary",
            **self.anchors.describe(),
            "residual_rate": self.residual_rate,
        }
