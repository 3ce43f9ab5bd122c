"""Kinds of words: which tokens of a text belong to words that are translations in the training lexicon.

1. Write the lexicon's translations in every case and context in which switching writes them, and hash their tokens.
2. Look up the words of a document (`prealign.text.words`; a clone's are those of its source text). Where spellings vary
   (`lexicon.normalise`), compare the words by their key as well.
3. A word is *inside* if it is one of those forms, *outside* if it is not and has a letter or digit. The rest are signs.

A translation of several words matches no single word of the text. In scripts without spaces, words are those that a
segmenter found when the text was tokenised. Without a segmenter a word is a whole run of letters, and few are inside.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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
"""Kinds of words, by their number; signs have the next number."""


@dataclass(frozen=True)
class WordKinds:
    """The kinds of N documents' tokens, (T,) each (see `token_kinds`), and an id of their lexicon for signatures."""

    kinds: Sequence[NDArray[np.integer]]
    lexicon: str


def lexicon_forms(tokenizer: Tokenizer, lexicon: Lexicon, language: str) -> NDArray[np.uint64]:
    """Return the sorted hashes of the lexicon's translations into `language`, as running text writes them."""
    if not any(group.translations.get(language) for group in lexicon):
        return np.empty(0, dtype=np.uint64)
    return np.unique(switch_table(tokenizer, lexicon, [language]).translations.hashes())


def token_kinds(
    ids: IntArray, forms: NDArray[np.uint64], tokenizer: Tokenizer, language: str, starts: IntArray | None = None
) -> NDArray[np.integer]:
    """Return the kind (T,) of each token of a document in `language`; ids (T,), a clone's in twin ids.

    forms: sorted hashes. starts: the first tokens of the words that a segmenter found; None: the tokenizer's words.
    """
    table = word_table(tokenizer)
    source_ids = clone_language(tokenizer).unmap(ids) if is_clone(language) else ids
    words = Ragged(ids, np.append(np.flatnonzero(table.starts(source_ids)) if starts is None else starts, len(ids)))
    # The last token shows whether a word is a sign: where letters and signs meet, a new word begins.
    kinds = np.where(table.wordlike[source_ids[words.offsets[1:] - 1]], KINDS.index("outside"), len(KINDS))
    kinds[np.isin(words.hashes(), forms)] = KINDS.index("inside")
    return np.repeat(kinds, words.lengths)


def spelled_forms(
    documents: Iterable[IntArray], tokenizer: Tokenizer, lexicon: Lexicon, language: str, key: Key
) -> NDArray[np.uint64]:
    """Return the sorted hashes of the documents' words whose `key` is that of a translation into `language`."""
    table, decode = word_table(tokenizer), text_of(tokenizer)
    senses = {key(sense) for group in lexicon for sense in group.translations.get(language, ())}
    matches: dict[int, bool] = {}
    for ids in documents:
        words = Ragged(ids, np.append(np.flatnonzero(table.starts(ids)), len(ids)))
        hashes, first = np.unique(words.hashes(), return_index=True)
        for hashed, row in zip(hashes.tolist(), first.tolist(), strict=True):
            if hashed not in matches:
                matches[hashed] = key(decode(words[row].tolist()).strip()) in senses
    return np.array(sorted(hashed for hashed, inside in matches.items() if inside), dtype=np.uint64)


def nats_of_kinds(
    nats: Sequence[NDArray[np.float64]], kinds: Sequence[NDArray[np.integer]]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return nats and number of tokens, each (N, kinds), of N documents from the nats and kinds of their scored tokens.

    The kinds may cover more tokens than the nats: the first ones are context only.
    """
    size = len(KINDS) + 1
    summed, counted = np.zeros((len(nats), size)), np.zeros((len(nats), size), dtype=np.int64)
    for row, (scored, kind) in enumerate(zip(nats, kinds, strict=True)):
        kind = kind[len(kind) - len(scored) :]
        summed[row] = np.bincount(kind, scored, minlength=size)
        counted[row] = np.bincount(kind, minlength=size)
    return summed[:, : len(KINDS)], counted[:, : len(KINDS)]
