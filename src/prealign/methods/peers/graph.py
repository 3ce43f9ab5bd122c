"""GraphMerge: embeddings mix with those of their translations, E' = W_n (G E) + W_s E a hop.

1. Estimate M (target token <- source tokens) from the lexicon, as the anchored vocabulary does. The graph G has the rows of
   M for target tokens and the columns of M, normalised to 1, for source tokens. A hop goes in both directions [choice: the
   paper aligns in both directions]. Tokens without a pair have no neighbours.
2. A hop computes E' = W_n (G E) + W_s E. W_n and W_s are learned (D, D) matrices of the hop. They start as 0 and I, so
   training starts from the model's embeddings [choice]. Input and output embedding have separate matrices; tied embeddings
   share them.
3. Each step computes E' from the trained E. `export` writes E' as plain weights.

The FLOPs of the hops count in the arm's budget.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from prealign.methods.flops import BACKWARD
from prealign.methods.phase import Cost, Inputs, Method, Phase, main_phase
from prealign.methods.vocabulary.anchored import LexiconAnchors
from prealign.methods.vocabulary.parametrised import ParametrisedVocabulary, parametrise
from prealign.recipe.methods import AnchorEstimate
from prealign.recipe.section import Positive
from prealign.recipe.sections import PretrainSection

# V rows of the embedding, D width, H hops, N entries of G


def both_ways(anchors: sparse.csr_matrix) -> sparse.csr_matrix:
    """Return G (V, V): M, and M transposed with rows that sum to 1. No token has entries in both."""
    back = anchors.T.tocsr()
    sums = np.asarray(back.sum(1)).ravel()
    return (anchors + sparse.diags(np.divide(1, sums, out=np.zeros_like(sums), where=sums > 0)) @ back).tocsr()


class GraphMerge(nn.Module):
    """The parametrisation: E (V, D) -> H hops of W_n (G E) + W_s E.

    graph: G (V, V) sparse. width: D.
    """

    row: Tensor
    column: Tensor
    share: Tensor

    def __init__(self, graph: sparse.csr_matrix, width: int, hops: int) -> None:
        super().__init__()
        entries = graph.tocoo()
        self.register_buffer("row", torch.from_numpy(entries.row.astype(np.int64)), persistent=False)
        self.register_buffer("column", torch.from_numpy(entries.col.astype(np.int64)), persistent=False)
        self.register_buffer("share", torch.from_numpy(entries.data.astype(np.float32)), persistent=False)
        self.neighbours = nn.Parameter(torch.zeros(hops, width, width))  # W_n of each hop
        self.own = nn.Parameter(torch.eye(width).repeat(hops, 1, 1))  # W_s of each hop

    def forward(self, weight: Tensor) -> Tensor:
        """Return the embedding that the model uses (V, D), in the precision of `weight`."""
        rows = weight
        for neighbours, own in zip(self.neighbours, self.own, strict=True):
            parts = rows[self.column] * self.share[:, None].to(rows.dtype)  # (N, D)
            mixed = torch.zeros_like(rows).index_add(0, self.row, parts)  # G E
            rows = (mixed @ neighbours.T + rows @ own.T).to(weight.dtype)
        return rows


class MergedVocabulary(ParametrisedVocabulary):
    """The graph of a lexicon on the embeddings of a model, which starts with the outputs that the model has."""

    action = "merges the vocabulary over a graph"

    def __init__(self, anchors: LexiconAnchors, hops: int = 1) -> None:
        self.anchors, self.hops = anchors, hops

    def apply(self, model: Any, *, fresh: bool) -> None:
        """Register the hops. LexiconError if no pair reaches a row of a target language."""
        graph = both_ways(self.anchors.estimate()[0])
        self.changed = int((np.diff(graph.indptr) > 0).sum())

        def make(weight: Tensor) -> GraphMerge:
            graph.resize(len(weight), len(weight))
            return GraphMerge(graph, weight.shape[1], self.hops)

        parametrise(model, make)

    def step_cost(self, model: Any) -> Cost:
        """Return the FLOPs of two products (V, D) x (D, D) a hop and embedding, forward and backward; those of G are few."""
        rows, width = model.get_input_embeddings().weight.shape
        products = 2 * 2 * self.hops  # two a hop, for the input and for the output embedding, tied or not
        return Cost((1 + BACKWARD) * products * 2 * rows * width**2)

    def memory(self, model: Any) -> float:
        """Return the bytes of G E and E' of each hop."""
        return self.hops * super().memory(model)

    def describe(self) -> dict[str, Any]:
        """Return the settings."""
        return {"initialisation": "graph", **self.anchors.describe(), "hops": self.hops}


class Graph(Method):
    """Joint training in which embeddings mix with their translations' over a graph."""

    label: ClassVar[str] = "GraphMerge"
    description: ClassVar[str] = "joint training, embeddings mixed with their translations' by learned matrices"
    citation: ClassVar[str] = (
        "Wu, Monz: Beyond Shared Vocabulary: Increasing Representational Word Similarities across Languages for "
        "Multilingual Machine Translation. EMNLP 2023. arXiv:2305.14189"
    )

    class Settings(AnchorEstimate):
        """How the graph is estimated, its hops, and the sections of the recipe that the method reads."""

        pretrain: PretrainSection
        hops: Positive = 1
        """Number of times that embeddings mix with those of their translations. Each hop has its own two matrices."""

    def phases(self, settings: Settings, inputs: Inputs) -> list[Phase]:
        """Return the main phase."""
        estimate = settings.model_dump(exclude={"pretrain", "hops"})
        anchors = LexiconAnchors(inputs.words, inputs.token_counts, inputs.languages, **estimate)
        return [main_phase(settings.pretrain, initialisations=(MergedVocabulary(anchors, settings.hops),))]
