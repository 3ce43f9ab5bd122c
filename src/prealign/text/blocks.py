"""From tokenised documents to full training blocks of input_ids and labels.

1. For each epoch, put the documents of all languages of the mixture in one order that depends on (seed, epoch) alone.
   With shares of tokens by language there are no epochs of the whole: each language goes over its own documents, in an order
   that depends on (seed, language, pass), and the next document is of the language that is furthest behind its share.
2. Switch the documents (`prealign.methods.switching.switch`); end every document with EOS, which is a real label.
3. Chain them and cut blocks of `context` tokens: no padding, and no token lost but the last remainder.
4. Shuffle the blocks of each stretch (about 4 million tokens, or the end of the epoch), carry the stretch's remainder on,
   and write them out in the order in which training reads them. Memory does not grow with the corpus.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Sequence as Sequence_
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, count
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import xxhash
from datasets import Dataset, Features, Sequence, Value

from prealign.text.arrow import arrow_from_tables, list_array, read_tokens, rows_at_once
from prealign.text.ragged import edges
from prealign.workers import Spread

BLOCKS = Features({"input_ids": Sequence(Value("int32")), "labels": Sequence(Value("int32"))})
_STRETCH = 2**22

Pair = tuple[np.ndarray, np.ndarray]  # input_ids and labels of the same length


@dataclass
class LanguageCounts:
    """What was read of one language: tokens as they went into blocks, switched and with EOS; passes over its documents.

    The rest is counted where its text is switched: words and tokens as they were before, how many of them were switched, and
    `into`: switched words by language of the substitute.
    """

    documents: int = 0
    tokens: int = 0
    passes: float = 0.0
    words: int = 0
    switched_words: int = 0
    source_tokens: int = 0
    switched_tokens: int = 0
    into: dict[str, int] = field(default_factory=dict)


@dataclass
class MixtureCounts:
    """What was read for a set of blocks; `blocks` is what was kept. More is read than kept: to the end of the last stretch,
    or, where languages have shares, of the last document.
    """

    epochs: int = 0
    blocks: int = 0
    languages: dict[str, LanguageCounts] = field(default_factory=dict)

    def record(self, source: str) -> dict[str, int]:
        """Return the counts by name; words and switches are those of the language `source`."""
        own = self.languages.get(source, LanguageCounts())
        return {
            "epochs": self.epochs,
            "documents": sum(language.documents for language in self.languages.values()),
            "blocks": self.blocks,
            "source_words": own.words,
            "switched_words": own.switched_words,
            "source_tokens": own.source_tokens,
            "switched_tokens": own.switched_tokens,
        }


def token_shares(sizes: Mapping[str, int], temperature: float, weights: Mapping[str, float]) -> dict[str, float] | None:
    """Return the share of tokens to read of each language; None: as much as there is.

    sizes: tokens of each language's text. weights, if any, decide; else the share goes as size^(1/temperature), as in
    multilingual BERT (Devlin 2019) and XLM-R (Conneau et al. 2020).
    """
    if not weights and temperature == 1.0:
        return None
    raw = {language: weights[language] if weights else n ** (1 / temperature) for language, n in sizes.items()}
    return {language: own / sum(raw.values()) for language, own in raw.items()}


_Task = tuple[int, np.ndarray]  # a pass, and the numbers of documents


@dataclass(frozen=True)
class _Document:
    """A document on its pass `number` as it goes into blocks, and, where its language is switched, what was done to it."""

    language: str
    number: int
    pair: Pair
    words: int = 0
    switched_words: int = 0
    tokens: int = 0
    switched_tokens: int = 0
    into: dict[str, int] = field(default_factory=dict)


class Rewriter(Protocol):
    """What changes a document before it goes into blocks: code-switching, for example."""

    @property
    def targets(self) -> Sequence_[str]:
        """The languages that substitutes are of."""

    @property
    def ratio(self) -> float:
        """The probability that a known word is replaced."""

    def switch(self, ids: np.ndarray, *, epoch: int = 0, document: int = 0, starts: np.ndarray | None = None) -> Any:
        """Return input_ids, labels and what was done: a function of the arguments and a seed alone."""


@dataclass(frozen=True)
class Mixture:
    """Tokenised documents of every language, and the switcher for those of `source` (None: nothing is switched).

    others: switchers of target languages, by language. shares: of tokens, by language; None: as much as there is.
    """

    tokens: Mapping[str, Dataset]
    source: str
    eos: int
    switcher: Rewriter | None = None
    others: Mapping[str, Rewriter] = field(default_factory=dict)
    shares: Mapping[str, float] | None = None

    def epoch(self, number: int, seed: int, counts: MixtureCounts, spread: Spread = map) -> Iterator[Pair]:
        """Yield every document once as (input_ids, labels), switched, EOS at the end."""
        order = _permutation(int(self._firsts[-1]), b"document order", seed, number)
        return self.documents(number, order, counts, spread)

    def documents(self, number: int, order: np.ndarray, counts: MixtureCounts, spread: Spread = map) -> Iterator[Pair]:
        """Yield documents, which are numbered through over the languages, as `epoch` does, in an order of one's own."""
        for document in self._read(spread, ((number, part) for part in self._parts(order))):
            yield self._counted(document, counts)

    def stream(self, seed: int, counts: MixtureCounts, spread: Spread = map) -> Iterator[Pair]:
        """Yield documents without end, in `shares` that never are off by more than a document."""
        shares = self.shares
        assert shares is not None
        documents = {tag: self._read(spread, self._passes(i, tag, seed)) for i, tag in enumerate(self.tokens)}
        read = dict.fromkeys(documents, 0)
        while True:
            language = min(read, key=lambda tag: read[tag] / shares[tag])
            document = next(documents[language])
            counts.epochs = max(counts.epochs, document.number + 1)
            read[language] += len(document.pair[0])
            yield self._counted(document, counts)

    def _passes(self, language: int, tag: str, seed: int) -> Iterator[_Task]:
        first, end = self._firsts[language : language + 2]
        for number in count():
            order = first + _permutation(int(end - first), b"order of " + tag.encode(), seed, number)
            yield from ((number, part) for part in self._parts(order))

    @cached_property
    def _firsts(self) -> np.ndarray:
        """Where each language begins (languages + 1,) if the documents of all are numbered through."""
        return edges(np.array([len(rows) for rows in self.tokens.values()], dtype=np.int64))

    def _parts(self, order: np.ndarray) -> Iterator[np.ndarray]:
        size = rows_at_once(*self.tokens.values())
        return (order[first : first + size] for first in range(0, len(order), size))

    def _read(self, spread: Spread, tasks: Iterable[_Task]) -> Iterator[_Document]:
        return chain.from_iterable(spread(self._switched, tasks))

    def _switched(self, task: _Task) -> list[_Document]:
        """Read and switch documents, whose numbers are those of `_firsts`. Their order is that of the task."""
        number, documents = task
        languages = np.searchsorted(self._firsts, documents, side="right") - 1
        read: dict[int, _Document] = {}
        for i, (language, tokens) in enumerate(self.tokens.items()):
            places = np.flatnonzero(languages == i).tolist()
            rows = documents[places] - self._firsts[i]
            if len(rows):
                for place, row, (ids, words) in zip(places, rows, read_tokens(tokens, rows), strict=True):
                    read[place] = self._document(language, int(row), number, ids, words)
        return [read[place] for place in range(len(documents))]

    def _document(self, language: str, row: int, number: int, ids: np.ndarray, words: np.ndarray | None) -> _Document:
        switcher = self.switcher if language == self.source else self.others.get(language)
        if switcher is None:
            own = np.append(ids, np.int32(self.eos))
            return _Document(language, number, (own, own))
        switched = switcher.switch(ids, epoch=number, document=row, starts=words)
        pair = tuple(np.append(own, self.eos).astype(np.int32) for own in (switched.input_ids, switched.labels))
        into = np.bincount(switched.switches.target, minlength=len(switcher.targets)).tolist()
        return _Document(
            language,
            number,
            (pair[0], pair[1]),
            words=switched.source_words,
            switched_words=switched.switched_words,
            tokens=switched.source_tokens,
            switched_tokens=switched.switched_tokens,
            into=dict(zip(switcher.targets, into, strict=True)),
        )

    def _counted(self, document: _Document, counts: MixtureCounts) -> Pair:
        """Count a document that is used, and return it."""
        own = counts.languages.setdefault(document.language, LanguageCounts())
        own.documents += 1
        own.passes = own.documents / len(self.tokens[document.language])
        own.tokens += len(document.pair[0])
        own.words += document.words
        own.switched_words += document.switched_words
        own.source_tokens += document.tokens
        own.switched_tokens += document.switched_tokens
        own.into = {target: own.into.get(target, 0) + n for target, n in document.into.items()}
        return document.pair


