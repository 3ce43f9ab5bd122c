"""Word retrieval of a run's model."""

from __future__ import annotations

from typing import Any

from prealign.evaluation.retrieval.pairs import draw_pairs
from prealign.evaluation.retrieval.retrieval import retrieval_scores
from prealign.evaluation.score import Score, Stage, signature
from prealign.lexicon import Lexicon
from prealign.methods.alignment.states import word_states
from prealign.recipe.sections import Recipe
from prealign.run.data import Prepared
from prealign.text.encode import encode_words


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
