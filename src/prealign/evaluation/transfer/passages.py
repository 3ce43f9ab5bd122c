"""Passages of documents whose names contain their class: a classification task from a corpus.

1. The class of a document is the named group of a regular expression that matches its name; leave out the others.
2. Cut a document, from start to end, into passages of `tokens` tokens. Each begins at the first word after the previous
   passage, so passages do not overlap; drop the rest at the end. A passage contains no document separator.
3. Draw passages by seed, equally many of each class, round-robin over the documents of a class: a long document does not
   crowd out the others.

Passages of one document are not independent: intervals are over documents.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray

from prealign.errors import DataError
from prealign.text.words import WordTable

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Passage:
    """Token ids (T,), the class, and the document they are from."""

    ids: IntArray
    label: str
    document: str


def document_class(pattern: str, name: str) -> str | None:
    """Return the class of a document, None if it has none. Raises DataError if it has two."""
    match = re.search(pattern, name)
    groups = [group for group, text in match.groupdict().items() if text is not None] if match else []
    if len(groups) > 1:
        raise DataError(f"the document {name!r} matches the classes {' and '.join(groups)}. Make the groups exclusive.")
    return groups[0] if groups else None


def documents_by_class(names: Sequence[str], pattern: str, what: str) -> dict[str, list[int]]:
    """Return the positions of each class's documents. Raises DataError for a class that has none.

    what: a name of the documents for the message.
    """
    members: dict[str, list[int]] = {name: [] for name in re.compile(pattern).groupindex}
    for position, name in enumerate(names):
        label = document_class(pattern, name)
        if label is not None:
            members[label].append(position)
    if not any(members.values()):
        raise DataError(f"passages.classes {pattern!r} matches none of the {what}, such as {names[0]!r}.")
    empty = [label for label, positions in members.items() if not positions]
    if empty:
        raise DataError(
            f"none of the {len(names)} {what} is of class {' or '.join(empty)}. Widen the class in passages.classes, "
            "or hold out more documents (split.test)."
        )
    return members


def passage_spans(ids: IntArray, starts: NDArray[np.bool_], tokens: int, separator: int) -> list[tuple[int, int]]:
    """Return the spans (begin, end) of a document's passages; ids (T,), starts (T,): where words begin."""
    spans: list[tuple[int, int]] = []
    at, words = 0, np.flatnonzero(starts)
    separators = np.flatnonzero(ids == separator)
    while True:
        following = np.searchsorted(words, at)
        if following == len(words) or words[following] + tokens > len(ids):
            return spans
        begin = int(words[following])
        at = begin + tokens
        inside = separators[np.searchsorted(separators, begin) :][:1]
        if len(inside) and inside[0] < at:
            at = int(inside[0]) + 1
        else:
            spans.append((begin, at))


def round_robin(available: Sequence[int], number: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Draw at most `number` passages (document, passage), round-robin over the documents, both in random order.

    available: number of passages of each document.
    """
    orders = {int(d): rng.permutation(available[d]) for d in rng.permutation(len(available))}
    rounds = range(max(available, default=0))
    turns = [(document, int(order[turn])) for turn in rounds for document, order in orders.items() if turn < len(order)]
    return turns[:number]


def draw_passages(
    rows: Dataset, table: WordTable, pattern: str, *, tokens: int, number: int, separator: int, seed: int, what: str
) -> list[Passage]:
    """Draw at most `number` passages, equally many of each class, from tokenised documents in the tokenizer's ids.

    Raises DataError for a class without a document, or whose documents are all shorter than a passage.
    """
    names = list(rows["document"])
    members = documents_by_class(names, pattern, what)
    documents = {i: rows.with_format("numpy")[i]["input_ids"] for positions in members.values() for i in positions}
    spans = {i: passage_spans(ids, table.starts(ids), tokens, separator) for i, ids in documents.items()}
    share = min(number // len(members), *(sum(len(spans[i]) for i in group) for group in members.values()))
    if share == 0:
        raise DataError(
            f"the {what} have no passages of {tokens} tokens for each of {len(members)} classes "
            f"({_available(members, spans)}). Lower passages.tokens, or ask for more examples."
        )
    rng = np.random.default_rng(seed)
    drawn = []
    for label, group in members.items():
        for document, passage in round_robin([len(spans[i]) for i in group], share, rng):
            begin, end = spans[group[document]][passage]
            ids = documents[group[document]][begin:end].astype(np.int64)
            drawn.append(Passage(ids, label, names[group[document]]))
    return drawn


def _available(members: Mapping[str, list[int]], spans: Mapping[int, Sequence[object]]) -> str:
    return ", ".join(f"{label}: {sum(len(spans[i]) for i in group)}" for label, group in members.items())