def _permutation(size: int, purpose: bytes, seed: int, number: int) -> np.ndarray:
    key = [xxhash.xxh64_intdigest(purpose, seed=seed), number]
    return np.random.Generator(np.random.Philox(key=key)).permutation(size)


def cut_blocks(
    epochs: Iterable[Iterable[Pair]], context: int, stretch: int = _STRETCH, wanted: int | None = None
) -> Iterator[Pair]:
    """Chain documents and yield stretches of blocks, two arrays (n, T); a stretch never holds two epochs' blocks.

    What does not fill a block goes on into the next stretch and epoch; the last pair is the remainder (1, < T).
    wanted: a stretch ends where there are so many blocks; None: how many are wanted is not known.
    """
    parts: list[Pair] = [(np.empty(0, np.int32), np.empty(0, np.int32))]
    missing = math.inf if wanted is None else wanted * context  # tokens, but for the remainder carried on
    for documents in epochs:
        size = 0
        for document in documents:
            parts.append(document)
            size += len(document[0])
            if size >= min(stretch, missing):
                blocks, parts = _cut(parts, context)
                missing -= size
                size = 0
                yield blocks
        blocks, parts = _cut(parts, context)
        missing -= size
        yield blocks
    yield parts[0][0][None], parts[0][1][None]


