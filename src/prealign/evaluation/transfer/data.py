"""The data of a transfer task in token ids: training examples in the source language, a test set in every language.

1. Files: tokenise every text and join the two texts of a pair by the separator (EOS), which every tokenizer here has. The
   test set of a clone is the source's in twin ids, or in source ids.
2. Mixed test sets, of pairs whose rows are the same items: `en>de` has its first sentences in en, its second in de.
3. Passages: training and test documents of the run (`prealign.evaluation.transfer.passages`).
4. Leave out and count the training rows whose texts are in a test set.
5. Pairs that share their first text (the premise) are no independent items: they get its number as their document.
6. Cut texts longer than `max_tokens` at the end, pairs at the longer text first, and count them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prealign.errors import DataError
from prealign.evaluation.transfer.files import Row, read_task
from prealign.evaluation.transfer.passages import Passage
from prealign.recipe.measures import TransferTask
from prealign.text.clone import clone_language
from prealign.text.words import Tokenizer

IntArray = NDArray[np.int64]
Texts = list[tuple[IntArray, ...]]
"""The ids of each example's one or two texts."""


@dataclass(frozen=True)
class Example:
    """Token ids (T,), the number of the class, and the document or premise that the item shares with others (None: items are
    independent)."""

    ids: IntArray
    label: int
    document: str | None = None


@dataclass(frozen=True)
class TaskData:
    """The training and test examples of a task, each with at most `max_tokens` tokens.

    tests: by language; the source's first, then the targets', then mixed ones (`en>de`). paired: targets whose examples are
    the source's, in the same order. truncated: number of examples cut, of "train" and of each test set. tested: number of
    training examples left out because a test set has them.
    """

    classes: list[str]
    train: list[Example]
    tests: dict[str, list[Example]]
    paired: frozenset[str]
    max_tokens: int
    truncated: dict[str, int]
    tested: int = 0


def labelled_data(
    task: TransferTask,
    tokenizer: Tokenizer,
    *,
    source: str,
    clones: Sequence[str] = (),
    source_ids: bool = False,
    max_tokens: int,
    seed: int,
) -> TaskData:
    """Read the files of a task; the seed draws at most `task.limit` training examples.

    clones: clone languages to test in, on the source's test set: in twin ids, or with `source_ids` as it is. Raises
    DataError for files that cannot be read or do not fit the task (`read_task`), and for a text without tokens or with EOS.
    """
    files = read_task(task, source)
    number = {name: i for i, name in enumerate(files.classes)}
    untested = without_test_rows(files.train, files.tests.values())
    train = _sample(untested, task.limit, seed)
    rows = dict(files.tests) | dict.fromkeys(clones, files.tests[source])
    texts = {language: _encode(labelled, tokenizer) for language, labelled in files.tests.items()}
    for clone in clones:
        twins = clone_language(tokenizer).map
        texts[clone] = texts[source] if source_ids else [tuple(map(twins, example)) for example in texts[source]]
    paired = frozenset(language for language in texts if language != source and (task.parallel or language in clones))
    if task.pair is not None:
        for target in [language for language in texts if language in paired]:
            for first, second in ((source, target), (target, source)):
                sides = zip(texts[first], texts[second], strict=True)
                texts[f"{first}>{second}"], rows[f"{first}>{second}"] = (
                    [(a, b) for (a, _), (_, b) in sides],
                    rows[source],
                )
    aligned = {*paired, *(name for name in texts if ">" in name)}  # their rows are the items of the source's
    examples, truncated = {}, {}
    for name in ("train", *texts):
        labelled, ids = (train, _encode(train, tokenizer)) if name == "train" else (rows[name], texts[name])
        joined = [join(example, tokenizer.eos_token_id, max_tokens) for example in ids]
        truncated[name] = sum(cut for _, cut in joined)
        shared = None if task.pair is None or name == "train" else _premises(rows[source if name in aligned else name])
        documents: Sequence[str | None] = shared or [None] * len(labelled)
        examples[name] = [
            Example(one, number[row.label], document)
            for row, (one, _), document in zip(labelled, joined, documents, strict=True)
        ]
    left_out = len(files.train) - len(untested)
    return TaskData(files.classes, examples.pop("train"), examples, paired, max_tokens, truncated, left_out)


def _premises(rows: Sequence[Row]) -> list[str] | None:
    """Return a name for the first text of each pair, equal where pairs share it; None if no two pairs do."""
    places: dict[str, int] = {}
    found = [places.setdefault(row.texts[0], len(places)) for row in rows]
    return [f"premise {place}" for place in found] if len(places) < len(rows) else None


def passage_data(
    train: Sequence[Passage], tests: Mapping[str, Sequence[Passage]], *, paired: Iterable[str], max_tokens: int
) -> TaskData:
    """Return passages as the data of a task. tests: by language, the source first; paired: as in `TaskData`.

    No passage may be longer than `max_tokens`: none is cut.
    """
    classes = list(dict.fromkeys(passage.label for passage in train))
    examples = {
        name: [Example(p.ids, classes.index(p.label), p.document) for p in passages]
        for name, passages in {"train": train, **tests}.items()
    }
    truncated = dict.fromkeys(examples, 0)
    return TaskData(classes, examples.pop("train"), examples, frozenset(paired), max_tokens, truncated)


def join(texts: Sequence[IntArray], separator: int, limit: int) -> tuple[IntArray, bool]:
    """Return one text, or two with the separator between them, in at most `limit` ids; and whether it was cut.

    Of two texts, the longer one is cut until both have the same length, then both.
    """
    if len(texts) == 1:
        return texts[0][:limit], len(texts[0]) > limit
    first, second = texts
    room = limit - 1
    kept = min(len(second), max(room // 2, room - len(first)))
    head, tail = first[: room - kept], second[:kept]
    return np.concatenate([head, [separator], tail]), len(head) + len(tail) < len(first) + len(second)


def without_test_rows(train: list[Row], tests: Iterable[Sequence[Row]]) -> list[Row]:
    """Return the training rows whose texts, whatever their label, are in no test row. Raises DataError if none is left."""
    tested = {row.texts for rows in tests for row in rows}
    kept = [row for row in train if row.texts not in tested]
    if not kept:
        raise DataError(
            f"{train[0].place}: this and every other training row is in a test as well. Give a training file of its own."
        )
    return kept


def _encode(rows: Sequence[Row], tokenizer: Tokenizer) -> Texts:
    """Tokenise every text. Raises DataError for one without tokens, or with the separator in it."""
    columns = [
        tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False)["input_ids"]
        for texts in zip(*(row.texts for row in rows), strict=True)
    ]
    encoded = [tuple(np.asarray(ids, dtype=np.int64) for ids in example) for example in zip(*columns, strict=True)]
    for row, example in zip(rows, encoded, strict=True):
        # A separator within a text would make three texts of a pair.
        if any(len(ids) == 0 or tokenizer.eos_token_id in ids for ids in example):
            raise DataError(
                f"{row.place}: a text has no tokens, or has {tokenizer.eos_token!r} in it, which separates texts. "
                "Mend or remove the row."
            )
    return encoded


def _sample(rows: list[Row], limit: int | None, seed: int) -> list[Row]:
    if limit is None or len(rows) <= limit:
        return rows
    return [rows[i] for i in np.sort(np.random.default_rng(seed).permutation(len(rows))[:limit])]
