"""Copied rows: the embeddings of target tokens start as weighted means of their translations' rows.

1. Estimate M (target token <- source tokens) from the lexicon, as the anchored vocabulary does (expectation-maximisation of
   IBM model 1 over the subwords of translation pairs).
2. Before pretraining, write E_t = M · E_s into the rows that M covers, in the input and the output embedding.
3. Pretrain jointly. All rows are free: nothing keeps the copied rows near their start.

There is no alignment and no switching, so the arm shows the effect of the start alone.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch

from prealign.methods.phase import Initialisation, Inputs, Method, Phase, main_phase
from prealign.methods.vocabulary.anchored import LexiconAnchors
from prealign.recipe.methods import AnchorEstimate
from prealign.recipe.sections import PretrainSection

# V rows of the embedding, V' rows of M


class CopiedRows(Initialisation):
    """E_t = M · E_s on the rows of the target languages that the lexicon reaches; the others keep their values.

    A pretrained model gets the rows as well: its outputs change.
    """

    def __init__(self, anchors: LexiconAnchors) -> None:
        self.anchors = anchors

    @torch.no_grad()
    def apply(self, model: Any, *, fresh: bool) -> None:
        """Write the rows. LexiconError if no pair reaches a row of a target language."""
        shares, _ = self.anchors.estimate()
        rows = np.flatnonzero(np.diff(shares.indptr))
        self.changed = len(rows)
        heads = model.get_input_embeddings(), model.get_output_embeddings()
        for weight in {id(head.weight): head.weight for head in heads}.values():  # one of tied embeddings
            means = shares[rows] @ weight[: shares.shape[1]].double().cpu().numpy()
            weight[torch.from_numpy(rows)] = torch.from_numpy(means).to(weight)

    def describe(self) -> dict[str, Any]:
        """Return the settings."""
        return {"initialisation": "copied rows", **self.anchors.describe()}


class CopyRows(Method):
    """Joint training whose target rows start as their translations' rows."""

    label: ClassVar[str] = "Copied rows"
    description: ClassVar[str] = "joint training, target rows start as the mean of their translations' rows"
    citation: ClassVar[str] = (
        "Minixhofer, Paischer, Rekabsaz: WECHSEL: Effective initialization of subword embeddings for cross-lingual transfer "
        "of monolingual language models. NAACL 2022. arXiv:2112.06598"
    )

    class Settings(AnchorEstimate):
        """How M is estimated, and the sections of the recipe that the method reads."""

        pretrain: PretrainSection

    def phases(self, settings: Settings, inputs: Inputs) -> list[Phase]:
        """Return the main phase."""
        estimate = settings.model_dump(exclude={"pretrain"})
        anchors = LexiconAnchors(inputs.words, inputs.token_counts, inputs.languages, **estimate)
        return [main_phase(settings.pretrain, initialisations=(CopiedRows(anchors),))]
