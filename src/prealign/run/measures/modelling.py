"""Measure a checkpoint on a run's held-out documents and words."""

from __future__ import annotations

from typing import Any

import numpy as np

from prealign.evaluation.lm.coverage import KINDS, lexicon_forms, nats_of_kinds, spelled_forms, token_kinds
from prealign.evaluation.lm.perplexity import corpus_score, document_sums, perplexity_scores, token_nats
from prealign.evaluation.score import Score, signature
from prealign.evaluation.statistics import FloatArray
from prealign.events import OnProgress, token_counter
from prealign.lexicon import Lexicon
from prealign.lexicon.normalise import Key, key_of
from prealign.recipe.sections import Recipe
from prealign.run.data import Prepared
from prealign.run.folder import fingerprint
from prealign.training.precision import autocast, precision


def evaluate_lm(
    model: Any, prepared: Prepared, recipe: Recipe, lexicon: Lexicon, on_progress: OnProgress
) -> tuple[list[Score], dict[str, Any]]:
    """Return perplexity and bits per byte of every language's test documents, and what each document contributed.

    Matrices are multiplied in the precision of training; log-softmax is float32, and sums are float64.
    Of target languages also the perplexity of the words inside and outside `lexicon`.
    """
    context = recipe.pretrain.context
    stride = recipe.evaluate.stride or context // 2
    scores: list[Score] = []
    items: dict[str, Any] = {}
    for language in prepared.languages:
        rows = prepared.tokens(language, "test", merged=recipe.mixture.clone_ids == "merged")
        total = prepared.record["corpus"][language]["test"]["tokens"]
        with autocast(recipe.trainer, model.device):
            by_token = token_nats(
                model,
                rows.with_format("numpy")["input_ids"],
                context=context,
                stride=stride,
                batch_size=recipe.evaluate.batch_size,
                prefix=prepared.eos,
                on_progress=token_counter(f"evaluate {language}", total, on_progress),
            )
        nats, tokens = document_sums(by_token)
        sizes = np.asarray(rows["bytes"])
        measured = {
            "docs": len(rows),
            "ctx": context,
            "stride": stride,
            "precision": precision(recipe.trainer).split()[0],
        }
        sign = signature(**measured, **prepared.identity)
        scores += perplexity_scores(nats, tokens, sizes, language=language, signature=sign)
        items[language] = {
            "document": list(rows["document"]),
            "nats": nats.tolist(),
            "tokens": tokens.tolist(),
            "bytes": sizes.tolist(),
        }
        if language != prepared.languages[0]:
            key = key_of(recipe.lexicon.normalise, language)
            found, parts = _inside_and_outside(by_token, prepared, lexicon, language, key, sign)
            scores += found
            items[language] |= parts
    return scores, items


def _inside_and_outside(
    nats: list[FloatArray], prepared: Prepared, lexicon: Lexicon, language: str, key: Key | None, sign: str
) -> tuple[list[Score], dict[str, Any]]:
    """Perplexity of a target language's words of each kind; a kind without a word has no score."""
    # A merged clone is read in source ids, token by token the same words as in twin ids.
    rows = prepared.tokens(language, "test").with_format("numpy")
    starts = rows["words"] if "words" in rows.column_names else [None] * len(rows)
    forms = lexicon_forms(prepared.tokenizer, lexicon, language)
    if key is not None:
        forms = np.union1d(forms, spelled_forms(rows["input_ids"], prepared.tokenizer, lexicon, language, key))
    kinds = [
        token_kinds(ids, forms, prepared.tokenizer, language, words)
        for ids, words in zip(rows["input_ids"], starts, strict=True)
    ]
    scores, items = [], {}
    for kind, summed, counted in zip(KINDS, *(table.T for table in nats_of_kinds(nats, kinds)), strict=True):
        items[kind] = {"nats": summed.tolist(), "tokens": counted.tolist()}
        if (there := counted > 0).any():
            words = f"{sign}|words:{fingerprint(forms.tolist())[:8]}"
            metric = f"perplexity_{kind}"
            scores.append(
                corpus_score(summed[there], counted[there], metric, np.exp, language=language, signature=words)
            )
    return scores, items
