"""Retrieval from parallel data that was never trained on: test dictionaries and parallel sentences.

1. Read both once for all checkpoints of an arm. Queries and candidates of test dictionaries come from the run's data.
2. Make a clone's sentences from the source's, in twin ids. Cut sentences that exceed the context (with a separator
   before them) at the end, and count them in the signature.
3. Leave out a clone in source ids: both sides have the same tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prealign.evaluation.retrieval.dictionary import DictionaryRetrieval
from prealign.evaluation.retrieval.sentence_files import read_sentences
from prealign.evaluation.retrieval.sentences import SentenceRetrieval
from prealign.evaluation.score import Evaluation, Score, Stage
from prealign.languages import is_clone
from prealign.recipe.measures import SentenceSet
from prealign.recipe.sections import Recipe
from prealign.run.data import Prepared


class ParallelTests:
    """The evaluators of an arm's test dictionaries and sentences. DataError if a file cannot be read."""

    def __init__(self, prepared: Prepared, recipe: Recipe) -> None:
        section = recipe.evaluate
        settings = (recipe.align.bos, section.csls_neighbours, prepared.identity)
        self.dictionaries = {
            language: DictionaryRetrieval(prepared.tokenizer, queries, *settings)
            for language, queries in prepared.tested_words(recipe).items()
        }
        self.sentences = {chosen.name: list(_sentences(chosen, prepared, recipe)) for chosen in section.sentences}

    def measure(self, model: Any, *, stage: Stage) -> Evaluation:
        """Return scores and hits of a model: "dictionary" -> language -> hits, "sentences" -> set -> language -> hits."""
        scores: list[Score] = []
        words: dict[str, Any] = {}
        sentences: dict[str, Any] = {name: {} for name in self.sentences}
        for language, dictionary in self.dictionaries.items():
            more, words[language] = dictionary(model, stage=stage)
            scores += more
        for name, evaluators in self.sentences.items():
            for evaluator in evaluators:
                more, sentences[name][evaluator.language] = evaluator(model, stage=stage)
                scores += more
        return Evaluation(scores, {"dictionary": words, "sentences": sentences})


def _sentences(section: SentenceSet, prepared: Prepared, recipe: Recipe) -> Iterator[SentenceRetrieval]:
    """Yield the evaluator of each target language in the set."""
    source, *targets = prepared.languages
    read = read_sentences(section, source)
    for language in targets:
        clone = is_clone(language)
        if (clone and recipe.mixture.clone_in_source_ids) or (not clone and language not in read):
            continue
        pairs = read[source if clone else language]
        yield SentenceRetrieval.from_texts(
            prepared.tokenizer,
            pairs.sources,
            pairs.targets,
            language=language,
            max_tokens=recipe.pretrain.context - 1,
            separator=prepared.before,
            after="eos" if prepared.bos is None else "bos",
            condition=section.name,
            repeated=pairs.repeated,
            batch_size=recipe.evaluate.batch_size,
            identity=prepared.identity,
        )
