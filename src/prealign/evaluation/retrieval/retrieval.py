"""Word retrieval: does a word's nearest form in the other language translate it?

1. Word states of both languages are unit-normalised; a query's candidates are all evaluated forms of the
   other language, seen and held-out together, so both splits face the same task and the same chance.
2. Nearest is by cosine (P@1), or by CSLS (Conneau et al. 2018, "Word translation without parallel data"),
   CSLS(q, c) = 2 cos(q, c) - r(q) - r(c), r = mean cosine with the k nearest forms of the other language,
   which takes the advantage from hubs: candidates that are near everything.
3. A query is a hit if the form retrieved is any of its translations. Candidates whose scores are within
   `TIE` of the best are tied, and the hit is shared: (translations among the tied) / (tied), what drawing
   one of them would give on average. States that are all alike thus score exactly chance, never by luck of
   argmax.
4. Forward is source -> target, backward target -> source; scores are per layer, split and direction, and
   pooled; forward also by how many subwords the query has, as a mean over subwords may lose what one keeps.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from prealign.errors import PrealignError
from prealign.evaluation.score import Score, Stage
from prealign.evaluation.statistics import wilson

TIE = 1e-6
"""Cosines closer than this are equal: the same word encoded in two batches differs by as much in float32."""
SUBWORDS = ("subwords=1", "subwords=2", "subwords=3+")
"""Conditions of scores by how many subwords a query has."""
_ROWS = 1024
"""Queries compared at once; memory is _ROWS * candidates."""


class _Measure(NamedTuple):
    """One metric over its queries: per-layer hits, and how many times over each pair is asked."""

    metric: str
    hits: Tensor  # (L, Q)
    held_out: Tensor  # (Q,)
    chance: Tensor  # (Q,)
    asked: int
    condition: str | None = None


def retrieval_hits(
    queries: Tensor,
    candidates: Tensor,
    gold: Tensor,
    csls_neighbours: int | None = None,
    vocabulary: Tensor | None = None,
) -> Tensor:
    """Hits in 0..1 (N,), float64, of queries (N, D) among candidates (M, D).

    `gold` (N, M) bool, on the CPU, marks translations. By cosine, or by CSLS over `csls_neighbours` nearest
    (all there are, if fewer) of `vocabulary` (K, D), the forms of the queries' language; None: the queries alone. Memory is
    bounded in N.
    """
    queries, candidates = normalize(queries.float(), dim=1), normalize(candidates.float(), dim=1)
    if csls_neighbours is None:
        hubness = queries.new_zeros(len(candidates))
    else:
        others = queries if vocabulary is None else normalize(vocabulary.float(), dim=1)
        hubness = _neighbourhood(candidates, others, csls_neighbours)  # (M,)
    hits = []
    for rows, translations in zip(queries.split(_ROWS), gold.split(_ROWS), strict=True):
        # CSLS / 2, without r(q): it is the same for all candidates of a query
        scores = rows @ candidates.T - hubness / 2  # (rows, M)
        tied = (scores >= scores.amax(dim=1, keepdim=True) - TIE).cpu()
        hits.append((tied & translations).sum(dim=1).double() / tied.sum(dim=1))
    return torch.cat(hits)


def retrieval_scores(
    source_states: Tensor,
    target_states: Tensor,
    gold: NDArray[np.bool_],
    held_out: NDArray[np.bool_],
    target_held_out: NDArray[np.bool_],
    subwords: NDArray[np.integer],
    *,
    language: str,
    stage: Stage,
    signature: str,
    csls_neighbours: int,
) -> tuple[list[Score], dict[str, list[Any]]]:
    """Scores per layer and split, and the per-word hits they come from (lists, ready for JSON).

    source_states (L, N, D), target_states (L, M, D); gold (N, M): source n and target m translate each
    other, every form at least one other; held_out (N,) and target_held_out (M,): the form was kept out of
    alignment; subwords (N,): tokens of the source form. Metrics: p_at_1_forward, p_at_1_backward, p_at_1 and
    csls_p_at_1 (both directions); p_at_1_forward also with the conditions of `SUBWORDS`.

    `chance` is the mean share of translations among the candidates: 1/candidates if each word has one.
    Intervals are Wilson's. Pooled, a pair is asked twice and its two hits go together, so n is half the
    queries (rounded up), which never makes the interval too narrow. A split without words has no scores.
    Raises PrealignError on states that are not finite.
    """
    refuse_divergence(source_states, target_states)
    forward = torch.from_numpy(gold)  # (N, M)
    assert forward.any(dim=0).all() and forward.any(dim=1).all(), "a form without translation cannot be asked"
    kept_out = torch.from_numpy(held_out)  # (N,)
    target_kept_out = torch.from_numpy(target_held_out)  # (M,)

    hits = {}
    for metric, neighbours in (("p_at_1", None), ("csls_p_at_1", csls_neighbours)):
        hits[f"{metric}_forward"] = hits_by_layer(source_states, target_states, forward, neighbours)
        hits[f"{metric}_backward"] = hits_by_layer(target_states, source_states, forward.T, neighbours)

    splits = {"forward": kept_out, "backward": target_kept_out}
    chances = {"forward": forward.double().mean(dim=1), "backward": forward.double().mean(dim=0)}
    both_splits, both_chances = torch.cat(list(splits.values())), torch.cat(list(chances.values()))
    measures = [_Measure(f"p_at_1_{way}", hits[f"p_at_1_{way}"], splits[way], chances[way], asked=1) for way in splits]
    for metric in ("p_at_1", "csls_p_at_1"):
        pooled = torch.cat([hits[f"{metric}_forward"], hits[f"{metric}_backward"]], dim=1)
        measures.append(_Measure(metric, pooled, both_splits, both_chances, asked=2))

    forward_hits, counts = hits["p_at_1_forward"], torch.from_numpy(np.minimum(subwords, len(SUBWORDS)))
    for number, condition in enumerate(SUBWORDS, start=1):
        of = counts == number
        parts = forward_hits[:, of], kept_out[of], chances["forward"][of]
        measures.append(_Measure("p_at_1_forward", *parts, asked=1, condition=condition))

    scores = [
        score
        for measure in measures
        for split in ("seen", "held_out")
        for score in _split_scores(measure, split, language=language, stage=stage, signature=signature)
    ]
    items = hits | {f"held_out_{way}": split for way, split in splits.items()}
    return scores, {name: table.tolist() for name, table in items.items()} | {"subwords": subwords.tolist()}


def _neighbourhood(queries: Tensor, candidates: Tensor, neighbours: int) -> Tensor:
    """r of CSLS (N,): mean cosine of unit queries (N, D) with their nearest unit candidates (M, D)."""
    k = min(neighbours, len(candidates))
    rows = [(rows @ candidates.T).topk(k, dim=1).values.mean(dim=1) for rows in queries.split(_ROWS)]
    return torch.cat(rows)


def hits_by_layer(queries: Tensor, candidates: Tensor, gold: Tensor, neighbours: int | None = None) -> Tensor:
    """Return `retrieval_hits` (L, N) of the states of each layer: queries (L, N, D), candidates (L, M, D)."""
    layers = zip(queries, candidates, strict=True)
    return torch.stack([retrieval_hits(asked, among, gold, neighbours) for asked, among in layers])


def _split_scores(
    measure: _Measure, split: Literal["seen", "held_out"], *, language: str, stage: Stage, signature: str
) -> list[Score]:
    """One score a layer."""
    chosen = measure.held_out if split == "held_out" else ~measure.held_out
    return layer_scores(
        measure.hits[:, chosen],
        measure.chance[chosen],
        asked=measure.asked,
        task="retrieval",
        metric=measure.metric,
        condition=measure.condition,
        language=language,
        signature=signature,
        stage=stage,
        split=split,
    )


def layer_scores(hits: Tensor, chance: Tensor, *, asked: int, **fields: Any) -> list[Score]:
    """Return one score a layer from hits (L, Q) in 0..1 and what guessing gives (Q,); none without queries.

    asked: how many times over each item is asked, which n and so Wilson's interval leave out. fields: those of `Score`.
    """
    if not hits.shape[1]:
        return []
    n = -(-hits.shape[1] // asked)
    scores = []
    for layer, share in enumerate(hits.mean(dim=1).tolist()):
        value, low, high = wilson(share * n, n)
        scores.append(Score(**fields, layer=layer, value=value, low=low, high=high, n=n, chance=float(chance.mean())))
    return scores


def refuse_divergence(*states: Tensor) -> None:
    """Raise PrealignError if states (L, N, D) of words or sentences are not finite."""
    for layers in states:
        broken = [layer for layer, own in enumerate(layers) if not own.isfinite().all()]
        if broken:
            raise PrealignError(
                f"the model's states are not finite at layers {broken}: training diverged; "
                "lower align.learning_rate or pretrain.learning_rate and run the arm again"
            )
