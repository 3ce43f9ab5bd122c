"""Measure a checkpoint on a run's held-out documents and words."""

from __future__ import annotations

from typing import Any

import numpy as np

from prealign.alignment.states import word_states
from prealign.evaluation.coverage import KINDS, lexicon_forms, nats_of_kinds, spelled_forms, token_kinds
from prealign.evaluation.pairs import draw_pairs
from prealign.evaluation.perplexity import corpus_score, document_sums, perplexity_scores, token_nats
from prealign.evaluation.retrieval import retrieval_scores
from prealign.evaluation.score import Score, Stage, signature
from prealign.evaluation.statistics import FloatArray
from prealign.lexicon import Lexicon
from prealign.lexicon.normalise import Key, key_of
from prealign.preparation import Prepared
from prealign.recipe import Recipe
from prealign.runfolder import fingerprint
from prealign.text.languages import encode_words
from prealign.training import OnProgress, autocast, precision, token_counter


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
        with autocast(recipe, model.device):
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
        measured = {"docs": len(rows), "ctx": context, "stride": stride, "precision": precision(recipe).split()[0]}
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


def evaluate_retrieval(
    model: Any, prepared: Prepared, recipe: Recipe, seen: Lexicon, held_out: Lexicon, *, stage: Stage, seed: int
) -> tuple[list[Score], dict[str, Any]]:
    """Return word retrieval per layer, language and split, and the per-word hits.

    Up to `evaluate.retrieval_words` groups of each split are drawn by seed. A merged clone is left out: there both sides
    are the same tokens.
    """
    if recipe.mixture.clone_ids == "merged":
        return [], {}
    scores: list[Score] = []
    items: dict[str, Any] = {}
    for language in seen.targets:
        pairs = draw_pairs(seen, held_out, language, recipe.evaluate.retrieval_words, seed)
        if not pairs.sources:  # a small share of the dictionary may leave a language out
            continue
        bos = recipe.align.bos
        subwords = encode_words(prepared.tokenizer, pairs.sources, seen.source).lengths
        found, items[language] = retrieval_scores(
            word_states(model, prepared.tokenizer, pairs.sources, language=seen.source, bos=bos),
            word_states(model, prepared.tokenizer, pairs.targets, language=language, bos=bos),
            pairs.gold,
            pairs.held_out,
            pairs.target_held_out,
            subwords,
            language=language,
            stage=stage,
            signature=signature(sources=len(pairs.sources), targets=len(pairs.targets), **prepared.identity),
            csls_neighbours=recipe.evaluate.csls_neighbours,
        )
        scores += found
    return scores, items
