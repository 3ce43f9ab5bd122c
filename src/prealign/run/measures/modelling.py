"""Perplexity of a checkpoint on the held-out documents of a run."""

from __future__ import annotations

from typing import Any

import numpy as np
from datasets import Dataset

from prealign.evaluation.lm.coverage import WordKinds, lexicon_forms, spelled_forms, token_kinds
from prealign.evaluation.lm.mixing import SHARED, LanguageMixing, language_rows
from prealign.evaluation.lm.perplexity import Perplexity
from prealign.evaluation.score import Evaluation, Score
from prealign.events import OnProgress, token_counter
from prealign.languages import is_clone
from prealign.lexicon import Lexicon
from prealign.lexicon.normalise import Key, key_of
from prealign.recipe.sections import Recipe
from prealign.run.data import Prepared
from prealign.run.folder import fingerprint
from prealign.text.ragged import IntArray
from prealign.training.precision import autocast, precision


def evaluate_lm(
    model: Any, prepared: Prepared, recipe: Recipe, lexicon: Lexicon, on_progress: OnProgress
) -> Evaluation:
    """Return perplexity and bits per byte of each language's test documents, and the statistics of each document.

    Matrices are multiplied in the precision of training, log-softmax is float32, sums are float64. Target languages
    also get the perplexity of words inside and outside `lexicon`. With `evaluate.mixing`, all get the mixing of languages.
    """
    scores: list[Score] = []
    items: dict[str, Any] = {}
    owners = _owners(prepared, recipe)
    for language in prepared.languages:
        rows = prepared.tokens(language, "test", source_ids=recipe.mixture.clone_in_source_ids)
        key = key_of(recipe.lexicon.normalise, language)
        evaluator = Perplexity(
            documents=rows.with_format("numpy")["input_ids"],
            byte_counts=np.asarray(rows["bytes"]),
            language=language,
            context=recipe.pretrain.context,
            prefix=prepared.before,
            stride=recipe.evaluate.stride,
            batch_size=recipe.evaluate.batch_size,
            words=None if language == prepared.languages[0] else _word_kinds(prepared, lexicon, language, key),
            identity={"precision": precision(recipe.trainer).split()[0], **prepared.identity},
        )
        total = prepared.record["corpus"][language]["test"]["tokens"]
        with autocast(recipe.trainer, model.device):
            evaluation = evaluator(model, on_progress=token_counter(f"evaluate {language}", total, on_progress))
            mixed = Evaluation([], {})
            if owners is not None:
                mixed = _mixing(prepared, recipe, language, rows, owners)(model)
        scores += [*evaluation.scores, *mixed.scores]
        items[language] = {"document": list(rows["document"])} | evaluation.items | mixed.items
    return Evaluation(scores, items)


def _owners(prepared: Prepared, recipe: Recipe) -> IntArray | None:
    """Return the language of each row, for `evaluate.mixing`; None if not measured, as of a clone in source ids."""
    if recipe.evaluate.mixing is None or recipe.mixture.clone_in_source_ids:
        return None
    return language_rows({language: prepared.token_counts(language) for language in prepared.languages})


def _mixing(prepared: Prepared, recipe: Recipe, language: str, rows: Dataset, owners: IntArray) -> LanguageMixing:
    """Return the evaluator of mixing. owners: of `_owners`."""
    section, number = recipe.evaluate.mixing, prepared.languages.index(language)
    assert section is not None
    return LanguageMixing(
        tokenizer=prepared.tokenizer,
        documents=rows.with_format("numpy")["input_ids"],
        language=language,
        foreign=(owners != number) & (owners != SHARED),
        own=owners == number,
        twins=any(map(is_clone, prepared.languages)),
        context=recipe.pretrain.context,
        prefix=prepared.before,
        stride=recipe.evaluate.stride,
        batch_size=recipe.evaluate.batch_size,
        identity={"precision": precision(recipe.trainer).split()[0], **prepared.identity},
        **section.model_dump(),
    )


def _word_kinds(prepared: Prepared, lexicon: Lexicon, language: str, key: Key | None) -> WordKinds:
    """Return the word kinds of a target's test tokens. They also fit a clone read in source ids, token by token."""
    rows = prepared.tokens(language, "test").with_format("numpy")
    starts = rows["words"] if "words" in rows.column_names else [None] * len(rows)
    forms = lexicon_forms(prepared.tokenizer, lexicon, language)
    if key is not None:
        forms = np.union1d(forms, spelled_forms(rows["input_ids"], prepared.tokenizer, lexicon, language, key))
    kinds = [
        token_kinds(ids, forms, prepared.tokenizer, language, words)
        for ids, words in zip(rows["input_ids"], starts, strict=True)
    ]
    return WordKinds(kinds, fingerprint(forms.tolist())[:8])
