"""One space for the vectors of several languages.

1. Seeds are pairs of vectors of a target and the source: words of the lexicon, or tokens that both texts use.
2. Each target's vectors are mapped to the source's (`prealign.methods.vocabulary.vectors.self_learned_map`).
3. A token of several languages has the mean of its vectors, weighted by how often each language uses it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from prealign.lexicon import Lexicon
from prealign.methods.vocabulary.vectors import LanguageVectors, self_learned_map, unit
from prealign.text.encode import encode_words
from prealign.text.words import Tokenizer

# V rows of the embedding, A of them with a vector, D width, P pairs

Seeds = tuple[np.ndarray, np.ndarray]
"""Vectors (P, D) of a target, and the vectors of the source that they should meet."""


def dictionary_seeds(
    target: LanguageVectors, source: LanguageVectors, lexicon: Lexicon, language: str, tokenizer: Tokenizer
) -> Seeds:
    """Return the lexicon's pairs in `language`. A word is the mean of its tokens; pairs without vectors are left out."""
    pairs = [(group.word, sense) for group in lexicon for sense in group.translations.get(language, ())]
    left = source.of_words(encode_words(tokenizer, [word for word, _ in pairs], lexicon.source))
    right = target.of_words(encode_words(tokenizer, [sense for _, sense in pairs], language))
    both = left.any(1) & right.any(1)
    return right[both], left[both]


def identical_seeds(target: LanguageVectors, source: LanguageVectors) -> Seeds:
    """Return the tokens that have a vector in both languages."""
    _, of, to = np.intersect1d(target.tokens, source.tokens, return_indices=True)
    return target.vectors[of], source.vectors[to]


def common_space(
    made: Mapping[str, LanguageVectors], seeds: Mapping[str, Seeds], size: int, *, candidates: int, rounds: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows (A,) that have a vector in some language, and their unit vectors (A, D).

    made: vectors by language, the source first. seeds: by target language. size: V. candidates, rounds: of self-learning.
    """
    source, *targets = made
    total = np.zeros((size, made[source].vectors.shape[1]))
    total[made[source].tokens] = made[source].counts[:, None] * made[source].vectors
    for language in targets:
        own = made[language]
        found = self_learned_map(
            own.vectors, made[source].vectors, seeds[language], candidates=candidates, rounds=rounds
        )
        total[own.tokens] += own.counts[:, None] * (own.vectors @ found)
    rows = np.flatnonzero(total.any(1))
    return rows, unit(total[rows])
