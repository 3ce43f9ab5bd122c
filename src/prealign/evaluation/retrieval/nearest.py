"""Nearest-neighbour retrieval between the states of two languages: P@1 per layer, by cosine and by CSLS.

1. States are unit-normalised. The nearest candidate has the highest cosine, or the highest CSLS (Conneau et al. 2018, "Word
   translation without parallel data"): CSLS(q, c) = 2 cos(q, c) - r(q) - r(c), where r is the mean cosine with the k nearest
   forms of the other language. CSLS corrects for hubs, candidates that are near everything.
2. A query is a hit if its nearest candidate is one of its gold translations. Candidates whose scores are within `TIE` of
   the best are tied and share the hit: (gold among the tied) / (tied), the expectation of drawing one of them. States that
   are all alike score exactly chance.
3. Forward is source -> target, backward is target -> source; `two_way_precision` measures both and pools them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from prealign.errors import DivergedError
from prealign.evaluation.score import Score
from prealign.evaluation.statistics import wilson

# L layers, N and M forms of source and target, Q queries, D width

TIE = 1e-6
"""Cosines closer than this are equal: the same word encoded in two batches differs by as much in float32."""
_ROWS = 1024
"""Queries compared at once; memory is _ROWS * candidates."""


class Metric(NamedTuple):
    """One metric over Q queries: hits (L, Q) in 0..1, hits of a guess (Q,), and how many queries an item has."""

    name: str
    hits: Tensor
    chance: Tensor
    queries_per_item: int = 1

    def where(self, chosen: Tensor) -> Metric:
        """Return the metric over the queries that a mask (Q,) chooses."""
        return self._replace(hits=self.hits[:, chosen], chance=self.chance[chosen])

    def scores(self, **fields: Any) -> list[Score]:
        """Return one score a layer, with Wilson's interval; none without queries. fields: those of `Score`.

        Pooled, an item is queried in both directions, and its two hits depend on each other. Therefore n is the number of
        queries over `queries_per_item`, rounded up, which never makes the interval too narrow.
        """
        queries = self.hits.shape[1]
        if not queries:
            return []
        n, chance = -(-queries // self.queries_per_item), float(self.chance.mean())
        intervals = [wilson(share * n, n)._asdict() for share in self.hits.mean(dim=1).tolist()]
        shared: dict[str, Any] = {"metric": self.name, "n": n, "chance": chance, **fields}
        return [Score(layer=layer, **interval, **shared) for layer, interval in enumerate(intervals)]


def retrieval_hits(
    queries: Tensor,
    candidates: Tensor,
    gold: Tensor,
    csls_neighbours: int | None = None,
    vocabulary: Tensor | None = None,
) -> Tensor:
    """Return hits in 0..1 (Q,), float64, of queries (Q, D) among candidates (M, D).

    `gold` (Q, M) bool, on the CPU, marks translations. The nearest is by cosine, or by CSLS over `csls_neighbours` nearest
    (all there are, if fewer) of `vocabulary` (N, D), the forms of the queries' language; None: the queries alone. Memory is
    bounded in Q.
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


def two_way_precision(
    source: Tensor,
    target: Tensor,
    gold: Tensor,
    neighbours: Mapping[str, int | None],
    queries: tuple[Tensor, Tensor] | None = None,
) -> dict[str, Metric]:
    """Return P@1 under each name of `neighbours`, as NAME_forward, NAME_backward and, pooled, NAME.

    source (L, N, D), target (L, M, D): states of all forms, which are the candidates and the neighbourhoods of CSLS.
    gold (N, M) bool. neighbours: metric name -> k of CSLS, None: by cosine. queries: indices of the forms that are queries,
    of the source and of the target; None: all. Chance is the mean share of gold translations among the candidates. Raises
    DivergedError on states that are not finite.
    """
    _refuse_divergence(source, target)
    rows = queries or (torch.arange(len(gold)), torch.arange(gold.shape[1]))
    ways = {
        "forward": (source, target, rows[0], gold[rows[0]]),
        "backward": (target, source, rows[1], gold.T[rows[1]]),
    }
    metrics: dict[str, Metric] = {}
    for name, k in neighbours.items():
        parts = [
            Metric(f"{name}_{way}", _hits_by_layer(forms, others, chosen, right, k), right.double().mean(dim=1))
            for way, (forms, others, chosen, right) in ways.items()
        ]
        metrics |= {part.name: part for part in parts}
        hits, chance = torch.cat([p.hits for p in parts], dim=1), torch.cat([p.chance for p in parts])
        metrics[name] = Metric(name, hits, chance, queries_per_item=2)
    return metrics


def hit_lists(metrics: Mapping[str, Metric]) -> dict[str, list[list[float]]]:
    """Return the hits of every metric that is not pooled, a list of queries a layer: ready for JSON."""
    return {name: metric.hits.tolist() for name, metric in metrics.items() if metric.queries_per_item == 1}


def _hits_by_layer(forms: Tensor, others: Tensor, rows: Tensor, gold: Tensor, neighbours: int | None) -> Tensor:
    """Return `retrieval_hits` (L, Q) of the forms (L, N, D) in `rows` (Q,) among the others (L, M, D)."""
    layers = zip(forms, others, strict=True)
    return torch.stack([retrieval_hits(own[rows], other, gold, neighbours, vocabulary=own) for own, other in layers])


def _neighbourhood(queries: Tensor, candidates: Tensor, neighbours: int) -> Tensor:
    """Return r of CSLS (N,): mean cosine of unit queries (N, D) with their nearest unit candidates (M, D)."""
    k = min(neighbours, len(candidates))
    rows = [(rows @ candidates.T).topk(k, dim=1).values.mean(dim=1) for rows in queries.split(_ROWS)]
    return torch.cat(rows)


def _refuse_divergence(*states: Tensor) -> None:
    for layers in states:
        broken = [layer for layer, forms in enumerate(layers) if not forms.isfinite().all()]
        if broken:
            raise DivergedError(f"the states of words or sentences are not finite at layers {broken}")
