"""Text too small to learn a language from, or to measure one on: said before training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prealign.languages import is_clone, language_name
from prealign.wording import some

ENOUGH_TO_LEARN = 50_000
"""Training tokens below which a model learns little of a language."""
ENOUGH_TO_TEST = 5_000
"""Test tokens below which a perplexity is uncertain."""


def small_texts(corpus: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Iterator[str]:
    """Yield what is too small. corpus: of a run's data, language -> split -> counts."""
    for language, splits in corpus.items():
        train, test = splits["train"], splits["test"]
        if train["tokens"] < ENOUGH_TO_LEARN and not is_clone(language):
            yield (
                f"{language_name(language)}: {some(train['tokens'], 'token')} to train on; below {ENOUGH_TO_LEARN:,} a "
                "model learns little of a language. Add text."
            )
        if test["tokens"] < ENOUGH_TO_TEST and not is_clone(language):
            yield (
                f"{language_name(language)}: {some(test['tokens'], 'token')} in {some(test['documents'], 'test document')}; "
                f"below {ENOUGH_TO_TEST:,} tokens a perplexity is uncertain. Raise split.test, or add text."
            )
