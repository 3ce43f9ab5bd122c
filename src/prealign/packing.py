"""From tokenised documents to full training blocks of input_ids and labels.

1. For each epoch, put the documents of all languages of the mixture in one order that depends on (seed, epoch) alone.
2. Switch the source language's documents (`prealign.codeswitch`); end every document with EOS, which is a real label.
3. Chain them and cut blocks of `context` tokens: no padding, and no token lost but the last remainder.
4. Shuffle the blocks of each stretch (about 4 million tokens, or the end of the epoch), carry the stretch's remainder on,
   and write them out in the order in which training reads them. Memory does not grow with the corpus.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
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
class MixtureCounts:
    """What was read for a set of blocks, to the end of the last stretch; `blocks` is what was kept.

    Words and switches are those of the source language.
    """

    epochs: int = 0
    documents: int = 0
    blocks: int = 0
    source_words: int = 0
    switched_words: int = 0
    source_tokens: int = 0
    switched_tokens: int = 0

    def as_dict(self) -> dict[str, int]:
        """Return the counts by name."""
        return asdict(self)


@dataclass(frozen=True)
class Mixture:
    """Tokenised documents of every language, and the switcher for those of `source` (None: nothing is switched)."""

    tokens: Mapping[str, Dataset]
    source: str
    eos: int
    switcher: CodeSwitcher | None = None

    def epoch(self, number: int, seed: int, counts: MixtureCounts) -> Iterator[Pair]:
        """Yield every document once as (input_ids, labels), switched, EOS at the end."""
        views = {language: rows.with_format("numpy") for language, rows in self.tokens.items()}
        where = [(language, row) for language, rows in views.items() for row in range(len(rows))]
        key = [xxhash.xxh64_intdigest(b"document order", seed=seed), number]
        for i in np.random.Generator(np.random.Philox(key=key)).permutation(len(where)):
            language, row = where[i]
            ids = views[language][row]["input_ids"].astype(np.int64)
            counts.documents += 1
            labels = ids
            if language == self.source and self.switcher is not None:
                switched = self.switcher.switch(ids, epoch=number, document=row)
                ids, labels = switched.input_ids, switched.labels
                counts.source_words += switched.source_words
                counts.switched_words += switched.switched_words
                counts.source_tokens += switched.source_tokens
                counts.switched_tokens += switched.switched_tokens
            yield np.append(ids, self.eos), np.append(labels, self.eos)


def cut_blocks(epochs: Iterable[Iterable[Pair]], context: int, stretch: int = _STRETCH) -> Iterator[Pair]:
    """Chain documents and yield stretches of blocks, two arrays (n, T); a stretch never holds two epochs' blocks.

    What does not fill a block goes on into the next stretch and epoch; the last pair is the remainder (1, < T).
    """
    parts: list[Pair] = [(np.empty(0, np.int64), np.empty(0, np.int64))]
    for documents in epochs:
        size = 0
        for document in documents:
            parts.append(document)
            size += len(document[0])
            if size >= stretch:
                blocks, parts = _cut(parts, context)
                size = 0
                yield blocks
        blocks, parts = _cut(parts, context)
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
        while True:
            counts.epochs += 1
            yield mixture.epoch(counts.epochs - 1, seed, counts)

    def rows() -> Iterator[dict[str, Any]]:
        for number, (ids, labels) in enumerate(cut_blocks(epochs(), context)):
            key = [xxhash.xxh64_intdigest(b"block order", seed=seed), number]
            for i in np.random.Generator(np.random.Philox(key=key)).permutation(len(ids)):
                counts.blocks += 1
                yield {"input_ids": ids[i].astype(np.int32), "labels": labels[i].astype(np.int32)}

    return arrow_from_rows(lambda: islice(rows(), blocks), _BLOCKS, folder), counts


def text_blocks(tokens: Dataset, *, blocks: int, context: int, eos: int) -> Dataset:
    """Return the first `blocks` blocks of unswitched documents (fewer if there are no more), in memory."""
    stream = ((ids, ids) for row in tokens.with_format("numpy") for ids in [np.append(row["input_ids"], eos)])
    ids, labels = next(cut_blocks([stream], context, stretch=blocks * context))
    rows = {"input_ids": ids[:blocks].astype(np.int32), "labels": labels[:blocks].astype(np.int32)}
    return Dataset.from_dict({name: list(values) for name, values in rows.items()}, features=_BLOCKS)
