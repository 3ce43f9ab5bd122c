"""Strata of the queries of a test dictionary: how much of a query and its answers took part in training.

1. TRAINED: the query or one of its right answers is a word of the training lexicon, for example as the translation of
   another word. Without such answers (`evaluate.strict`) this stratum is empty.
2. RELATIVE: none of them is, but a relative of one of them (`prealign.lexicon.relatives`).
3. UNRELATED: neither. Hits here are generalisation.

The lexicon is that of the whole run: also words that an arm holds out, or leaves out of its share, count as trained. So all
arms and seeds have the same strata.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from prealign.evaluation.retrieval.queries import DictionaryQueries
from prealign.lexicon.lexicon import Lexicon
from prealign.lexicon.normalise import Key, fold
from prealign.lexicon.relatives import Relatives

STRATA = ("trained", "relative", "unrelated")
"""Names of the strata in results.json, `condition: dictionary|STRATUM`."""


def with_strata(queries: DictionaryQueries, trained: Lexicon, keys: Mapping[str, Key | None]) -> DictionaryQueries:
    """Return the queries with the stratum of every candidate that is a query. keys: see `select_queries`, by language.

    trained: the lexicon of the run.
    """
    senses = {sense for group in trained for sense in group.translations.get(queries.language, ())}
    sides = [
        (queries.sources, queries.source, {group.word for group in trained}),
        (queries.targets, queries.language, senses),
    ]
    own = [_own_strata(names, tag, words, keys.get(tag)) for names, tag, words in sides]
    gold = queries.gold()
    # The lowest stratum, most trained first, of the query and its answers.
    forward = [min(own[0][i], own[1][gold[i]].min()) for i in queries.forward]
    backward = [min(own[1][j], own[0][gold[:, j]].min()) for j in queries.backward]
    return replace(queries, strata=(np.array(forward, dtype=np.int64), np.array(backward, dtype=np.int64)))


def stratum_sizes(queries: DictionaryQueries) -> dict[str, int]:
    """Return the number of queries, in both directions together, of each stratum."""
    assert queries.strata is not None, "made by with_strata"
    counts = np.bincount(np.concatenate(queries.strata), minlength=len(STRATA))
    return dict(zip(STRATA, counts.tolist(), strict=True))


def _own_strata(names: list[str], language: str, words: set[str], key: Key | None) -> NDArray[np.int64]:
    """Return the stratum of each word by itself, as its index in `STRATA`."""
    folded = {fold(word, language, key) for word in words}
    relatives = Relatives(words, language, key)
    own = [0 if fold(name, language, key) in folded else 1 if relatives.has(name) else 2 for name in names]
    return np.array(own, dtype=np.int64)
