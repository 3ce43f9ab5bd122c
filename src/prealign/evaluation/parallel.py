"""Measure a checkpoint on parallel data that it was never trained on: test dictionaries and parallel sentences.

1. Of each target with a test dictionary, the words asked for and the candidates are those of the run's data folder.
2. Of each set of sentences, every target's pairs are tokenised as they stand; a clone's are the source's, mapped. What is
   longer than the context, with the separator before it, is cut at the end and counted in the signature.
3. Where a clone has the source's ids both sides would be the same: it is left out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from prealign.alignment.states import word_states
from prealign.evaluation.bli import dictionary_scores
from prealign.evaluation.score import Score, Stage, signature
from prealign.evaluation.sentences import sentence_scores, sentence_states
from prealign.preparation import Prepared
from prealign.recipe import Recipe
from prealign.recipe_measures import SentenceSet
from prealign.text.clone import clone_language
from prealign.text.languages import is_clone
from prealign.text.parallel import SentencePairs, read_sentences

Found = tuple[list[Score], dict[str, Any]]


def evaluate_parallel(model: Any, prepared: Prepared, recipe: Recipe, *, stage: Stage) -> Found:
    """Return the scores of all test dictionaries and sentences, and their hits: "dictionary" -> language, sets by name."""
    scores, words = evaluate_dictionaries(model, prepared, recipe, stage=stage)
    items: dict[str, Any] = {"dictionary": words, "sentences": {}}
    for section in recipe.evaluate.sentences:
        found, items["sentences"][section.name] = evaluate_sentences(model, section, prepared, recipe, stage=stage)
        scores += found
    return scores, items


def evaluate_dictionaries(model: Any, prepared: Prepared, recipe: Recipe, *, stage: Stage) -> Found:
    """Return P@1 and CSLS P@1 per layer of each target's test dictionary, and the hits by language."""
    scores: list[Score] = []
    items: dict[str, Any] = {}
    for language, words in prepared.tested_words(recipe).items():
        sides = ((words.sources, prepared.languages[0]), (words.targets, language))
        source, target = (
            word_states(model, prepared.tokenizer, own, language=tag, bos=recipe.align.bos) for own, tag in sides
        )
        found, items[language] = dictionary_scores(
            source,
            target,
            words,
            stage=stage,
            signature=signature(
                asked=len(words.asked),
                back=len(words.asked_back),
                candidates=len(words.targets),
                sources=len(words.sources),
                floor=recipe.lexicon.minimum_count,
                csls="vocabulary",
                **prepared.identity,
            ),
            csls_neighbours=recipe.evaluate.csls_neighbours,
        )
        scores += found
    return scores, items


def evaluate_sentences(model: Any, section: SentenceSet, prepared: Prepared, recipe: Recipe, *, stage: Stage) -> Found:
    """Return retrieval of a set's sentences per layer and language, and the hits by language."""
    source, *targets = prepared.languages
    read = read_sentences(section, source)
    scores: list[Score] = []
    items: dict[str, Any] = {}
    for language in targets:
        if language not in read and not is_clone(language):
            continue
        if is_clone(language) and recipe.mixture.clone_ids == "merged":
            continue
        pairs = read[source if is_clone(language) else language]
        sides, cut = _encode(pairs, language, prepared, recipe.pretrain.context - 1)
        one, other = (
            sentence_states(model, ids, separator=prepared.eos, batch_size=recipe.evaluate.batch_size) for ids in sides
        )
        found, items[language] = sentence_scores(
            one,
            other,
            language=language,
            condition=section.name,
            stage=stage,
            signature=signature(
                sentences=len(pairs.sources),
                repeated=pairs.repeated,
                cut=cut,
                pool="position",
                after="eos",
                **prepared.identity,
            ),
        )
        scores += found
    return scores, items


def _encode(
    pairs: SentencePairs, language: str, prepared: Prepared, limit: int
) -> tuple[list[list[NDArray[np.int64]]], int]:
    """Return the ids of both sides in at most `limit` tokens, and how many sentences were cut."""
    sides, cut = [], 0
    for texts, tag in ((pairs.sources, prepared.languages[0]), (pairs.targets, language)):
        rows = prepared.tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]
        ids = [np.asarray(row, dtype=np.int64) for row in rows]
        cut += sum(len(row) > limit for row in ids)
        ids = [row[:limit] for row in ids]
        sides.append([clone_language(prepared.tokenizer).map(row) for row in ids] if is_clone(tag) else ids)
    return sides, cut
