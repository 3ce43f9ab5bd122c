"""Measure a checkpoint on a run's held-out documents and words."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from prealign import __version__
from prealign.alignment.states import word_states
from prealign.evaluation.perplexity import perplexity_scores, score_documents
from prealign.evaluation.retrieval import retrieval_scores
from prealign.evaluation.score import Score, Stage, signature
from prealign.lexicon import Group, Lexicon
from prealign.preparation import Prepared
from prealign.recipe import Recipe
from prealign.training import OnProgress, Progress


def evaluate_lm(
    model: Any, prepared: Prepared, recipe: Recipe, on_progress: OnProgress
) -> tuple[list[Score], dict[str, Any]]:
    """Return perplexity and bits per byte of every language's test documents, and what each document contributed."""
    context = recipe.pretrain.context
    stride = recipe.evaluate.stride or context // 2
    scores: list[Score] = []
    items: dict[str, Any] = {}
    for language in prepared.languages:
        rows = prepared.tokens(language, "test", merged=recipe.mixture.clone_ids == "merged")
        began, done, total = time.monotonic(), 0, prepared.record["corpus"][language]["test"]["tokens"]

        def tell(tokens: int, total: int = total, language: str = language, began: float = began) -> None:
            nonlocal done
            done += tokens
            on_progress(Progress(f"evaluate {language}", done, total, done, time.monotonic() - began))

        nats, tokens = score_documents(
            model,
            rows.with_format("numpy")["input_ids"],
            context=context,
            stride=stride,
            batch_size=recipe.evaluate.batch_size,
            prefix=prepared.eos,
            on_progress=tell,
        )
        sizes = np.asarray(rows["bytes"])
        sign = _signature(prepared, docs=len(rows), ctx=context, stride=stride)
        scores += perplexity_scores(nats, tokens, sizes, language=language, signature=sign)
        items[language] = {
            "document": list(rows["document"]),
            "nats": nats.tolist(),
            "tokens": tokens.tolist(),
            "bytes": sizes.tolist(),
        }
    return scores, items


def evaluate_retrieval(
    model: Any,
    prepared: Prepared,
    recipe: Recipe,
    seen: Lexicon,
    held_out: Lexicon,
    *,
    stage: Stage,
    seed: int,
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
        parts = [_draw(lexicon, language, recipe.evaluate.retrieval_words, seed) for lexicon in (seen, held_out)]
        sources = [group.word for part in parts for group in part]
        kept_out = np.repeat([False, True], [len(part) for part in parts])
        targets = list(
            dict.fromkeys(sense for part in parts for group in part for sense in group.translations[language])
        )
        column = {word: i for i, word in enumerate(targets)}
        gold = np.zeros((len(sources), len(targets)), dtype=bool)
        for row, group in enumerate(group for part in parts for group in part):
            gold[row, [column[sense] for sense in group.translations[language]]] = True
        bos = recipe.align.bos
        found, items[language] = retrieval_scores(
            word_states(model, prepared.tokenizer, sources, language=seen.source, bos=bos),
            word_states(model, prepared.tokenizer, targets, language=language, bos=bos),
            gold,
            kept_out,
            language=language,
            stage=stage,
            signature=_signature(prepared, sources=len(sources), targets=len(targets)),
            csls_neighbours=recipe.evaluate.csls_neighbours,
        )
        scores += found
    return scores, items


def _draw(lexicon: Lexicon, language: str, number: int, seed: int) -> Sequence[Group]:
    groups = [group for group in lexicon if group.translations.get(language)]
    if len(groups) <= number:
        return groups
    return Lexicon(groups, source=lexicon.source).sample(number / len(groups), seed).groups[:number]


def _signature(prepared: Prepared, **parts: object) -> str:
    return signature(**parts, tok=f"{prepared.record['vocabulary']}.{prepared.mark[:8]}", v=__version__)
