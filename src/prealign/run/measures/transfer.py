"""Zero-shot transfer of a run's model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from prealign.evaluation.score import Score
from prealign.evaluation.transfer.classifier import fine_tune, load_classifier, predict
from prealign.evaluation.transfer.data import (
    Example,
    IntArray,
    TaskData,
    _encode,
    _examples,
    join,
    token_limit,
    without_tested,
)
from prealign.evaluation.transfer.files import Row, read_task
from prealign.evaluation.transfer.passages import Passage, draw_passages
from prealign.evaluation.transfer.transfer import _answers, transfer_scores
from prealign.events import OnProgress, token_counter
from prealign.languages import is_clone
from prealign.recipe.measures import TransferTask
from prealign.recipe.sections import Recipe
from prealign.run.data import Prepared
from prealign.text.clone import clone_language
from prealign.text.words import word_table


def evaluate_transfer(
    checkpoint: Path,
    task: TransferTask,
    prepared: Prepared,
    recipe: Recipe,
    *,
    seed: int,
    folder: Path,
    on_progress: OnProgress,
) -> tuple[list[Score], dict[str, Any], dict[str, Any]]:
    """Return a task's scores, the answers per language, and the record of fine-tuning. `folder` is scratch space."""
    data = task_data(task, prepared, recipe, seed)
    model = load_classifier(checkpoint, recipe.model, classes=len(data.classes), seed=seed)
    record = fine_tune(model, data.train, task, recipe, seed=seed, folder=folder, on_progress=on_progress)
    total = sum(len(example.ids) for examples in data.tests.values() for example in examples)
    tell = token_counter(f"test {task.name}", total, on_progress)
    answers = {}
    for language, examples in data.tests.items():
        predicted = predict(model, examples, batch_size=recipe.evaluate.batch_size, on_tokens=tell)
        answers[language] = _answers(examples, predicted)
    sign = {"train": len(data.train), "epochs": task.epochs, "ctx": token_limit(task, recipe), **prepared.identity}
    scores = transfer_scores(answers, data.paired, condition=task.name, parts=sign)
    record |= {"classes": data.classes, "train_examples": len(data.train)}
    record |= {"truncated": data.truncated, "tested": data.tested}
    return scores, {language: found.as_dict() for language, found in answers.items()}, record


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


def _clone_map(prepared: Prepared, recipe: Recipe) -> Callable[[IntArray], IntArray]:
    if recipe.mixture.clone_ids == "merged":
        return lambda ids: ids
    return clone_language(prepared.tokenizer).map


def _drawn(rows: list[Row], limit: int | None, seed: int) -> list[Row]:
    if limit is None or len(rows) <= limit:
        return rows
    return [rows[i] for i in np.sort(np.random.default_rng(seed).permutation(len(rows))[:limit])]
