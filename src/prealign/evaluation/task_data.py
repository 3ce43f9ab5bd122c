"""A transfer task in token ids: training examples in the source language, a test in every language.

1. Files: each text is tokenised as it stands; two of a pair are joined by the separator (EOS), which every tokenizer here
   has. A clone's test is the source's with its ids mapped; where ids are merged it is the source's own.
2. Mixed tests, of pairs whose rows are the same items: `en>de` has its first sentences in en, its second in de.
3. Passages: source-language training documents, and the test documents of each language (`prealign.evaluation.passages`).
   A clone's test is again the source's, mapped. Test passages depend on split.seed, so all seeds are tested on the same.
4. A training example whose texts stand in a test of the source or a target is left out, and counted.
5. What is longer than `max_tokens` is cut at the end, pairs at the longer sentence first, and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prealign.errors import DataError
from prealign.evaluation.labelled import Row, read_task
from prealign.evaluation.passages import Passage, draw_passages
from prealign.preparation import Prepared
from prealign.recipe import Recipe
from prealign.recipe_measures import TransferTask
from prealign.text.clone import clone_language
from prealign.text.languages import is_clone
from prealign.text.words import Tokenizer, word_table

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


def check_task(task: TransferTask, prepared: Prepared, recipe: Recipe, seed: int) -> None:
    """Read a task's data as far as mistakes show within seconds: DataError before hours of training.

    Files are read and compared, passages drawn; the texts of files are not tokenised yet.
    """
    if task.passages is None:
        files = read_task(task, prepared.languages[0])
        without_tested(files.train, files.tests.values())
    else:
        _from_passages(task, prepared, recipe, seed)


def task_data(task: TransferTask, prepared: Prepared, recipe: Recipe, seed: int) -> TaskData:
    """Return a task's examples in an arm's ids; training examples are drawn by seed. Raises DataError."""
    make = _from_files if task.passages is None else _from_passages
    return make(task, prepared, recipe, seed)


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


def _from_files(task: TransferTask, prepared: Prepared, recipe: Recipe, seed: int) -> TaskData:
    source, *targets = prepared.languages
    files = read_task(task, source)
    number = {name: i for i, name in enumerate(files.classes)}
    untested = without_tested(files.train, files.tests.values())
    train = _drawn(untested, task.limit, seed)
    texts = {language: _encode(rows, prepared.tokenizer) for language, rows in files.tests.items()}
    rows = dict(files.tests)
    for clone in filter(is_clone, targets):
        function = _clone_map(prepared, recipe)
        texts[clone] = [tuple(function(ids) for ids in example) for example in texts[source]]
        rows[clone] = rows[source]
    paired = frozenset(language for language in texts if language != source and (task.parallel or is_clone(language)))
    if task.pair is not None:
        for target in [language for language in texts if language in paired]:
            for one, other in ((source, target), (target, source)):
                texts[f"{one}>{other}"] = [(a, b) for (a, _), (_, b) in zip(texts[one], texts[other], strict=True)]
                rows[f"{one}>{other}"] = rows[source]
    parts = {"train": (train, _encode(train, prepared.tokenizer))} | {k: (rows[k], texts[k]) for k in texts}
    made, truncated = {}, {}
    for name, (labelled, ids) in parts.items():
        joined = [join(one, prepared.eos, token_limit(task, recipe)) for one in ids]
        truncated[name] = sum(cut for _, cut in joined)
        made[name] = [Example(one, number[row.label]) for row, (one, _) in zip(labelled, joined, strict=True)]
    return TaskData(files.classes, made.pop("train"), made, paired, truncated, len(files.train) - len(untested))


def _from_passages(task: TransferTask, prepared: Prepared, recipe: Recipe, seed: int) -> TaskData:
    section = task.passages
    assert section is not None
    source, *targets = prepared.languages
    table = word_table(prepared.tokenizer)

    def draw(language: str, split: str, examples: int, seed: int) -> list[Passage]:
        return draw_passages(
            prepared.tokens(language, split),
            table,
            section.classes,
            tokens=section.tokens,
            number=examples,
            separator=prepared.eos,
            seed=seed,
            what=f"{'training' if split == 'train' else split} documents in {language}",
        )

    train = draw(source, "train", section.train_examples, seed)
    found = {source: draw(source, "test", section.test_examples, recipe.split.seed)}
    for target in targets:
        if is_clone(target):
            function = _clone_map(prepared, recipe)
            found[target] = [Passage(function(p.ids), p.label, p.document) for p in found[source]]
        else:
            found[target] = draw(target, "test", section.test_examples, recipe.split.seed)
    classes = list(dict.fromkeys(passage.label for passage in train))
    tests = {language: _examples(passages, classes) for language, passages in found.items()}
    # No passage is longer than max_tokens: the recipe is checked for it.
    truncated = dict.fromkeys(["train", *tests], 0)
    return TaskData(classes, _examples(train, classes), tests, frozenset(filter(is_clone, targets)), truncated)


def _examples(passages: Sequence[Passage], classes: list[str]) -> list[Example]:
    return [Example(p.ids, classes.index(p.label), p.document) for p in passages]


def _clone_map(prepared: Prepared, recipe: Recipe) -> Callable[[IntArray], IntArray]:
    if recipe.mixture.clone_ids == "merged":
        return lambda ids: ids
    return clone_language(prepared.tokenizer).map


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


def _drawn(rows: list[Row], limit: int | None, seed: int) -> list[Row]:
    if limit is None or len(rows) <= limit:
        return rows
    return [rows[i] for i in np.sort(np.random.default_rng(seed).permutation(len(rows))[:limit])]