def _cut(parts: list[Pair], context: int) -> tuple[Pair, list[Pair]]:
    ids, labels = (np.concatenate(column) for column in zip(*parts, strict=True))
    whole = len(ids) // context * context
    blocks = ids[:whole].reshape(-1, context), labels[:whole].reshape(-1, context)
    return blocks, [(ids[whole:], labels[whole:])]


def write_blocks(
    mixture: Mixture, folder: Path, *, blocks: int, context: int, seed: int, spread: Spread = map
) -> tuple[Dataset, MixtureCounts]:
    """Write exactly `blocks` blocks, going over the mixture as often as it takes; returns them and what went in."""
    counts = MixtureCounts()

    def epochs() -> Iterator[Iterator[Pair]]:
        if mixture.shares is not None:
            yield mixture.stream(seed, counts, spread)
        while True:
            counts.epochs += 1
            yield mixture.epoch(counts.epochs - 1, seed, counts, spread)

    def tables() -> Iterator[pa.Table]:
        # Where languages have shares, reading ends with the document that fills the last block: the shares are of what is
        # read, and after more of it they would not be those of what is kept. Without, old runs' order of blocks stays.
        wanted = None if mixture.shares is None else blocks
        for number, stretch in enumerate(cut_blocks(epochs(), context, _STRETCH, wanted)):
            order = _permutation(len(stretch[0]), b"block order", seed, number)[: blocks - counts.blocks]
            counts.blocks += len(order)
            yield block_table((stretch[0][order], stretch[1][order]))
            if counts.blocks == blocks:
                return

    return arrow_from_tables(tables, BLOCKS, folder), counts


def block_table(blocks: Pair) -> pa.Table:
    """Return blocks, two arrays (n, T), as Arrow has them."""
    rows, context = blocks[0].shape
    offsets = np.arange(rows + 1) * context
    return pa.table([list_array(own.ravel(), offsets) for own in blocks], schema=BLOCKS.arrow_schema)


def text_blocks(tokens: Dataset, *, blocks: int, context: int, eos: int) -> Dataset:
    """Return the first `blocks` blocks of unswitched documents (fewer if there are no more), in memory."""
    stream = ((ids, ids) for row in tokens.with_format("numpy") for ids in [np.append(row["input_ids"], eos)])
    ids, labels = next(cut_blocks([stream], context, stretch=blocks * context))
    return Dataset(block_table((ids[:blocks], labels[:blocks])))
