"""Measure checkpoints on parallel data that they were never trained on: test dictionaries and parallel sentences.

1. Both are read once, for all checkpoints of an arm. Of each target with a test dictionary, the words asked for and the
   candidates are those of the run's data folder.
2. Of each set of sentences, every target's pairs are tokenised as they stand; a clone's are the source's, mapped. What is
   longer than the context, with the separator before it, is cut at the end and counted in the signature.
3. Where a clone has the source's ids both sides would be the same: it is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prealign.evaluation.retrieval.dictionary import dictionary_scores
from prealign.evaluation.retrieval.sentences import sentence_scores, sentence_states
from prealign.evaluation.score import Score, Stage, signature
from prealign.languages import is_clone
from prealign.methods.alignment.states import word_states
from prealign.recipe.measures import SentenceSet
from prealign.recipe.sections import Recipe
from prealign.run.data import Prepared
from prealign.text.clone import clone_language
from prealign.text.encode import encode_texts
from prealign.text.parallel import SentencePairs, read_sentences

Found = tuple[list[Score], dict[str, Any]]


@dataclass(frozen=True)
class _Sentences:
    """The pairs of a set in one language: ids of both sides, the source's first, and what the signature counts."""

    name: str
    language: str
    sides: list[list[NDArray[np.int64]]]
    repeated: int
    cut: int


class ParallelTests:
    """The test dictionaries and sentences of an arm, in its token ids. DataError for files that cannot be read."""

    def __init__(self, prepared: Prepared, recipe: Recipe) -> None:
        self.prepared, self.recipe = prepared, recipe
        self.words = prepared.tested_words(recipe)
        self.sentences = [pairs for section in recipe.evaluate.sentences for pairs in self._read(section)]

    def _read(self, section: SentenceSet) -> Iterator[_Sentences]:
        source, *targets = self.prepared.languages
        read = read_sentences(section, source)
        for language in targets:
            clone = is_clone(language)
            if (clone and self.recipe.mixture.clone_ids == "merged") or (not clone and language not in read):
                continue
            pairs = read[source if clone else language]
            sides, cut = _encode(pairs, language, self.prepared, self.recipe.pretrain.context - 1)
            yield _Sentences(section.name, language, sides, pairs.repeated, cut)

    def measure(self, model: Any, *, stage: Stage) -> Found:
        """Return a model's scores on all of them, and the hits: "dictionary" -> language, "sentences" -> set -> language."""
        scores, words = self._measure_words(model, stage)
        sentences: dict[str, Any] = {section.name: {} for section in self.recipe.evaluate.sentences}
        for pairs in self.sentences:
            found, sentences[pairs.name][pairs.language] = self._measure_sentences(model, pairs, stage)
            scores += found
        return scores, {"dictionary": words, "sentences": sentences}

    def _measure_words(self, model: Any, stage: Stage) -> Found:
        """Return P@1 and CSLS P@1 per layer of each target's test dictionary, and the hits by language."""
        prepared, recipe = self.prepared, self.recipe
        scores: list[Score] = []
        items: dict[str, Any] = {}
        for language, words in self.words.items():
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

    def _measure_sentences(self, model: Any, pairs: _Sentences, stage: Stage) -> Found:
        separator, batch_size = self.prepared.eos, self.recipe.evaluate.batch_size
        one, other = (sentence_states(model, ids, separator=separator, batch_size=batch_size) for ids in pairs.sides)
        return sentence_scores(
            one,
            other,
            language=pairs.language,
            condition=pairs.name,
            stage=stage,
            signature=signature(
                sentences=len(pairs.sides[0]),
                repeated=pairs.repeated,
                cut=pairs.cut,
                pool="position",
                after="eos",
                **self.prepared.identity,
            ),
        )


def _encode(
    pairs: SentencePairs, language: str, prepared: Prepared, limit: int
) -> tuple[list[list[NDArray[np.int64]]], int]:
    """Return the ids of both sides in at most `limit` tokens, and how many sentences were cut."""
    sides, cut = [], 0
    for texts, tag in ((pairs.sources, prepared.languages[0]), (pairs.targets, language)):
        rows = encode_texts(prepared.tokenizer, texts)["input_ids"]
        ids = [np.asarray(row, dtype=np.int64) for row in rows]
        cut += sum(len(row) > limit for row in ids)
        ids = [row[:limit] for row in ids]
        sides.append([clone_language(prepared.tokenizer).map(row) for row in ids] if is_clone(tag) else ids)
    return sides, cut
