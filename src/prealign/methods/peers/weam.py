"""WEAM with a pointer: from the state of a word, point at its translation in the other sentence.

1. Tokens of a pair of sentences that the lexicon links are partners (`prealign.methods.sentences.pairs.Partners`). The
   paper takes alignments from a statistical aligner or a lexicon.
2. For a token i with partners, with h the states of the two sentences, which are encoded by themselves:
       score(i, j) = (W_q h_i) · (W_k h_j) / sqrt(D)     for all positions j of the other sentence
       loss        = -mean over the partners p of i of log softmax_j(score(i, j))(p)
   The loss of a step is the mean over all such tokens, of both sides and of all ranks.
3. `share` of the steps read pairs as documents. W_q and W_k (D, D) start as N(0, 0.02) and are left out of the checkpoint.

The other causal form of WEAM predicts the translation of the next word (`prealign.methods.peers.next_word`). [choice] States
of the last layer; the weight 0.3 of that form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from prealign.methods.alignment.objective import mean_of_ranks
from prealign.methods.phase import BitextShare, Inputs, Method, Phase, Term, main_phase, required_bitext
from prealign.methods.sentences.added_module import AddedModule
from prealign.methods.sentences.objective import PRODUCT, SentenceObjective
from prealign.methods.sentences.pairs import Partners, SentencePairs
from prealign.methods.sentences.states import SentenceEncoder, SentenceSettings
from prealign.recipe.methods import AnchorSection
from prealign.recipe.section import Rate

# S pairs of a step, n tokens of the longest sentence, D width, M tokens with partners

_MODULE, _SPREAD = "weam", 0.02


@dataclass(frozen=True)
class Pointer(SentenceObjective):
    """The pointer at the partners of a token."""

    partners: Partners
    name = _MODULE

    def module(self, model: Any) -> nn.Module:
        """Return the module with W_q and W_k, at its start."""
        width, generator = model.config.hidden_size, torch.Generator().manual_seed(self.data.seed)
        made = nn.Module()
        for name in ("query", "key"):
            start = torch.empty(width, width).normal_(0, _SPREAD, generator=generator)
            made.register_parameter(name, nn.Parameter(start.to(model.get_input_embeddings().weight)))
        return made

    def batch(self, step: int, rank: int = 0, ranks: int = 1) -> dict[str, Tensor]:
        """Return ids (2 S, n), lengths (2 S,) and partners (S, n, n)."""
        batch = super().batch(step, rank, ranks)
        return batch | {"partners": self.partners.find(**batch)}

    # Batches have many shapes, and torch.compile would compile each.
    @torch.compiler.disable
    def encode(self, model: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return "scores" (2 S, n, n): positions of the other sentence for each token, the sources' tokens first."""
        states, module = self.encoder.tokens(model, batch["ids"]), model.get_submodule(_MODULE)
        with torch.autocast(states.device.type, enabled=False):
            queries, keys = (states @ module.get_parameter(name).to(states.dtype).T for name in ("query", "key"))
            others = keys.roll(len(keys) // 2, 0)  # row i has the translation of sentence i
            return {"scores": queries @ others.mT / states.shape[2] ** 0.5}

    def loss(self, encoded: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return "weam": the mean over the tokens with partners of all ranks, 0 without any."""
        losses = pointer_losses(encoded["scores"], batch["lengths"], batch["partners"])
        number = mean_of_ranks(losses.new_tensor(float(len(losses)))).clamp(min=1)
        return {"weam": losses.sum() / number}

    def score_flops(self, model: Any, devices: int) -> float:
        """Return the FLOPs of queries, keys and scores."""
        width, length = model.config.hidden_size, self.data.mean_tokens
        return PRODUCT * 2 * self.size * length * width * (2 * width + length)

    def describe(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return super().describe() | self.partners.describe()


def pointer_losses(scores: Tensor, lengths: Tensor, partners: Tensor) -> Tensor:
    """Return the losses (M,) of scores (2 S, n, n) with partners (S, n, n); lengths (2 S,)."""
    known = torch.cat([partners, partners.mT])  # (2 S, n, n)
    length = lengths.roll(len(lengths) // 2)  # of the other sentence
    outside = torch.arange(scores.shape[2], device=scores.device) >= length[:, None]  # (2 S, n)
    shares = scores.masked_fill(outside[:, None], -torch.inf).log_softmax(2)
    number = known.sum(2)  # (2 S, n)
    return -shares.masked_fill(~known, 0.0).sum(2)[number > 0] / number[number > 0]


class Weam(Method):
    """Joint training in which tokens of parallel text point at their translations."""

    label: ClassVar[str] = "WEAM, pointer"
    description: ClassVar[str] = "joint training on parallel text too, tokens point at their translations"
    citation: ClassVar[str] = (
        "Yang, Ma, Cui, Ye, Che, Wang: Bilingual Alignment Pre-Training for Zero-Shot Cross-Lingual Transfer. MRQA 2021. "
        "arXiv:2106.01732"
    )

    class Settings(SentenceSettings):
        """The weight of the pointer, and how much parallel text is read as documents."""

        anchor: AnchorSection
        share: Annotated[float, Field(gt=0, le=1)] = 0.1
        """Of the steps, which read documents of parallel text."""
        weight: Rate = 0.3
        """Weight of the loss beside L_LM."""

    def phases(self, settings: Settings, inputs: Inputs) -> list[Phase]:
        """Return the main phase. RecipeError for a recipe without parallel text."""
        data = SentencePairs(required_bitext(inputs, "weam"), inputs.seed)
        pointer = Pointer(
            SentenceEncoder.of("weam", settings, inputs), data, settings.pairs, Partners(inputs, settings.anchor)
        )
        return [
            main_phase(
                settings.pretrain,
                terms=(Term(pointer, settings.weight),),
                bitext=BitextShare(settings.share),
                initialisations=(AddedModule(_MODULE, pointer.module),),
            )
        ]
