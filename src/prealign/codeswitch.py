"""Input-only code-switching: the model reads the foreign word but is never asked to write it.

Let a source word have tokens o_1..o_n and its substitute t_1..t_m, placed at positions p..p+m-1. With labels aligned to
inputs (the label at position j is predicted from position j-1):

    labels[p] = o_1;   labels[p+1 .. p+m-1] = -100 (ignored);   every unswitched token is its own label

1. Find the words of the document (`prealign.text.words`); each has a position, counted from 0.
2. Draw one uniform number u per word from a generator keyed by (seed, epoch, document). The word is a candidate if
   u < rho; u / rho is then uniform again and later picks the translation. So the choice at a word depends on nothing
   but (seed, epoch, document, word position).
3. Look the candidates' token sequences up in the lexicon's table (hash, bucket, exact comparison). Those found
   are switched; the target language and then the translation are drawn uniformly.
4. Write inputs and labels: repeat every token by its count in the output, then fill in the substitutes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import xxhash
from numpy.typing import ArrayLike, NDArray

from prealign.errors import LexiconError, RecipeError
from prealign.lexicon import Lexicon
from prealign.text.languages import CONTEXTS, encode_words
from prealign.text.ragged import IntArray, Ragged, edges, spans
from prealign.text.words import Tokenizer, WordTable, word_table

IGNORE = -100
Mode = Literal["input_only", "vanilla"]


@dataclass(frozen=True)
class SwitchTable:
    """A lexicon in tokens. Entry e is one written form of a source word (its case and context).

    `keys` sorted hashes (E,), `sources` the forms' tokens (E rows), `languages` (E + 1,) the first language slot of each
    entry, `senses` (slots + 1,) the first translation of each slot, `slot_language` its index into `targets`,
    `translations` their tokens. Keeps what "drawn uniformly over target languages and then over translations" needs.
    """

    keys: NDArray[np.uint64]
    sources: Ragged
    languages: IntArray
    senses: IntArray
    slot_language: IntArray
    translations: Ragged
    targets: tuple[str, ...]

    @cached_property
    def languages_of_entry(self) -> IntArray:
        """Number of target languages each entry can be switched into (E,)."""
        return np.diff(self.languages)

    @cached_property
    def senses_of_slot(self) -> IntArray:
        """Number of translations of each slot."""
        return np.diff(self.senses)

    @cached_property
    def _buckets(self) -> tuple[np.uint64, NDArray[np.int32], int]:
        """Entries by the top bits of their key: the shift that leaves those, each bucket's first entry, the largest size."""
        bits = len(self.keys).bit_length() + 1
        shift = np.uint64(64 - bits)
        first = np.searchsorted(self.keys, np.arange(1 << bits, dtype=np.uint64) << shift)
        return shift, first.astype(np.int32), int(np.diff(first, append=len(self.keys)).max())

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
        slot = first + np.minimum((u * count).astype(np.int64), count - 1)
        rest = u * count - (slot - first)
        first, count = self.senses[slot], self.senses_of_slot[slot]
        return slot, first + np.minimum((rest * count).astype(np.int64), count - 1)


def switch_table(tokenizer: Tokenizer, lexicon: Lexicon, targets: Sequence[str]) -> SwitchTable:
    """Write every word of the lexicon, in each case and context it may have in text, as tokens.

    A word is matched as the lexicon has it; lower-case entries also match their capitalised and upper-case forms, which
    return the translation in the same case. The first entry that claims a token sequence keeps it.
    """
    groups = [g for g in lexicon if any(g.translations.get(t) for t in targets)]
    claimed: set[bytes] = set()
    sources: list[IntArray] = []
    rows: list[list[tuple[int, list[IntArray]]]] = []
    for cased in _CASES:
        members = [(g, cased(g.word)) for g in groups if cased is _as_it_is or _takes_case(g.word, cased(g.word))]
        words = [word for _, word in members]
        pairs = [(t, [cased(s) for s in g.translations.get(t, ())]) for g, _ in members for t in targets]
        for context in CONTEXTS:
            encoded = _encode_translations(tokenizer, pairs, targets, context)
            for row, ids in enumerate(_encode(tokenizer, words, lexicon.source, context)):
                slots = encoded[row * len(targets) : (row + 1) * len(targets)]
                if len(ids) and ids.tobytes() not in claimed and any(senses for _, senses in slots):
                    claimed.add(ids.tobytes())
                    sources.append(ids)
                    rows.append([(language, senses) for language, senses in slots if senses])
    if not sources:
        raise LexiconError(
            f"the lexicon has no word with a translation into {', '.join(targets) or 'any target'}: "
            f"it holds {len(lexicon)} groups for {', '.join(lexicon.targets) or 'no language'}. Check the `target` of "
            "the dictionary files."
        )
    return _assemble(Ragged.of(sources), rows, tuple(targets))


