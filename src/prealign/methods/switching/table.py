"""A lexicon in tokens: which token sequences are its words, and what each may be switched into.

1. Every word is written as running text has it, in each case and context, and so are its translations.
2. A word is found by hash, bucket and exact comparison of its tokens.
3. A target language is drawn, alike or by weight, and then a translation, uniformly. One uniform number picks both.
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
from prealign.text.encode import CONTEXTS, encode_words
from prealign.text.ragged import IntArray, Ragged, edges, spans
from prealign.text.words import Tokenizer


@dataclass(frozen=True)
class SwitchTable:
    """A lexicon in tokens. Entry e is one written form of a source word (its case and context).

    `keys` sorted hashes (E,), `sources` the forms' tokens (E rows), `forms` (E,) their index into `FORMS`, `languages`
    (E + 1,) the first language slot of each entry. Of each slot: `slot_language` its index into `targets`, `first_sense` its
    first translation, `senses` the number of its translations; slots may share them. `translations` their tokens. Keeps what
    "drawn uniformly over target languages and then over translations" needs.
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
    """How often each target is drawn in relation to the others (above 0); None: all alike."""

    @cached_property
    def languages_of_entry(self) -> IntArray:
        """Number of target languages each entry can be switched into (E,)."""
        return np.diff(self.languages)

    @cached_property
    def _buckets(self) -> tuple[np.uint64, NDArray[np.int32], int]:
        """Entries by the top bits of their key: the shift that leaves those, each bucket's first entry, the largest size."""
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
        """Return how many of the entries that occur this many times (E,) are expected to be drawn in each target."""
        sums = self._weight_sums
        of_entry = sums[self.languages[1:]] - sums[self.languages[:-1]]
        entry = np.repeat(np.arange(len(self.keys)), self.languages_of_entry)
        drawn = np.bincount(self.slot_language, np.diff(sums) * (times / of_entry)[entry], minlength=len(self.targets))
        return dict(zip(self.targets, drawn.tolist(), strict=True))

    def find(self, words: Ragged) -> IntArray:
        """Return each word's entry, -1 where the lexicon has none."""
        shift, first, size = self._buckets
        keys = words.hashes()
        entries = first[keys >> shift].astype(np.int64)
        for _ in range(size - 1):
            entries += self.keys.take(entries, mode="clip") < keys
        entries = np.minimum(entries, len(self.keys) - 1)
        lengths = words.lengths
        unknown = self.sources.lengths[entries] != lengths
        # The key names the only entry that can be the word's; equal length and tokens prove that it is.
        tokens = self.sources.values.take(spans(self.sources.offsets[entries], lengths), mode="clip")
        unknown[np.repeat(np.arange(len(words)), lengths)[tokens != words.values]] = True
        return np.where(unknown, -1, entries)

    def draw(self, entries: IntArray, u: NDArray[np.floating[Any]]) -> tuple[IntArray, IntArray]:
        """Return (slot, translation) of each entry; u (K,) uniform in [0, 1)."""
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
    """Write every word of the lexicon, in each case and context it may have in text, as tokens.

    A word is matched as the lexicon has it; lower-case entries also match their capitalised and upper-case forms, which
    return the translation in the same case. The first entry that claims a token sequence keeps it.
    """
    groups = [g for g in lexicon if any(g.translations.get(t) for t in targets)]
    claimed: set[bytes] = set()
    sources: list[IntArray] = []
    forms: list[int] = []
    rows: list[list[tuple[int, list[IntArray]]]] = []
    for cased in _CASES:
        members = [(g, cased(g.word)) for g in groups if cased is _as_it_is or _takes_case(g.word, cased(g.word))]
        words = [word for _, word in members]
        pairs = [(t, [cased(s) for s in g.translations.get(t, ())]) for g, _ in members for t in targets]
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
    """Encode the senses of each (language, senses), one batch a language; an empty encoding is no translation."""
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
    added = tokenizer.added_tokens_decoder
    special = [*tokenizer.all_special_ids, *(i for i, token in added.items() if token.special)]
    rows = encode_words(tokenizer, words, language, context)
    unknown = set(np.repeat(np.arange(len(rows)), rows.lengths)[np.isin(rows.values, special)].tolist())
    return [ids[:0] if row in unknown else ids for row, ids in enumerate(rows)]


def _as_it_is(word: str) -> str:
    return word


def _capitalised(word: str) -> str:
    return word[:1].upper() + word[1:]


_CASES: tuple[Callable[[str], str], ...] = (_as_it_is, _capitalised, str.upper)
FORMS = tuple((cased, context) for cased in _CASES for context in CONTEXTS)
"""How a word may be written in text: what gives its case, and its context (`prealign.text.encode`)."""


def _takes_case(word: str, cased: str) -> bool:
    return word == word.lower() and cased != word and cased.lower() == word
