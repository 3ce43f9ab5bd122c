"""A transfer task in token ids: training examples in the source language, a test in every language.

1. Files: each text is tokenised as it stands; two of a pair are joined by the separator (EOS), which every tokenizer here
   has. A clone's test is the source's with its ids mapped; where ids are merged it is the source's own.
2. Mixed tests, of pairs whose rows are the same items: `en>de` has its first sentences in en, its second in de.
3. Passages: source-language training documents, and the test documents of each language
   (`prealign.evaluation.transfer.passages`).
   A clone's test is again the source's, mapped. Test passages depend on split.seed, so all seeds are tested on the same.
4. A training example whose texts stand in a test of the source or a target is left out, and counted.
5. What is longer than `max_tokens` is cut at the end, pairs at the longer sentence first, and counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prealign.errors import DataError
from prealign.evaluation.transfer.files import Row
from prealign.evaluation.transfer.passages import Passage
from prealign.recipe.measures import TransferTask
from prealign.recipe.sections import Recipe
from prealign.text.words import Tokenizer

IntArray = NDArray[np.int64]
Texts = list[tuple[IntArray, ...]]
"""The ids of each example's one or two texts."""


@dataclass(frozen=True)
class Example:
    """Token ids (T,), the number of the class, and the document it is from (None: items are independent)."""

    ids: IntArray
    label: int
    document: str | None = None


@dataclass(frozen=True)
class TaskData:
    """What a task trains and tests on.

    `tests`: the source's first, then targets', then mixed ones (`en>de`). `paired`: targets whose examples are the
    source's, in the same order. `truncated`: how many examples of "train" and of each test were cut. `tested`:
    how many training examples were left out because a test has them.
    """

    classes: list[str]
    train: list[Example]
    tests: dict[str, list[Example]]
    paired: frozenset[str]
    truncated: dict[str, int]
    tested: int = 0


def token_limit(task: TransferTask, recipe: Recipe) -> int:
    """Return the most tokens an example may have."""
    return task.max_tokens or recipe.pretrain.context


def join(texts: Sequence[IntArray], separator: int, limit: int) -> tuple[IntArray, bool]:
    """Return one text, or two with the separator between them, in at most `limit` ids; and whether it was cut.

    Of two, the longer is cut until both are as long, then both.
    """
    if len(texts) == 1:
        return texts[0][:limit], len(texts[0]) > limit
    first, second = texts
    room = limit - 1
    kept = min(len(second), max(room // 2, room - len(first)))
    head, tail = first[: room - kept], second[:kept]
    return np.concatenate([head, [separator], tail]), len(head) + len(tail) < len(first) + len(second)


def _examples(passages: Sequence[Passage], classes: list[str]) -> list[Example]:
    return [Example(p.ids, classes.index(p.label), p.document) for p in passages]


def _encode(rows: Sequence[Row], tokenizer: Tokenizer) -> Texts:
    """Tokenise every text. Raises DataError for one without tokens, or with the separator in it."""
    columns = [
        tokenizer([row.texts[i] for row in rows], add_special_tokens=False, return_attention_mask=False)["input_ids"]
        for i in range(len(rows[0].texts))
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


def without_tested(train: list[Row], tests: Iterable[Sequence[Row]]) -> list[Row]:
    """Return the training rows whose texts, whatever their label, are those of no test row. Raises DataError for none."""
    asked = {row.texts for rows in tests for row in rows}
    kept = [row for row in train if row.texts not in asked]
    if not kept:
        raise DataError(
            f"{train[0].place}: this and every other training row is in a test as well. Give a training file of its own."
        )
    return kept
