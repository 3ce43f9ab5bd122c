"""Vectors of subwords from text, and their mapping into one space: no neural network, only counts and linear algebra.

1. Count how often two tokens stand at most `window` tokens apart in a document.
2. Turn counts into positive pointwise mutual information (PPMI), with the distribution of contexts raised to the power 0.75
   (Levy, Goldberg, Dagan 2015).
3. The leading singular vectors of the PPMI matrix, each times the root of its singular value, are the tokens' vectors.
4. Unit length, centred, unit length again (Artetxe, Labaka, Agirre 2018, as VecMap does).
5. An orthogonal matrix W maps target vectors to source vectors: the least squares over pairs of vectors, X ≈ Y W.
6. Self-learning: pairs that are each other's nearest neighbour by CSLS (Conneau et al. 2018) join the given ones, and W is
   solved again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import xxhash
from scipy import sparse
from scipy.sparse.linalg import svds

from prealign.text.ragged import Ragged

# V tokens of the vocabulary, A of them with a vector, D width, P pairs, W words

_SMOOTHING = 0.75
_PRODUCTS = 20  # of a matrix and a vector, for each of D singular vectors: 9 to 20 were measured
_TOKENS_AT_ONCE = 2**20
_ROWS_AT_ONCE = 1024
_LANGUAGES_KEPT = 4  # languages whose vectors are kept; large, as is the text that they are made from


def cooccurrences(documents: Iterable[np.ndarray], size: int, window: int) -> sparse.csr_matrix:
    """Return the symmetric counts (V, V) of tokens at most `window` apart, V = size. A pair counts in both orders."""
    counts = sparse.csr_matrix((size, size), dtype=np.float64)
    for ids, document in _stretches(documents):
        together = [document[d:] == document[:-d] for d in range(1, window + 1)]
        left = np.concatenate([ids[:-d][same] for d, same in enumerate(together, 1)])
        right = np.concatenate([ids[d:][same] for d, same in enumerate(together, 1)])
        counts = counts + sparse.csr_matrix((np.ones(len(left)), (left, right)), shape=(size, size))
    return (counts + counts.T).tocsr()


def _stretches(documents: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Join documents to about a million tokens: yield their ids and, for each, the number of its document."""
    waiting: list[np.ndarray] = []
    size = 0
    for ids in documents:
        waiting.append(ids)
        size += len(ids)
        if size >= _TOKENS_AT_ONCE:
            yield _joined(waiting)
            waiting, size = [], 0
    if waiting:
        yield _joined(waiting)