def _assemble(sources: Ragged, rows: list[list[tuple[int, list[IntArray]]]], targets: tuple[str, ...]) -> SwitchTable:
    keys = sources.hashes()
    order = np.argsort(keys, kind="stable")
    slots = [slot for entry in order for slot in rows[entry]]
    return SwitchTable(
        keys=keys[order],
        sources=sources.take(order),
        languages=edges(np.array([len(rows[entry]) for entry in order])),
        senses=edges(np.array([len(senses) for _, senses in slots])),
        slot_language=np.array([language for language, _ in slots]),
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
        rows = _encode(tokenizer, [sense for _, sense in where], target, context)
        for (i, _), ids in zip(where, rows, strict=True):
            if len(ids):
                encoded[i][1].append(ids)
    return encoded


def _encode(tokenizer: Tokenizer, words: Sequence[str], language: str, context: str) -> list[IntArray]:
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


def _takes_case(word: str, cased: str) -> bool:
    return word == word.lower() and cased != word and cased.lower() == word


@dataclass(frozen=True)
class Switches:
    """Where words were replaced, K of them, in order: source tokens start..start+n-1 became input tokens p..p+m-1."""

    word: IntArray  # (K,) position of the word in the document
    start: IntArray  # (K,)
    n: IntArray  # (K,)
    p: IntArray  # (K,)
    m: IntArray  # (K,)
    target: IntArray  # (K,) index into CodeSwitcher.targets


@dataclass(frozen=True)
class Switched:
    """A switched document: `input_ids` and `labels` (T',), and what was done to it.

    `switched_words` of `source_words` words and `switched_tokens` of `source_tokens` source tokens were replaced.
    """

    input_ids: IntArray
    labels: IntArray
    switched_words: int
    source_words: int
    switched_tokens: int
    source_tokens: int
    switches: Switches


def switch_tokens(
    ids: IntArray,
    starts: IntArray,
    u: NDArray[np.floating[Any]],
    table: SwitchTable,
    ratio: float,
    mode: Mode = "input_only",
) -> tuple[IntArray, IntArray, Switches]:
    """Replace words of `ids` (T,) and return (input_ids, labels, switches).

    `starts` (words,) are the first tokens of the words, `u` (words,) uniform in [0, 1): see the module's algorithm.
    """
    candidates = np.flatnonzero(u < ratio)
    words = Ragged(ids, np.append(starts, len(ids))).take(candidates)
    entries = table.find(words)
    known = np.flatnonzero(entries >= 0)
    word, n = candidates[known], words.lengths[known]
    start = starts[word]
    slot, translation = table.draw(entries[known], u[word] / ratio)
    substitutes = table.translations.take(translation)
    m = substitutes.lengths
    p = start + np.cumsum(m - n) - (m - n)
    input_ids, labels = _write(ids, start, n, p, substitutes, mode)
    return input_ids, labels, Switches(word, start, n, p, m, table.slot_language[slot])


def _write(
    ids: IntArray, start: IntArray, n: IntArray, p: IntArray, substitutes: Ragged, mode: Mode
) -> tuple[IntArray, IntArray]:
    counts = np.ones(len(ids), dtype=np.int64)
    counts[spans(start, n)] = 0
    counts[start] = substitutes.lengths
    input_ids = np.repeat(ids, counts)
    positions = spans(p, substitutes.lengths)
    input_ids[positions] = substitutes.values
    labels = input_ids.copy()
    if mode == "input_only":
        labels[positions] = IGNORE
        labels[p] = ids[start]
    return input_ids, labels


class CodeSwitcher:
    """Switches documents of the source language. Deterministic in (seed, epoch, document, word position).

    ratio: rho, the probability that a word the lexicon knows is replaced; 0..1, else RecipeError.
    mode: "input_only" (labels stay in the source language) or "vanilla" (labels are the switched inputs).
    source: the language of the documents; must be the lexicon's.
    targets: languages to switch into; None means all of the lexicon's.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        lexicon: Lexicon,
        *,
        ratio: float = 0.05,
        mode: Mode = "input_only",
        source: str = "en",
        targets: Sequence[str] | None = None,
        seed: int = 0,
    ) -> None:
        if not 0 <= ratio <= 1:
            raise RecipeError(f"switch ratio {ratio} is not in 0..1: it is the probability of replacing a known word.")
        if mode not in ("input_only", "vanilla"):
            raise RecipeError(f"switch mode {mode!r} is unknown; use 'input_only' or 'vanilla'.")
        if source != lexicon.source:
            raise LexiconError(f"the lexicon translates from {lexicon.source!r}, the text is {source!r}.")
        self.targets = tuple(lexicon.targets if targets is None else targets)
        unknown = set(self.targets) - set(lexicon.targets)
        if unknown:
            raise LexiconError(
                f"the lexicon has no translations into {', '.join(sorted(unknown))}; it has {', '.join(lexicon.targets)}."
            )
        self.ratio, self.mode, self.seed = ratio, mode, seed
        self.words: WordTable = word_table(tokenizer)
        self.table = switch_table(tokenizer, lexicon, self.targets)

    def switch(self, ids: ArrayLike, *, epoch: int = 0, document: int = 0) -> Switched:
        """Switch one document's token ids (T,). Ids outside the vocabulary are a ValueError."""
        ids = np.asarray(ids, dtype=np.int64)
        begins = self.words.starts(ids)
        starts = np.flatnonzero(begins)
        u = self._draws(len(starts), epoch, document)
        input_ids, labels, switches = switch_tokens(ids, starts, u, self.table, self.ratio, self.mode)
        return Switched(
            input_ids=input_ids,
            labels=labels,
            switched_words=len(switches.word),
            source_words=self._count_words(ids, begins),
            switched_tokens=int(switches.n.sum()),
            source_tokens=len(ids),
            switches=switches,
        )

    def coverage(self, documents: Iterable[ArrayLike]) -> float:
        """Return the share of these documents' words that the lexicon knows; rho times it is the expected switch rate."""
        known = words = 0
        for document in documents:
            ids = np.asarray(document, dtype=np.int64)
            begins = self.words.starts(ids)
            starts = np.flatnonzero(begins)
            known += int(np.count_nonzero(self.table.find(Ragged(ids, np.append(starts, len(ids)))) >= 0))
            words += self._count_words(ids, begins)
        return known / words if words else 0.0

    def _count_words(self, ids: IntArray, begins: NDArray[np.bool_]) -> int:
        """Count the words that have a letter or digit; the others are punctuation.

        A word's last token, the one before a beginning, tells: where letters and signs meet, a new word begins.
        """
        wordlike = self.words.wordlike[ids]
        return int(np.count_nonzero(wordlike[:-1] & begins[1:]) + np.count_nonzero(wordlike[-1:]))

    def _draws(self, words: int, epoch: int, document: int) -> NDArray[np.float32]:
        """One uniform number a word. A longer document starts with the same numbers."""
        stream = xxhash.xxh64_intdigest(f"{self.seed}/{epoch}".encode())
        generator = np.random.Generator(np.random.Philox(key=[stream, document]))
        return generator.random(words, dtype=np.float32)
