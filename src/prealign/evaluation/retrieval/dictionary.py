"""Dictionary retrieval (bilingual lexicon induction): retrieve words of a test dictionary from a whole vocabulary.

1. `prealign.evaluation.retrieval.queries` selects queries and candidates, following MUSE and VecMap.
2. Take the states of all candidates of both languages at every layer.
3. A query is a hit if its nearest candidate, by cosine or by CSLS, is one of its gold translations
   (`prealign.evaluation.retrieval.nearest`). The neighbourhoods of CSLS are the whole vocabularies, not the queries alone.
4. Scores are per layer and direction, and pooled. Chance is the mean share of gold translations among the candidates.
5. If the queries have strata (`prealign.evaluation.retrieval.strata`), pooled scores are also given for each stratum.

    dictionary = Lexicon.read("en-de.5000-6500.txt", source="en", target="de")
    queries = select_queries(dictionary, "de", english_word_counts, german_word_counts, floor=5, size=5000)
    scores, hits = DictionaryRetrieval(tokenizer, queries)(model)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from prealign.errors import LexiconError
from prealign.evaluation.retrieval.nearest import hit_lists, two_way_precision
from prealign.evaluation.retrieval.queries import DictionaryQueries
from prealign.evaluation.retrieval.strata import STRATA
from prealign.evaluation.score import Evaluation, Stage, identity, signature
from prealign.methods.alignment.states import word_states
from prealign.text.words import Tokenizer

CONDITION = "dictionary"
"""Tells these scores from word retrieval of the training lexicon, whose condition is None."""
WAYS = ("forward", "backward")


@dataclass(frozen=True)
class DictionaryRetrieval:
    """Evaluator of a test dictionary: P@1 and CSLS P@1 per layer. Settings as those of `WordRetrieval`."""

    tokenizer: Tokenizer
    queries: DictionaryQueries
    bos: bool = False
    csls_neighbours: int = 10
    identity: Mapping[str, object] = field(default_factory=dict)

    def __call__(self, model: Any, *, stage: Stage = "pretrain") -> Evaluation:
        """Evaluate a causal LM.

        Raises LexiconError for no queries, TokenizerError for a word without tokens, DivergedError for states not finite.
        """
        queries, tokenizer = self.queries, self.tokenizer
        if not len(queries.forward):
            raise LexiconError(f"no words to retrieve from the test dictionary: {queries.summary}.")
        return dictionary_scores(
            word_states(model, tokenizer, queries.sources, language=queries.source, bos=self.bos),
            word_states(model, tokenizer, queries.targets, language=queries.language, bos=self.bos),
            queries,
            stage=stage,
            signature=signature(
                asked=len(queries.forward),
                back=len(queries.backward),
                candidates=len(queries.targets),
                sources=len(queries.sources),
                floor=queries.floor,
                csls="vocabulary",
                **(self.identity or identity(tokenizer)),
            ),
            csls_neighbours=self.csls_neighbours,
        )


def dictionary_scores(
    source: Tensor, target: Tensor, queries: DictionaryQueries, *, stage: Stage, signature: str, csls_neighbours: int
) -> Evaluation:
    """Return scores of task retrieval, split test, and hits by metric: a row a layer, a number a query.

    source (L, N, D), target (L, M, D): states of the candidates. Metrics: p_at_1 and csls_p_at_1, each also _forward and
    _backward; pooled, n is half the queries, rounded up. Conditions: "dictionary", and "dictionary|STRATUM" of the pooled
    metrics. Raises DivergedError on states that are not finite.
    """
    metrics = two_way_precision(
        source,
        target,
        torch.from_numpy(queries.gold()),
        {"p_at_1": None, "csls_p_at_1": csls_neighbours},
        (torch.from_numpy(queries.forward), torch.from_numpy(queries.backward)),
    )
    fields: dict[str, Any] = {"task": "retrieval", "language": queries.language}
    fields |= {"signature": signature, "stage": stage, "split": "test"}
    scores = [score for metric in metrics.values() for score in metric.scores(condition=CONDITION, **fields)]
    items: dict[str, Any] = hit_lists(metrics)
    if queries.strata is not None:
        pooled = torch.from_numpy(np.concatenate(queries.strata))
        for i, stratum in enumerate(STRATA):
            for metric in (metrics["p_at_1"], metrics["csls_p_at_1"]):
                scores += metric.where(pooled == i).scores(condition=f"{CONDITION}|{stratum}", **fields)
        items |= {f"stratum_{way}": own.tolist() for way, own in zip(WAYS, queries.strata, strict=True)}
    return Evaluation(scores, items)