def _joined(documents: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate(documents), np.repeat(np.arange(len(documents)), [*map(len, documents)])


def ppmi(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    """Return max(0, log(p(a, b) / (p(a) · p'(b)))) of counts (V, V), where p'(b) goes as p(b)^0.75."""
    entries = counts.tocoo()
    tokens = np.asarray(counts.sum(1)).ravel()
    contexts = tokens**_SMOOTHING / max((tokens**_SMOOTHING).sum(), 1)
    information = np.log(entries.data / (tokens[entries.row] * contexts[entries.col]))
    positive = information > 0
    cells = entries.row[positive], entries.col[positive]
    return sparse.csr_matrix((information[positive], cells), shape=counts.shape)


def singular_vectors(matrix: sparse.csr_matrix, width: int) -> np.ndarray:
    """Return U · sqrt(S) (V, D) of the leading singular values of `matrix` (V, V); columns that it has no rank for are 0.

    The iteration has a fixed start, so the same matrix gives the same vectors.
    """
    kept = min(width, matrix.shape[0] - 1)
    vectors = np.zeros((matrix.shape[0], width))
    if kept > 0 and matrix.nnz:
        start = np.random.default_rng(0).normal(size=matrix.shape[0])
        left, values, _ = svds(matrix, kept, v0=start)
        vectors[:, :kept] = left * np.sqrt(np.maximum(values, 0))
    return vectors


def normalised(vectors: np.ndarray) -> np.ndarray:
    """Return the vectors (V, D) with unit length, centred, and with unit length again; vectors of length 0 stay 0."""
    rows = unit(vectors)
    return unit(rows - rows.mean(0))


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return the vectors (V, D) with length 1; those of length 0 stay 0."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)


@dataclass(frozen=True)
class LanguageVectors:
    """Unit vectors (A, D) of A tokens, the most frequent first; tokens (A,) are their ids, counts (A,) their frequency."""

    tokens: np.ndarray
    counts: np.ndarray
    vectors: np.ndarray

    def of_words(self, words: Ragged) -> np.ndarray:
        """Return the unit mean vector of each word's tokens (W, D); 0 for a word without any."""
        table = np.zeros((1 + max(self.tokens.max(initial=0), words.values.max(initial=0)), self.vectors.shape[1]))
        table[self.tokens] = self.vectors
        means = [table[ids].sum(0) for ids in words]
        return unit(np.array(means).reshape(-1, table.shape[1]))


def language_vectors(
    documents: Iterable[np.ndarray], size: int, width: int, *, window: int, minimum_count: int, tokens: int
) -> LanguageVectors:
    """Return vectors of width D of the tokens that occur at least `minimum_count` times in a language's documents.

    size: V. tokens: reads at most so many. The vectors of equal text and settings are made once a process: seeds and arms
    share them.
    """
    read = Ragged.of([*_first(documents, tokens)])
    content = xxhash.xxh3_128_hexdigest(read.values.tobytes() + read.offsets.tobytes())
    return _made(_Text(content, read), size, width, window, minimum_count)


@dataclass(frozen=True)
class _Text:
    """Documents, which are equal if their content is."""

    content: str
    documents: Ragged = field(compare=False)


@lru_cache(maxsize=_LANGUAGES_KEPT)
def _made(text: _Text, size: int, width: int, window: int, minimum_count: int) -> LanguageVectors:
    frequency = np.bincount(text.documents.values, minlength=size)
    order = np.argsort(-frequency, kind="stable")
    kept = order[: int((frequency >= minimum_count).sum())]
    counts = cooccurrences(text.documents, size, window)[kept][:, kept]
    return LanguageVectors(kept, frequency[kept], normalised(singular_vectors(ppmi(counts), width)))


def making_flops(tokens: float, size: int, width: int, window: int) -> float:
    """Return an upper estimate of the FLOPs of `language_vectors` for `tokens` tokens of text.

    The iteration (ARPACK) multiplies the PPMI matrix with about 20 · D vectors and keeps 2 · D vectors orthogonal.
    """
    entries = min(2 * window * tokens, size**2)
    return _PRODUCTS * width * 2 * entries + _PRODUCTS / 2 * width * 8 * 2 * width * size


def mapping_flops(candidates: int, width: int, rounds: int) -> float:
    """Return the FLOPs of `self_learned_map`: four products of candidates by candidates a round."""
    return rounds * 4 * 2 * candidates**2 * width


def _first(documents: Iterable[np.ndarray], tokens: int) -> Iterator[np.ndarray]:
    """Yield documents up to `tokens` tokens; the last is cut."""
    for ids in documents:
        if tokens <= 0:
            return
        yield ids[:tokens]
        tokens -= len(ids)


def orthogonal_map(target: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Return the orthogonal W (D, D) with the least ‖Y W - X‖ over the pairs of rows of Y = target, X = source (P, D)."""
    left, _, right = np.linalg.svd(target.T @ source)
    return left @ right


def mutual_neighbours(source: np.ndarray, target: np.ndarray, neighbours: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of source and of target that are each other's nearest by CSLS; both (N, D) of unit vectors."""
    of_source, of_target = _hubness(source, target, neighbours), _hubness(target, source, neighbours)
    forward, backward = _nearest(source, target, of_target), _nearest(target, source, of_source)
    mutual = np.flatnonzero(backward[forward] == np.arange(len(source)))
    return mutual, forward[mutual]


def _hubness(own: np.ndarray, others: np.ndarray, neighbours: int) -> np.ndarray:
    """Return the mean cosine of each row with its nearest rows of the other language."""
    k = min(neighbours, len(others))
    return np.concatenate([np.partition(rows @ others.T, -k, axis=1)[:, -k:].mean(1) for rows in _parts(own)])


def _nearest(own: np.ndarray, others: np.ndarray, hubness: np.ndarray) -> np.ndarray:
    return np.concatenate([(2 * rows @ others.T - hubness).argmax(1) for rows in _parts(own)])


def _parts(rows: np.ndarray) -> Iterator[np.ndarray]:
    return (rows[first : first + _ROWS_AT_ONCE] for first in range(0, len(rows), _ROWS_AT_ONCE))


def self_learned_map(
    target: np.ndarray, source: np.ndarray, seeds: tuple[np.ndarray, np.ndarray], *, candidates: int, rounds: int
) -> np.ndarray:
    """Return W (D, D) after `rounds` of self-learning; 0: that of the seeds alone.

    target, source: unit vectors (A, D), the most frequent first. seeds: pairs of vectors (P, D) of target and source.
    candidates: how many rows of each language, from the first, may become pairs.
    """
    found = orthogonal_map(*seeds)
    own, others = target[:candidates], source[:candidates]
    for _ in range(rounds):
        to, of = mutual_neighbours(others, own @ found)
        found = orthogonal_map(np.concatenate([seeds[0], own[of]]), np.concatenate([seeds[1], others[to]]))
    return found
