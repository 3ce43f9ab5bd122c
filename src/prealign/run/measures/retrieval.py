"""Word retrieval of the models of a run."""

from __future__ import annotations

from typing import Any

from prealign.evaluation.retrieval.pairs import draw_pairs
from prealign.evaluation.retrieval.words import WordRetrieval
from prealign.evaluation.score import Evaluation, Score, Stage
from prealign.lexicon import Lexicon
from prealign.recipe.sections import Recipe
from prealign.run.data import Prepared


def evaluate_retrieval(
    model: Any, prepared: Prepared, recipe: Recipe, seen: Lexicon, held_out: Lexicon, *, stage: Stage, seed: int
) -> Evaluation:
    """Return scores of word retrieval per layer, language and split, and the hits of each word, by language.

    At most `evaluate.retrieval_words` groups of each split are drawn by seed. A clone in source ids is left out: both
    sides have the same tokens.
    """
    scores: list[Score] = []
    items: dict[str, Any] = {}
    section = recipe.evaluate
    for language in [] if recipe.mixture.clone_in_source_ids else seen.targets:
        pairs = draw_pairs(seen, held_out, language, section.retrieval_words, seed)
        if pairs.sources:  # a small share of the dictionary may leave a language out
            settings = (recipe.align.bos, section.csls_neighbours, prepared.identity)
            more, items[language] = WordRetrieval(prepared.tokenizer, pairs, *settings)(model, stage=stage)
            scores += more
    return Evaluation(scores, items)
