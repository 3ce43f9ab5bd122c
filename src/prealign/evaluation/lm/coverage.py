"""Which tokens of a text belong to words that the training lexicon translates into its language.

1. The lexicon's translations are written in every case and context in which switching writes them, and hashed.
2. The words of a document (`prealign.text.words`; of a clone's, those of the source text it maps) are looked up.
   Where spellings vary (`lexicon.normalise`), the words of the documents are compared by their key as well.
3. A word is *inside* if it is one of those forms, *outside* if it is not and has a letter or digit; the rest are signs.

A translation of several words is never one word of the text, so it makes nothing inside. In scripts without spaces the
words are those that a segmenter found when the text was tokenised; without one a word is a whole run of letters, and little
is inside.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from prealign.languages import is_clone
from prealign.lexicon import Lexicon
from prealign.lexicon.normalise import Key
from prealign.methods.switching.table import switch_table
from prealign.text.clone import clone_language
from prealign.text.ragged import IntArray, Ragged
from prealign.text.words import Tokenizer, text_of, word_table

KINDS = ("inside", "outside")
"""Kinds of words, by their number; signs have the next one."""


def lexicon_forms(tokenizer: Tokenizer, lexicon: Lexicon, language: str) -> NDArray[np.uint64]:
    """Return the hashes, sorted, of the lexicon's translations into `language` as running text writes them."""
    if not any(group.translations.get(language) for group in lexicon):
        return np.empty(0, dtype=np.uint64)
    return np.unique(switch_table(tokenizer, lexicon, [language]).translations.hashes())


def token_kinds(
    ids: IntArray, forms: NDArray[np.uint64], tokenizer: Tokenizer, language: str, starts: IntArray | None = None
) -> NDArray[np.integer]:
    """Return (T,) the number of each token's kind in a document of `language`; ids (T,), a clone's in twin ids.

    starts: the first tokens of the words, where a segmenter found them.
    """
    table = word_table(tokenizer)
    written = clone_language(tokenizer).unmap(ids) if is_clone(language) else ids
    words = Ragged(ids, np.append(np.flatnonzero(table.starts(written)) if starts is None else starts, len(ids)))
    # A word's last token tells whether it is a sign: where letters and signs meet, a new word begins.
    kinds = np.where(table.wordlike[written[words.offsets[1:] - 1]], KINDS.index("outside"), len(KINDS))
    kinds[np.isin(words.hashes(), forms)] = KINDS.index("inside")
    return np.repeat(kinds, words.lengths)


def spelled_forms(
    documents: Iterable[IntArray], tokenizer: Tokenizer, lexicon: Lexicon, language: str, key: Key
) -> NDArray[np.uint64]:
    """Return the hashes, sorted, of words of these documents (T,) that are translations into `language` but for spelling."""
    table, decode = word_table(tokenizer), text_of(tokenizer)
    senses = {key(sense) for group in lexicon for sense in group.translations.get(language, ())}
    found: dict[int, bool] = {}
    for ids in documents:
        words = Ragged(ids, np.append(np.flatnonzero(table.starts(ids)), len(ids)))
        hashes, first = np.unique(words.hashes(), return_index=True)
        for own, row in zip(hashes.tolist(), first.tolist(), strict=True):
            if own not in found:
                found[own] = key(decode(words[row].tolist()).strip()) in senses
    return np.array(sorted(own for own, inside in found.items() if inside), dtype=np.uint64)


def nats_of_kinds(
    nats: list[NDArray[np.float64]], kinds: list[NDArray[np.integer]]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return nats and number of tokens, each (N, kinds), of N documents from their scored tokens' nats and kinds.

    The kinds may cover more tokens than the nats: those at the beginning are context only.
    """
    size = len(KINDS) + 1
    summed, counted = np.zeros((len(nats), size)), np.zeros((len(nats), size), dtype=np.int64)
    for row, (own, kind) in enumerate(zip(nats, kinds, strict=True)):
        kind = kind[len(kind) - len(own) :]
        summed[row] = np.bincount(kind, own, minlength=size)
        counted[row] = np.bincount(kind, minlength=size)
    return summed[:, : len(KINDS)], counted[:, : len(KINDS)]
