"""Zero-shot cross-lingual transfer: fine-tune on labelled source-language data, test in every language.

1. Make the examples of the task from labelled files or passages of documents (`prealign.evaluation.transfer.data`).
2. Put a new linear head on the model and fine-tune both on source-language examples alone
   (`prealign.evaluation.transfer.classifier`). The model sees no target-language label, and no checkpoint is selected.
3. Classify every test example of every language, and of pairs in mixed languages.
4. Accuracy per language. Its chance is the share of the most frequent class of the test set, the best constant answer:
   1 / classes where classes are balanced.
5. Transfer gap per target: source accuracy - target accuracy.

Intervals: items of files are independent, so accuracy has Wilson's, and a gap on the same items a bootstrap over items.
Passages of one document are not independent, so both are bootstraps over documents. The gap between different items
combines the intervals of the two accuracies.

    task = TransferTask(name="topics", train="train-en.tsv", tests={"en": "test-en.tsv", "de": "test-de.tsv"})
    data = labelled_data(task, tokenizer, source="en", max_tokens=128, seed=0)
    scores, answers, record = Transfer(task, data)(model, seed=0, folder=Path("scratch"))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from prealign import __version__
from prealign.evaluation.score import Score, signature
from prealign.evaluation.statistics import (
    Interval,
    bootstrap_ratio,
    independent_difference,
    paired_items,
    sums_by,
    wilson,
)
from prealign.evaluation.transfer.classifier import classifier, fine_tune, predict
from prealign.evaluation.transfer.data import Example, IntArray, TaskData
from prealign.events import OnProgress, silent, token_counter
from prealign.recipe.measures import TransferTask


class TransferEvaluation(NamedTuple):
    """Scores, the answers by language (see `Answers.as_dict`), and the record of fine-tuning."""

    scores: list[Score]
    items: dict[str, Any]
    record: dict[str, Any]


@dataclass(frozen=True)
class Transfer:
    """Evaluator of a task: epochs, batch size and rates of fine-tuning are those of `task`.

    trainer: settings of `transformers.TrainingArguments`. batch_size: test examples. identity: the end of the signature.
    """

    task: TransferTask
    data: TaskData
    trainer: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = 32
    identity: Mapping[str, object] = field(default_factory=lambda: {"v": __version__})

    def __call__(self, model: Any, *, seed: int, folder: Path, on_progress: OnProgress = silent) -> TransferEvaluation:
        """Fine-tune a causal LM's weights in place and test it. The seed decides the head and the order of the examples.

        folder: scratch space of the Trainer. Raises DivergedError if fine-tuning diverges.
        """
        task, data = self.task, self.data
        head = classifier(model, classes=len(data.classes), seed=seed)
        record = fine_tune(head, data.train, task, self.trainer, seed=seed, folder=folder, on_progress=on_progress)
        total = sum(len(example.ids) for examples in data.tests.values() for example in examples)
        count = token_counter(f"test {task.name}", total, on_progress)
        answers = {
            language: Answers.of(examples, predict(head, examples, batch_size=self.batch_size, on_tokens=count))
            for language, examples in data.tests.items()
        }
        parts = {"train": len(data.train), "epochs": task.epochs, "ctx": data.max_tokens, **self.identity}
        together = "documents" if task.passages else "premises"
        scores = transfer_scores(answers, data.paired, condition=task.name, parts=parts, together=together)
        record |= {"classes": data.classes, "train_examples": len(data.train)}
        record |= {"truncated": data.truncated, "tested": data.tested}
        return TransferEvaluation(scores, {language: given.as_dict() for language, given in answers.items()}, record)


@dataclass(frozen=True)
class Answers:
    """The answers in one language: labels and predictions (N,), and documents (N) or None."""

    label: IntArray
    predicted: IntArray
    document: list[str] | None

    @classmethod
    def of(cls, examples: Sequence[Example], predicted: IntArray) -> Answers:
        """Return the answers to examples (N), predictions (N,)."""
        documents = [example.document for example in examples if example.document is not None]
        return cls(np.array([example.label for example in examples]), predicted, documents or None)

    @property
    def correct(self) -> IntArray:
        """Return 1 where the prediction is right, else 0."""
        return (self.label == self.predicted).astype(np.int64)

    @property
    def chance(self) -> float:
        """Return the accuracy of always answering the most frequent class."""
        return float(np.bincount(self.label).max() / len(self.label))

    @property
    def n(self) -> int:
        """Return the number of documents, or of items: the interval is over them."""
        return len(set(self.document)) if self.document else len(self.label)

    def as_dict(self) -> dict[str, Any]:
        """Return the entry of transfer.json."""
        return {
            "correct": self.correct.tolist(),
            "label": self.label.tolist(),
            "predicted": self.predicted.tolist(),
            "document": self.document,
        }


def transfer_scores(
    answers: dict[str, Answers],
    paired: frozenset[str],
    *,
    condition: str,
    parts: dict[str, object],
    together: str = "documents",
) -> list[Score]:
    """Return the accuracy in every language, and the transfer gap of every target; the first language is the source.

    together: what `Answers.document` are, for the signature.
    """
    source, *rest = answers
    accuracies = {language: accuracy(given) for language, given in answers.items()}
    scores = []
    for language, given in answers.items():
        shared: dict[str, Any] = {"task": "transfer", "language": language, "condition": condition}
        shared |= {"stage": "pretrain", "split": "test", "n": given.n}
        shared["signature"] = signature(**parts, test=len(given.label), over=together if given.document else "items")
        scores.append(Score(metric="accuracy", chance=given.chance, **accuracies[language]._asdict(), **shared))
        if language in rest and ">" not in language:
            gap = (
                paired_gap(answers[source], given)
                if language in paired
                else independent_difference(accuracies[source], accuracies[language])
            )
            scores.append(Score(metric="transfer_gap", **gap._asdict(), **shared))
    return scores


def accuracy(answers: Answers) -> Interval:
    """Return the accuracy and its interval: Wilson's over items, a bootstrap over documents."""
    if answers.document is None:
        return wilson(int(answers.correct.sum()), len(answers.correct))
    right, asked = (sums_by(answers.document, column) for column in (answers.correct, np.ones_like(answers.label)))
    return bootstrap_ratio(right, asked, lambda ratio: ratio)


def paired_gap(source: Answers, target: Answers) -> Interval:
    """Return source accuracy - target accuracy on the same items in the same order, and its interval."""
    assert np.array_equal(source.label, target.label) and source.document == target.document, "not the same items"
    return paired_items(source.correct, target.correct, source.document)
