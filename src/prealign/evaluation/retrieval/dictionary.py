"""Bilingual lexicon induction: words of a test dictionary, never aligned nor switched, retrieved from a whole vocabulary.

1. What is asked, and among which candidates, is `prealign.evaluation.retrieval.queries`: the practice of MUSE and VecMap.
2. States of all candidates of both languages are taken at every layer, as for word retrieval (`retrieval`).
3. A source word is a hit if the target word retrieved, by cosine or by CSLS, is any of its translations; ties are shared.
   Backward the same from target words. The neighbourhoods of CSLS are the whole vocabularies, not the words asked alone.
4. Scores are per layer and direction, and pooled. Chance is the mean share of right answers among the candidates.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from prealign.evaluation.retrieval.queries import AskedWords
from prealign.evaluation.retrieval.retrieval import layer_scores, refuse_divergence, retrieval_hits
from prealign.evaluation.score import Score, Stage

CONDITION = "dictionary"
"""What tells these scores from word retrieval of the training lexicon, whose condition is None."""


def dictionary_scores(
    source: Tensor, target: Tensor, words: AskedWords, *, stage: Stage, signature: str, csls_neighbours: int
) -> tuple[list[Score], dict[str, list[Any]]]:
    """Return scores of task retrieval, split test, and hits by metric: a row a layer, a number a word asked.

    source (L, N, D), target (L, M, D): states of the candidates. Metrics: p_at_1 and csls_p_at_1, each also _forward and
    _backward; pooled, n is half the questions, rounded up. Raises PrealignError on states that are not finite.
    """
    refuse_divergence(source, target)
    gold = torch.from_numpy(words.gold())  # (N, M)
    asked, back = torch.from_numpy(words.asked), torch.from_numpy(words.asked_back)
    golds = {"forward": gold[asked], "backward": gold.T[back]}
    sides = {"forward": (source, target, asked), "backward": (target, source, back)}
    chances = {way: table.double().mean(dim=1) for way, table in golds.items()}
    hits: dict[str, Tensor] = {}
    scores: list[Score] = []
    for metric, neighbours in (("p_at_1", None), ("csls_p_at_1", csls_neighbours)):
        for way, (queries, candidates, rows) in sides.items():
            hits[f"{metric}_{way}"] = torch.stack(
                [
                    retrieval_hits(own[rows], among, golds[way], neighbours, vocabulary=own)
                    for own, among in zip(queries, candidates, strict=True)
                ]
            )  # (L, Q)
        pooled = {f"{metric}_{way}": (hits[f"{metric}_{way}"], chances[way], 1) for way in sides}
        pooled[metric] = (torch.cat([h for h, _, _ in pooled.values()], dim=1), torch.cat(list(chances.values())), 2)
        for name, (found, chance, times) in pooled.items():
            scores += layer_scores(
                found,
                chance,
                asked=times,
                task="retrieval",
                metric=name,
                condition=CONDITION,
                language=words.language,
                signature=signature,
                stage=stage,
                split="test",
            )
    return scores, {name: table.tolist() for name, table in hits.items()}
