"""Zero-shot cross-lingual transfer: learn a task from labelled source-language data, be tested in every language.

1. Read the task's examples, from labelled files or out of the run's own documents (`prealign.evaluation.transfer.data`).
2. Put a new linear head on the checkpoint and fine-tune both on source-language examples alone
   (`prealign.evaluation.transfer.classifier`). No target-language label is seen and no checkpoint is chosen.
3. Classify every test example of every language, and of pairs in mixed languages.
4. Accuracy per language. Its chance is the share of the test's most frequent class, the best that one constant answer
   can do, and 1 / classes where classes are balanced.
5. Transfer gap per target: source accuracy - target accuracy.

Intervals: items of files are taken as independent, so accuracy has Wilson's, and a gap on the same items a bootstrap over
them. Passages of one document are not independent, so both are bootstraps over documents. The gap between tests of
different items combines the intervals of its two accuracies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from prealign.evaluation.score import Score, signature
from prealign.evaluation.statistics import (
    Interval,
    bootstrap_ratio,
    independent_difference,
    paired_items,
    sums_by,
    wilson,
)
from prealign.evaluation.transfer.data import Example, IntArray


@dataclass(frozen=True)
class Answers:
    """What was asked and answered in one language: labels and predictions (N,), and documents (N) or None."""

    label: IntArray
    predicted: IntArray
    document: list[str] | None

    @property
    def correct(self) -> IntArray:
        """1 where the prediction is right."""
        return (self.label == self.predicted).astype(np.int64)

    @property
    def chance(self) -> float:
        """Accuracy of always giving the most frequent class."""
        return float(np.bincount(self.label).max() / len(self.label))

    @property
    def n(self) -> int:
        """What intervals are taken over: documents, or items."""
        return len(set(self.document)) if self.document else len(self.label)

    def as_dict(self) -> dict[str, Any]:
        """The entry of transfer.json."""
        return {
            "correct": self.correct.tolist(),
            "label": self.label.tolist(),
            "predicted": self.predicted.tolist(),
            "document": self.document,
        }


def transfer_scores(
    answers: dict[str, Answers], paired: frozenset[str], *, condition: str, parts: dict[str, object]
) -> list[Score]:
    """Return the accuracy in every language, and the transfer gap of every target; the first language is the source."""
    source, *rest = answers
    accuracies = {language: accuracy(found) for language, found in answers.items()}
    scores = []
    for language, found in answers.items():
        shared: dict[str, Any] = {"task": "transfer", "language": language, "condition": condition}
        shared |= {"stage": "pretrain", "split": "test", "n": found.n}
        shared["signature"] = signature(**parts, test=len(found.label), over="documents" if found.document else "items")
        scores.append(Score(metric="accuracy", chance=found.chance, **accuracies[language]._asdict(), **shared))
        if language in rest and ">" not in language:
            gap = (
                paired_gap(answers[source], found)
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
    gap = paired_items(source.correct, target.correct, source.document)
    return Interval(gap.difference, gap.low, gap.high)


def _answers(examples: Sequence[Example], predicted: IntArray) -> Answers:
    documents = [example.document for example in examples if example.document is not None]
    return Answers(np.array([example.label for example in examples]), predicted, documents or None)
