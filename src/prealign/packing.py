"""From tokenised documents to full training blocks of input_ids and labels.

1. For each epoch, put the documents of all languages of the mixture in one order that depends on (seed, epoch) alone.
   With shares of tokens by language there are no epochs of the whole: each language goes over its own documents, in an order
   that depends on (seed, language, pass), and the next document is of the language that is furthest behind its share.
2. Switch the documents (`prealign.codeswitch`); end every document with EOS, which is a real label.
3. Chain them and cut blocks of `context` tokens: no padding, and no token lost but the last remainder.
4. Shuffle the blocks of each stretch (about 4 million tokens, or the end of the epoch), carry the stretch's remainder on,
   and write them out in the order in which training reads them. Memory does not grow with the corpus.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from datasets import Dataset, Features, Sequence, Value

from prealign.codeswitch import CodeSwitcher
from prealign.text.corpus import arrow_from_rows

_BLOCKS = Features({"input_ids": Sequence(Value("int32")), "labels": Sequence(Value("int32"))})
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


@dataclass(frozen=True)
class Mixture:
    """Tokenised documents of every language, and the switcher for those of `source` (None: nothing is switched).

    others: switchers of target languages, by language. shares: of tokens, by language; None: as much as there is.
    """

    tokens: Mapping[str, Dataset]
    source: str
    eos: int
    switcher: CodeSwitcher | None = None
    others: Mapping[str, CodeSwitcher] = field(default_factory=dict)
    shares: Mapping[str, float] | None = None

    def epoch(self, number: int, seed: int, counts: MixtureCounts) -> Iterator[Pair]:
        """Yield every document once as (input_ids, labels), switched, EOS at the end."""
        views = {language: rows.with_format("numpy") for language, rows in self.tokens.items()}
        where = [(language, row) for language, rows in views.items() for row in range(len(rows))]
        for i in _permutation(len(where), b"document order", seed, number):
            language, row = where[i]
            yield self._document(views[language], language, row, number, counts)

    def stream(self, seed: int, counts: MixtureCounts) -> Iterator[Pair]:
        """Yield documents without end, in `shares` that never are off by more than a document."""
        shares = self.shares
        assert shares is not None
        views = {language: rows.with_format("numpy") for language, rows in self.tokens.items()}
        rows = {language: self._passes(language, len(view), seed) for language, view in views.items()}
        read = dict.fromkeys(views, 0)
        while True:
            language = min(read, key=lambda tag: read[tag] / shares[tag])
            number, row = next(rows[language])
            counts.epochs = max(counts.epochs, number + 1)
            pair = self._document(views[language], language, row, number, counts)
            read[language] += len(pair[0])
            yield pair

    @staticmethod
    def _passes(language: str, documents: int, seed: int) -> Iterator[tuple[int, int]]:
        for number in count():
            for row in _permutation(documents, b"order of " + language.encode(), seed, number):
                yield number, int(row)

    def _document(self, rows: Dataset, language: str, row: int, number: int, counts: MixtureCounts) -> Pair:
        """Return a document on its pass `number`, and count it."""
        read = rows[int(row)]
        ids = read["input_ids"].astype(np.int64)
        own = counts.languages.setdefault(language, LanguageCounts())
        own.documents += 1
        own.passes = own.documents / len(rows)
        switcher = self.switcher if language == self.source else self.others.get(language)
        labels = ids
        if switcher is not None:
            switched = switcher.switch(ids, epoch=number, document=row, starts=read.get("words"))
            ids, labels = switched.input_ids, switched.labels
            own.words += switched.source_words
            own.switched_words += switched.switched_words
            own.source_tokens += switched.source_tokens
            own.switched_tokens += switched.switched_tokens
            into = np.bincount(switched.switches.target, minlength=len(switcher.targets)).tolist()
            own.into = {t: own.into.get(t, 0) + n for t, n in zip(switcher.targets, into, strict=True)}
        own.tokens += len(ids) + 1
        return np.append(ids, self.eos), np.append(labels, self.eos)


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
    parts: list[Pair] = [(np.empty(0, np.int64), np.empty(0, np.int64))]
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
    mixture: Mixture, folder: Path, *, blocks: int, context: int, seed: int
) -> tuple[Dataset, MixtureCounts]:
    """Write exactly `blocks` blocks, going over the mixture as often as it takes; returns them and what went in."""
    counts = MixtureCounts()

    def epochs() -> Iterator[Iterator[Pair]]:
        if mixture.shares is not None:
            yield mixture.stream(seed, counts)
        while True:
            counts.epochs += 1
            yield mixture.epoch(counts.epochs - 1, seed, counts)

    def rows() -> Iterator[dict[str, Any]]:
        # Where languages have shares, reading ends with the document that fills the last block: the shares are of what is
        # read, and after more of it they would not be those of what is kept. Without, old runs' order of blocks stays.
        wanted = None if mixture.shares is None else blocks
        for number, (ids, labels) in enumerate(cut_blocks(epochs(), context, _STRETCH, wanted)):
            for i in _permutation(len(ids), b"block order", seed, number):
                counts.blocks += 1
                yield {"input_ids": ids[i].astype(np.int32), "labels": labels[i].astype(np.int32)}

    return arrow_from_rows(lambda: islice(rows(), blocks), _BLOCKS, folder), counts


def text_blocks(tokens: Dataset, *, blocks: int, context: int, eos: int) -> Dataset:
    """Return the first `blocks` blocks of unswitched documents (fewer if there are no more), in memory."""
    stream = ((ids, ids) for row in tokens.with_format("numpy") for ids in [np.append(row["input_ids"], eos)])
    ids, labels = next(cut_blocks([stream], context, stretch=blocks * context))
    rows = {"input_ids": ids[:blocks].astype(np.int32), "labels": labels[:blocks].astype(np.int32)}
    return Dataset.from_dict({name: list(values) for name, values in rows.items()}, features=_BLOCKS)
