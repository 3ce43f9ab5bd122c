"""A lexicon in token ids: the token sequences of its words, and their translations.

1. Encode every word as it stands in running text, in each case and context, and its translations likewise.
2. Find a word of a text by hash, bucket and exact comparison of its tokens.
3. Draw a target language, uniformly or by weight, then a translation, uniformly. One uniform number decides both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prealign.errors import LexiconError
from prealign.lexicon import Lexicon
from prealign.lexicon.case import lower, title, upper
from prealign.text.encode import CONTEXTS, encode_words
from prealign.text.ragged import IntArray, Ragged, edges, spans
from prealign.text.words import Tokenizer, special_ids


@dataclass(frozen=True)
class SwitchTable:
    """A lexicon in token ids. Entry e is one form of a source word, in one case and context.

    A *slot* is one target language of an entry, with its translations. `keys` (E,) are sorted hashes of `sources` (E rows
    of token ids); `forms` (E,) are indices into `FORMS`; `languages` (E + 1,) is the first slot of each entry. Of each slot,
    `slot_language` is an index into `targets`, `first_sense` its first translation and `senses` the number of its
    translations; slots may share them. `translations` are rows of token ids.
    """

    keys: NDArray[np.uint64]
    sources: Ragged
    forms: IntArray
    languages: IntArray
    slot_language: IntArray
    first_sense: IntArray
    senses: IntArray
    translations: Ragged
    targets: tuple[str, ...]
    weights: tuple[float, ...] | None = None
    """Relative frequency of each target (above 0); None draws all alike."""

    @cached_property
    def languages_of_entry(self) -> IntArray:
        """Number of target languages of each entry (E,)."""
        return np.diff(self.languages)

    @cached_property
    def _buckets(self) -> tuple[np.uint64, NDArray[np.int32], int]:
        """Buckets of entries with equal top bits of the key: (shift to the top bits, first entry, largest bucket size)."""
        bits = len(self.keys).bit_length() + 1
        shift = np.uint64(64 - bits)
        first = np.searchsorted(self.keys, np.arange(1 << bits, dtype=np.uint64) << shift)
        return shift, first.astype(np.int32), int(np.diff(first, append=len(self.keys)).max())

    @cached_property
    def _weight_sums(self) -> NDArray[np.float64]:
        """Running sums (slots + 1,) of the slots' weights."""
        weights = np.ones(len(self.targets)) if self.weights is None else np.array(self.weights)
        return np.concatenate([[0.0], np.cumsum(weights[self.slot_language])])

    def shares(self, times: IntArray) -> dict[str, float]:
        """Return the expected number of draws of each target if entry e is drawn times[e] times (E,)."""
        sums = self._weight_sums
        of_entry = sums[self.languages[1:]] - sums[self.languages[:-1]]
        entry = np.repeat(np.arange(len(self.keys)), self.languages_of_entry)
        drawn = np.bincount(self.slot_language, np.diff(sums) * (times / of_entry)[entry], minlength=len(self.targets))
        return dict(zip(self.targets, drawn.tolist(), strict=True))

    def find(self, words: Ragged) -> IntArray:
        """Return the entry of each word; -1 for a word that the lexicon does not have."""
        shift, first, size = self._buckets
        keys = words.hashes()
        entries = first[keys >> shift].astype(np.int64)
        for _ in range(size - 1):
            entries += self.keys.take(entries, mode="clip") < keys
        entries = np.minimum(entries, len(self.keys) - 1)
        lengths = words.lengths
        unknown = self.sources.lengths[entries] != lengths
        # At most one entry has the key. It is the word's entry if length and tokens are equal too.
        tokens = self.sources.values.take(spans(self.sources.offsets[entries], lengths), mode="clip")
        unknown[np.repeat(np.arange(len(words)), lengths)[tokens != words.values]] = True
        return np.where(unknown, -1, entries)

    def draw(self, entries: IntArray, u: NDArray[np.floating[Any]]) -> tuple[IntArray, IntArray]:
        """Draw and return (slot (K,), translation (K,)) for entries (K,). u (K,): uniform numbers in [0, 1)."""
        first, count = self.languages[entries], self.languages_of_entry[entries]
        if self.weights is None:
            slot = first + np.minimum((u * count).astype(np.int64), count - 1)
            rest = u * count - (slot - first)
        else:
            sums = self._weight_sums
            place = sums[first] + u * (sums[first + count] - sums[first])
            slot = np.clip(np.searchsorted(sums, place, side="right") - 1, first, first + count - 1)
            rest = np.clip((place - sums[slot]) / (sums[slot + 1] - sums[slot]), 0, 1)
        first, count = self.first_sense[slot], self.senses[slot]
        return slot, first + np.minimum((rest * count).astype(np.int64), count - 1)


