"""VECO 2.0: contrast of sentences, and of the tokens that translate each other within a pair.

1. Sentences: the contrast of a batch, from source to translation and back. A sentence is the mean of its tokens' states.
2. Tokens: those that the lexicon links (`prealign.methods.sentences.pairs.Partners`) are partners. For a token i of
   either side and each of its partners p, with s the cosine over the temperature,
       loss = -log( exp s(i, p) / (exp s(i, p) + sum over tokens u of the pair without partners of exp s(i, u)) )
   The loss of a step is the mean over all (i, p) of all ranks. A pair whose tokens all have partners adds 0.
3. `share` of the steps read pairs as documents. Both sides of a pair are encoded by themselves: in one sequence the second
   side would see the first and could solve the contrast of tokens by copying.

The paper gives no settings in its abstract, and has no code. [choice] Temperature 0.1, middle layer, both losses weigh 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from prealign.methods.alignment.objective import mean_of_ranks
from prealign.methods.phase import BitextShare, Inputs, Method, Phase, Term, main_phase, required_bitext
from prealign.methods.sentences.objective import PRODUCT, SentenceObjective, contrast_flops, sentence_contrast
from prealign.methods.sentences.pairs import Partners, SentencePairs
from prealign.methods.sentences.states import SentenceEncoder, SentenceSettings, pooled
from prealign.recipe.methods import AnchorSection
from prealign.recipe.section import Rate, Temperature

# S pairs of a step, n tokens of the longest sentence, D width, P pairs of partners in both directions


@dataclass(frozen=True)
class TwoContrasts(SentenceObjective):
    """The contrasts of sentences and tokens at a temperature."""

    partners: Partners
    temperature: float
    name = "veco"

    def batch(self, step: int, rank: int = 0, ranks: int = 1) -> dict[str, Tensor]:
        """Return ids (2 S, n), lengths (2 S,) and partners (S, n, n)."""
        batch = super().batch(step, rank, ranks)
        return batch | {"partners": self.partners.find(**batch)}

    # Batches have many shapes, and torch.compile would compile each.
    @torch.compiler.disable
    def encode(self, model: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return "tokens" (2 S, n, D)."""
        return {"tokens": self.encoder.tokens(model, batch["ids"])}

    def loss(self, encoded: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return "veco_sentences" and "veco_tokens"."""
        tokens, lengths = encoded["tokens"], batch["lengths"]
        sources, targets = pooled(tokens, lengths, self.encoder.pooling).chunk(2)
        losses = token_contrast(tokens, lengths, batch["partners"], self.temperature)
        number = mean_of_ranks(losses.new_tensor(float(len(losses)))).clamp(min=1)
        return {
            "veco_sentences": sentence_contrast(sources, targets, self.temperature, both_ways=True),
            "veco_tokens": losses.sum() / number,
        }

    def score_flops(self, model: Any, devices: int) -> float:
        """Return the FLOPs of both kinds of similarities."""
        width = model.config.hidden_size
        within = PRODUCT * self.size * (2 * self.data.mean_tokens) ** 2 * width
        return contrast_flops(devices * self.size, width) + within

    def describe(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return super().describe() | {"temperature": self.temperature, **self.partners.describe()}


def token_contrast(tokens: Tensor, lengths: Tensor, partners: Tensor, temperature: float) -> Tensor:
    """Return the losses (P,) of tokens (2 S, n, D) with partners (S, n, n); lengths (2 S,)."""
    states = F.normalize(torch.cat(tokens.chunk(2), dim=1), dim=2)  # (S, 2 n, D)
    with torch.autocast(states.device.type, enabled=False):
        similarities = states @ states.mT / temperature  # (S, 2 n, 2 n)
    n = tokens.shape[1]
    known = F.pad(partners, (n, 0, 0, n)) | F.pad(partners.mT, (0, n, n, 0))  # (S, 2 n, 2 n)
    own = torch.arange(n, device=tokens.device) < lengths[:, None]  # (2 S, n), False on padding
    alone = torch.cat(own.chunk(2), dim=1) & ~known.any(2)  # (S, 2 n)
    lowest = torch.finfo(similarities.dtype).min / 2  # not -inf, whose gradient is not a number
    negatives = similarities.masked_fill(~alone[:, None], lowest).logsumexp(2, keepdim=True)
    return F.softplus(negatives - similarities)[known]


class Veco(Method):
    """Joint training that contrasts sentences and tokens of parallel text."""

    label: ClassVar[str] = "VECO 2.0"
    description: ClassVar[str] = "joint training on parallel text too, sentences and linked tokens contrasted"
    citation: ClassVar[str] = (
        "Zhang, Tan, Huang, Huang: VECO 2.0: Cross-lingual Language Model Pre-training with Multi-granularity Contrastive "
        "Learning. 2023. arXiv:2304.08205"
    )

    class Settings(SentenceSettings):
        """The contrasts, and how much parallel text is read as documents."""

        anchor: AnchorSection
        share: Annotated[float, Field(gt=0, le=1)] = 0.1
        """Of the steps, which read documents of parallel text."""
        temperature: Temperature = 0.1
        """Temperature of both contrasts."""
        weight: Rate = 1.0
        """Weight of the sum of both contrasts beside L_LM."""

    def phases(self, settings: Settings, inputs: Inputs) -> list[Phase]:
        """Return the main phase. RecipeError for a recipe without parallel text."""
        data = SentencePairs(required_bitext(inputs, "veco"), inputs.seed)
        encoder, partners = SentenceEncoder.of("veco", settings, inputs, depth=0.5), Partners(inputs, settings.anchor)
        contrasts = TwoContrasts(encoder, data, settings.pairs, partners, settings.temperature)
        term = Term(contrasts, settings.weight)
        return [main_phase(settings.pretrain, terms=(term,), bitext=BitextShare(settings.share))]
