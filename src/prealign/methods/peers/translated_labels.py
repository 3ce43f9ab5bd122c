"""Translations of the labels of a text, by tokens or by words.

By tokens, every label that has links (`prealign.methods.vocabulary.links`):
1. Draw one of the languages that it has links into, with equal probability.
2. The translations are its heaviest links into that language, with their weights.

By words, every label that begins a word of the lexicon:
1. Find the words of the text as code-switching does, for all languages at once.
2. Draw one translation as code-switching does. Its first token is the translation of the label.
3. Leave out words of two languages, words that a block cuts or code-switching replaced, and translations whose first
   token is not in their language's part of the vocabulary.

The first label of a block has no context and is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from prealign.languages import is_clone
from prealign.lexicon import Lexicon
from prealign.methods.switching.table import SwitchTable, switch_table
from prealign.methods.vocabulary.links import REST, TokenLinks
from prealign.text.clone import clone_language
from prealign.text.ragged import IntArray, Ragged
from prealign.text.words import Tokenizer, word_table

# B blocks, T tokens, M labels with a translation, k translations of a label, P parts of the vocabulary


@dataclass(frozen=True)
class Translated:
    """Labels with a translation, M of them. place (M,): their index in the labels, flattened to (B·T,).

    part (M,): the part of the vocabulary that the translations belong to. tokens (M, k): the translations. weights (M, k):
    their shares, which sum to 1.
    """

    place: IntArray
    part: IntArray
    tokens: IntArray
    weights: NDArray[np.float64]


class Translator(Protocol):
    """Finds the translations of labels."""

    def find(self, ids: IntArray, labels: IntArray, chosen: NDArray[np.bool_], u: NDArray[np.float64]) -> Translated:
        """Return the translations of the `chosen` labels of a text, all (B, T); u in [0, 1) makes the draws."""


class TokenTranslator(Translator):
    """Translates labels by token links, at most `keep` a label. symmetric: those of target languages too."""

    def __init__(self, links: TokenLinks, *, keep: int = 4, symmetric: bool = True) -> None:
        parts = [*range(int(links.part.max()) + 1), *([REST] if symmetric else [])]
        tables = [links.into(part, keep) for part in parts]
        width = max(tokens.shape[1] for tokens, _ in tables)
        self._parts = np.array(parts)
        self._tokens = np.stack([_widened(tokens, tokens[:, :1], width) for tokens, _ in tables])  # (P, V, k)
        self._weights = np.stack([_widened(weights, np.zeros(1), width) for _, weights in tables])

    def find(self, ids: IntArray, labels: IntArray, chosen: NDArray[np.bool_], u: NDArray[np.float64]) -> Translated:
        """See `Translator`."""
        place = np.flatnonzero(_predicted(labels) & chosen)
        label = labels.ravel()[place]
        known = self._tokens[:, label, 0] >= 0  # (P, M)
        number = np.floor(u.ravel()[place] * known.sum(0))
        drawn = (known & (known.cumsum(0) == number + 1)).argmax(0)
        found = known.any(0)
        place, label, drawn = place[found], label[found], drawn[found]
        return Translated(place, self._parts[drawn], self._tokens[drawn, label], self._weights[drawn, label])


class WordTranslator(Translator):
    """Translates the first label of words by a lexicon. part (V,): of the vocabulary; targets: its languages, by number.

    symmetric: translates words of target languages too, with at most `maximum_senses` translations.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        lexicon: Lexicon,
        part: IntArray,
        targets: tuple[str, ...],
        *,
        maximum_senses: int = 4,
        symmetric: bool = True,
    ) -> None:
        self._part, self._words = part, word_table(tokenizer)
        self._clone = clone_language(tokenizer) if any(map(is_clone, targets)) else None
        known = [target for target in targets if target in lexicon.targets]
        self._tables: list[tuple[SwitchTable, IntArray]] = [  # and the part of each language a table translates into
            (switch_table(tokenizer, lexicon, known), np.array([targets.index(target) for target in known]))
        ]
        for target in known if symmetric else ():
            inverted = lexicon.inverted(target).limit_senses(maximum_senses)
            if len(inverted):
                self._tables.append((switch_table(tokenizer, inverted, (lexicon.source,)), np.array([REST])))

    def find(self, ids: IntArray, labels: IntArray, chosen: NDArray[np.bool_], u: NDArray[np.float64]) -> Translated:
        """See `Translator`."""
        context = ids.shape[1]
        flat = ids.ravel()
        begins = self._words.starts(flat if self._clone is None else self._clone.unmap(flat))
        begins[::context] = True
        starts = np.flatnonzero(begins)
        words = Ragged(flat, np.append(starts, len(flat)))
        whole = _predicted(labels).ravel()[starts] & (words.offsets[1:] % context != 0)
        candidates = np.flatnonzero(whole & chosen.ravel()[starts] & (labels.ravel() == flat)[starts])
        entries = np.stack([table.find(words.take(candidates)) for table, _ in self._tables])
        entries[:, (entries >= 0).sum(0) > 1] = -1
        found: list[Translated] = []
        for (table, part_of), entry in zip(self._tables, entries, strict=True):
            known = np.flatnonzero(entry >= 0)
            place = starts[candidates[known]]
            slot, sense = table.draw(entry[known], u.ravel()[place])
            token, part = (
                table.translations.values[table.translations.offsets[sense]],
                part_of[table.slot_language[slot]],
            )
            kept = self._part[token] == part
            found.append(Translated(place[kept], part[kept], token[kept, None], np.ones((int(kept.sum()), 1))))
        return Translated(
            place=np.concatenate([one.place for one in found]),
            part=np.concatenate([one.part for one in found]),
            tokens=np.concatenate([one.tokens for one in found]),
            weights=np.concatenate([one.weights for one in found]),
        )


def _predicted(labels: IntArray) -> NDArray[np.bool_]:
    """Return (B, T): which labels the model predicts."""
    predicted = labels >= 0
    predicted[:, 0] = False
    return predicted


def _widened(table: NDArray[np.generic], fill: NDArray[np.generic], width: int) -> NDArray[np.generic]:
    """Return a table (V, k) with `width` columns, the new ones filled."""
    more = np.broadcast_to(fill, (len(table), width - table.shape[1]))
    return np.concatenate([table, more], axis=1)