def switch_table(tokenizer: Tokenizer, lexicon: Lexicon, targets: Sequence[str]) -> SwitchTable:
    """Encode every word of the lexicon that has a translation into `targets`, in each case and context.

    A word matches in the case of the lexicon. A lower-case word also matches capitalised and in upper case; its
    translations then take the same case. If two entries have the same tokens, the first one keeps them. Raises
    LexiconError if no word has a translation.
    """
    groups = [g for g in lexicon if any(g.translations.get(t) for t in targets)]
    claimed: set[bytes] = set()
    sources: list[IntArray] = []
    forms: list[int] = []
    rows: list[list[tuple[int, list[IntArray]]]] = []
    for cased in _CASES:
        cased_words = ((g, cased(g.word, lexicon.source)) for g in groups)
        members = [(g, f) for g, f in cased_words if cased is _as_it_is or _takes_case(g.word, f, lexicon.source)]
        words = [word for _, word in members]
        pairs = [(t, [cased(s, t) for s in g.translations.get(t, ())]) for g, _ in members for t in targets]
        for context in CONTEXTS:
            encoded = _encode_translations(tokenizer, pairs, targets, context)
            for row, ids in enumerate(encode_writable(tokenizer, words, lexicon.source, context)):
                slots = encoded[row * len(targets) : (row + 1) * len(targets)]
                if len(ids) and ids.tobytes() not in claimed and any(senses for _, senses in slots):
                    claimed.add(ids.tobytes())
                    sources.append(ids)
                    forms.append(FORMS.index((cased, context)))
                    rows.append([(language, senses) for language, senses in slots if senses])
    if not sources:
        raise LexiconError(
            f"the lexicon has no word with a translation into {', '.join(targets) or 'any target'}: "
            f"it holds {len(lexicon)} groups for {', '.join(lexicon.targets) or 'no language'}. Check the `target` of "
            "the dictionary files."
        )
    return _assemble(Ragged.of(sources), np.array(forms), rows, tuple(targets))


def _assemble(
    sources: Ragged, forms: IntArray, rows: list[list[tuple[int, list[IntArray]]]], targets: tuple[str, ...]
) -> SwitchTable:
    keys = sources.hashes()
    order = np.argsort(keys, kind="stable")
    slots = [slot for entry in order for slot in rows[entry]]
    senses = np.array([len(senses) for _, senses in slots])
    return SwitchTable(
        keys=keys[order],
        sources=sources.take(order),
        forms=forms[order],
        languages=edges(np.array([len(rows[entry]) for entry in order])),
        slot_language=np.array([language for language, _ in slots]),
        first_sense=edges(senses)[:-1],
        senses=senses,
        translations=Ragged.of([ids for _, senses in slots for ids in senses]),
        targets=targets,
    )


def _encode_translations(
    tokenizer: Tokenizer, pairs: list[tuple[str, list[str]]], targets: Sequence[str], context: str
) -> list[tuple[int, list[IntArray]]]:
    """Return (index of the language, encoded senses) for each (language, senses). Senses without tokens are dropped.

    Each language is encoded as one batch.
    """
    encoded: list[tuple[int, list[IntArray]]] = [(targets.index(language), []) for language, _ in pairs]
    for target in targets:
        where = [(i, sense) for i, (language, senses) in enumerate(pairs) if language == target for sense in senses]
        rows = encode_writable(tokenizer, [sense for _, sense in where], target, context)
        for (i, _), ids in zip(where, rows, strict=True):
            if len(ids):
                encoded[i][1].append(ids)
    return encoded


def encode_writable(tokenizer: Tokenizer, words: Sequence[str], language: str, context: str) -> list[IntArray]:
    """Encode words. One that needs the unknown token has no tokens: it would match every unknown word of the text."""
    special = list(special_ids(tokenizer))
    rows = encode_words(tokenizer, words, language, context)
    unknown = set(np.repeat(np.arange(len(rows)), rows.lengths)[np.isin(rows.values, special)].tolist())
    return [ids[:0] if row in unknown else ids for row, ids in enumerate(rows)]


def _as_it_is(word: str, language: str) -> str:
    return word


_CASES: tuple[Callable[[str, str], str], ...] = (_as_it_is, title, upper)


FORMS = tuple((cased, context) for cased in _CASES for context in CONTEXTS)
"""The forms of a word in text: the function that gives its case, and its context (`prealign.text.encode`)."""


def _takes_case(word: str, cased: str, language: str) -> bool:
    return cased != word == lower(word, language)
