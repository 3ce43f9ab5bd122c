"""The English-Clone: a second language with the same grammar and meaning and not one token in common.

1. Every non-special token id i of a vocabulary of V rows gets a twin, numbered from V upwards in the order of the ids.
2. Special tokens (end of text, padding …) are shared. An id in a hole of the vocabulary is no token and has no twin.
3. Clone text is source text with its ids mapped; its dictionary is perfect: word ↔ the same word's twin ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prealign.languages import CLONE_SUFFIX
from prealign.lexicon import Group, Lexicon
from prealign.text.words import Tokenizer, rows


class CloneLanguage:
    """The clone of a tokenizer's language. `twin` (V,) maps each id to its twin; specials map to themselves."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.size = rows(tokenizer)
        special = np.ones(self.size, dtype=bool)
        special[list(tokenizer.get_vocab().values())] = False
        special[tokenizer.all_special_ids] = True
        self.twin = np.where(special, np.arange(self.size), self.size + np.cumsum(~special) - 1)
        self._origin = np.concatenate([np.arange(self.size), np.flatnonzero(~special)])

    @property
    def vocab_size(self) -> int:
        """Rows an embedding needs: V plus one twin for each non-special token."""
        return len(self._origin)

    def map(self, ids: ArrayLike) -> NDArray[np.int64]:
        """Map source ids (any shape) to clone ids. Ids outside 0..V-1 are a ValueError."""
        return self._take(self.twin, ids)

    def unmap(self, ids: ArrayLike) -> NDArray[np.int64]:
        """Map clone ids back to source ids; source ids stay as they are."""
        return self._take(self._origin, ids)

    def encode(self, text: str) -> NDArray[np.int64]:
        """Return the clone ids of a source-language text, without special tokens."""
        return self.map(self._tokenizer.encode(text, add_special_tokens=False))

    def lexicon(self, words: Iterable[str] | Mapping[str, int], *, source: str = "en") -> Lexicon:
        """Return the perfect dictionary: each word translates to itself, written in twin ids.

        A mapping gives the words' corpus frequencies as well.
        """
        counts = words if isinstance(words, Mapping) else dict.fromkeys(words)
        language = source + CLONE_SUFFIX
        groups = [
            Group(word, translations={language: (word,)}, count=count, origin=("clone",))
            for word, count in counts.items()
        ]
        return Lexicon(groups, source=source, targets=(language,))

    @staticmethod
    def _take(table: NDArray[np.int64], ids: ArrayLike) -> NDArray[np.int64]:
        array = np.asarray(ids, dtype=np.int64)
        if array.size and (array.min() < 0 or array.max() >= len(table)):
            raise ValueError(f"token ids must lie in 0..{len(table) - 1}, got {array.min()}..{array.max()}")
        return table[array]


def clone_language(tokenizer: Tokenizer) -> CloneLanguage:
    """Return the clone of this tokenizer's language."""
    return CloneLanguage(tokenizer)
