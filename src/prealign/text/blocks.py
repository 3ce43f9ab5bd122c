"""From tokenised documents to full training blocks of input_ids and labels.

1. For each epoch, put the documents of all languages of the mixture in one order that depends on (seed, epoch) alone.
   With shares of tokens by language there are no epochs of the whole: each language goes over its own documents, in an order
   that depends on (seed, language, pass), and the next document is the one whose middle is due first.
2. Rewrite the documents (`Rewriter`, such as code-switching); end every document with EOS, which is a real label.
3. Chain them and cut blocks of `context` tokens: no padding, and no token lost but the last remainder.
4. Shuffle the blocks of each stretch (about 4 million tokens, or the end of the epoch), carry the stretch's remainder on,
   and write them out in the order in which training reads them. Memory does not grow with the corpus.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, count
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import xxhash
from datasets import Dataset, Features, Sequence, Value

from prealign.text.arrow import arrow_from_tables, list_array, read_tokens, rows_at_once, token_lengths
from prealign.text.ragged import edges
from prealign.workers import Spread

BLOCKS = Features({"input_ids": Sequence(Value("int32")), "labels": Sequence(Value("int32"))})
_STRETCH = 2**22
_STRETCHES = 64
"""Of a phase at least, where its course changes how text is rewritten."""

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


@dataclass(frozen=True)
class Rewritten:
    """A document as a rewriter returns it: `input_ids` and `labels` (T',), and what was done to it.

    Of `words` words `switched_words` were replaced, of `tokens` tokens `switched_tokens`; `into`: words by language of the
    substitute. A rewriter that replaces no words leaves the counts out.
    """

    input_ids: np.ndarray
    labels: np.ndarray
    words: int = 0
    switched_words: int = 0
    tokens: int = 0
    switched_tokens: int = 0
    into: Mapping[str, int] = field(default_factory=dict)


class Rewriter(Protocol):
    """What changes a document before it goes into blocks: code-switching, for example."""

    uses_progress: bool = False
    """Whether the course of a phase changes what `rewrite` does: then blocks are shuffled within short stretches only."""

    def rewrite(
        self,
        ids: np.ndarray,
        *,
        epoch: int = 0,
        document: int = 0,
        progress: float = 0.0,
        starts: np.ndarray | None = None,
    ) -> Rewritten:
        """Rewrite the token ids (T,) of a document: a function of the arguments and the rewriter's seed alone.

        epoch: passes over the text before this one. document: its number within its language. progress: the share of the
        phase's text before it, 0..1. starts: where its words begin, if a segmenter found them.
        """


@dataclass(frozen=True)
class _Document:
    """A document on its pass `number` as it goes into blocks, with EOS; `rewritten` is None where nothing rewrites it."""

    language: str
    number: int
    pair: Pair
    rewritten: Rewritten | None = None


@dataclass(frozen=True)
class _Task:
    """Documents to read on pass `number`, in this order; `progress` (0..1) is that of each, where a rewriter needs it."""

    number: int
    documents: np.ndarray
    progress: np.ndarray | None = None


@dataclass(frozen=True)
class Mixture:
    """Tokenised documents of every language, and what rewrites them.

    rewriters: by language; the documents of others stay as they are. shares: of tokens, by language; None: as much as there
    is. wanted: tokens of the whole phase, by which progress is measured; None where no rewriter uses it.
    bos: the id that every document begins with; None: documents are separated by `eos` alone.
    """

    tokens: Mapping[str, Dataset]
    source: str
    eos: int
    rewriters: Mapping[str, Rewriter] = field(default_factory=dict)
    shares: Mapping[str, float] | None = None
    wanted: int | None = None
    bos: int | None = None

    def epoch(self, number: int, seed: int, counts: MixtureCounts, spread: Spread = map) -> Iterator[Pair]:
        """Yield every document once as (input_ids, labels), rewritten, in its BOS and EOS."""
        order = _permutation(int(self._firsts[-1]), b"document order", seed, number)
        return self.documents(number, order, counts, spread)

    def documents(self, number: int, order: np.ndarray, counts: MixtureCounts, spread: Spread = map) -> Iterator[Pair]:
        """Yield documents, which are numbered through over the languages, as `epoch` does, in the given order."""
        for document in self._read(spread, self._tasks(number, order, self.wanted)):
            yield self._counted(document, counts)

    def stream(self, seed: int, counts: MixtureCounts, spread: Spread = map) -> Iterator[Pair]:
        """Yield documents without end, in `shares` that never are off by more than a document."""
        shares = self.shares
        assert shares is not None
        documents = {tag: self._read(spread, self._passes(i, tag, seed)) for i, tag in enumerate(self.tokens)}
        ahead = {tag: next(own) for tag, own in documents.items()}
        read = dict.fromkeys(documents, 0)
        while True:
            # By the middle of the document: by its start, a language of long documents is always ahead of its share.
            language = min(read, key=lambda tag: (read[tag] + len(ahead[tag].pair[0]) / 2) / shares[tag])
            document, ahead[language] = ahead[language], next(documents[language])
            counts.epochs = max(counts.epochs, document.number + 1)
            read[language] += len(document.pair[0])
            yield self._counted(document, counts)

    def _passes(self, language: int, tag: str, seed: int) -> Iterator[_Task]:
        assert self.shares is not None
        first, end = self._firsts[language : language + 2]
        wanted = None if self.wanted is None else self.shares[tag] * self.wanted
        for number in count():
            order = first + _permutation(int(end - first), b"order of " + tag.encode(), seed, number)
            yield from self._tasks(number, order, wanted)

    @cached_property
    def _firsts(self) -> np.ndarray:
        """Where each language begins (languages + 1,) if the documents of all are numbered through."""
        return edges(np.array([len(rows) for rows in self.tokens.values()], dtype=np.int64))

    @cached_property
    def _lengths(self) -> np.ndarray:
        """Tokens of every document with EOS, numbered through."""
        return np.concatenate([token_lengths(rows) for rows in self.tokens.values()]) + 1

    def _tasks(self, number: int, order: np.ndarray, wanted: float | None) -> Iterator[_Task]:
        """Divide one pass over documents into tasks; wanted: tokens that the phase reads of them, on all passes."""
        progress = None
        if wanted is not None:
            lengths = self._lengths[order]
            before = np.cumsum(lengths) - lengths
            progress = np.minimum((number * lengths.sum() + before) / wanted, 1.0)
        size = rows_at_once(*self.tokens.values())
        for first in range(0, len(order), size):
            own = slice(first, first + size)
            yield _Task(number, order[own], None if progress is None else progress[own])

    def _read(self, spread: Spread, tasks: Iterable[_Task]) -> Iterator[_Document]:
        return chain.from_iterable(spread(self._rewritten, tasks))

    def _rewritten(self, task: _Task) -> list[_Document]:
        """Read and rewrite documents, whose numbers are those of `_firsts`. Their order is that of the task."""
        languages = np.searchsorted(self._firsts, task.documents, side="right") - 1
        read: dict[int, _Document] = {}
        for i, (language, tokens) in enumerate(self.tokens.items()):
            places = np.flatnonzero(languages == i).tolist()
            rows = task.documents[places] - self._firsts[i]
            if len(rows):
                for place, row, (ids, words) in zip(places, rows, read_tokens(tokens, rows), strict=True):
                    progress = 0.0 if task.progress is None else float(task.progress[place])
                    read[place] = self._document(language, int(row), task.number, progress, ids, words)
        return [read[place] for place in range(len(task.documents))]

    def _document(
        self, language: str, row: int, number: int, progress: float, ids: np.ndarray, words: np.ndarray | None
    ) -> _Document:
        rewriter = self.rewriters.get(language)
        if rewriter is None:
            own = framed(ids, self.bos, self.eos)
            return _Document(language, number, (own, own))
        rewritten = rewriter.rewrite(ids, epoch=number, document=row, progress=progress, starts=words)
        input_ids, labels = (framed(part, self.bos, self.eos) for part in (rewritten.input_ids, rewritten.labels))
        return _Document(language, number, (input_ids, labels), rewritten)

    def _counted(self, document: _Document, counts: MixtureCounts) -> Pair:
        """Count a document that is used, and return it."""
        own = counts.languages.setdefault(document.language, LanguageCounts())
        own.documents += 1
        own.passes = own.documents / len(self.tokens[document.language])
        own.tokens += len(document.pair[0])
        if document.rewritten is not None:
            own.words += document.rewritten.words
            own.switched_words += document.rewritten.switched_words
            own.source_tokens += document.rewritten.tokens
            own.switched_tokens += document.rewritten.switched_tokens
            own.into = {target: own.into.get(target, 0) + n for target, n in document.rewritten.into.items()}
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
    counts, length = MixtureCounts(), _STRETCH
    if any(rewriter.uses_progress for rewriter in mixture.rewriters.values()):
        # Blocks of a stretch are shuffled, which would blur what changes over the course of the phase.
        mixture = replace(mixture, wanted=blocks * context)
        length = min(_STRETCH, max(context, blocks * context // _STRETCHES))

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
        for number, stretch in enumerate(cut_blocks(epochs(), context, length, wanted)):
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


def framed(ids: np.ndarray, bos: int | None, eos: int) -> np.ndarray:
    """Return a document's ids (T,) with EOS after them, and BOS before them if it is given; int32."""
    return np.concatenate([[] if bos is None else [bos], ids, [eos]]).astype(np.int32)


def text_blocks(tokens: Dataset, *, blocks: int, context: int, eos: int, bos: int | None = None) -> Dataset:
    """Return the first `blocks` blocks of unswitched documents (fewer if there are no more), in memory."""
    stream = ((ids, ids) for row in tokens.with_format("numpy") for ids in [framed(row["input_ids"], bos, eos)])
    ids, labels = next(cut_blocks([stream], context, stretch=blocks * context))
    return Dataset(block_table((ids[:blocks], labels[:blocks])))
