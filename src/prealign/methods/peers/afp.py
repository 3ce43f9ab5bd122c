"""AFP (align after pretraining): contrast of translations at an early layer, after pretraining.

1. Pretrain jointly, as the arm `joint`.
2. Then train for a few steps, at a fiftieth of the learning rate, on
       loss = contrast + 1.5 · L_LM
   The contrast is one-way, from a sentence to its translation, over the cosines of the joined batch at temperature 0.05. A
   sentence is the state of its last token after block 1 (or the mean of its tokens).
3. L_LM reads a sentence and its translation as one document, in both orders. The paper has instructions, answered in the
   other language half of the time; this project has parallel text instead [choice].

[choice] The second phase has 5 % of `pretrain.steps`, and 64 pairs a step. The paper adapts large models in 5,000 steps of 2
sequences a device. Its FLOPs count in the arm's budget, so the first phase is shorter than that of `joint`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from prealign.methods.phase import BitextShare, Inputs, Method, Phase, Term, main_phase, required_bitext
from prealign.methods.sentences.objective import SentenceObjective, contrast_flops, sentence_contrast
from prealign.methods.sentences.pairs import SentencePairs
from prealign.methods.sentences.states import Pooling, SentenceEncoder, SentenceSettings
from prealign.recipe.section import Count, Rate, Temperature

# S pairs of a step, n tokens of the longest sentence, D width


@dataclass(frozen=True)
class SentenceAlignment(SentenceObjective):
    """The one-way contrast at a temperature."""

    temperature: float
    name = "afp"

    # Batches have many shapes, and torch.compile would compile each.
    @torch.compiler.disable
    def encode(self, model: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return "sentences" (2 S, D)."""
        return {"sentences": self.encoder.sentences(model, batch["ids"], batch["lengths"])}

    def loss(self, encoded: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return "afp": the contrast of the batch of all ranks."""
        sources, targets = encoded["sentences"].chunk(2)
        return {"afp": sentence_contrast(sources, targets, self.temperature)}

    def score_flops(self, model: Any, devices: int) -> float:
        """Return the FLOPs of the similarities."""
        return contrast_flops(devices * self.size, model.config.hidden_size)

    def describe(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return super().describe() | {"temperature": self.temperature}


class AlignAfterPretraining(Method):
    """Joint training, then a short phase that contrasts translations."""

    label: ClassVar[str] = "AFP"
    description: ClassVar[str] = "joint training, then a short phase that contrasts sentences with their translations"
    citation: ClassVar[str] = (
        "Li, Wang, Zhang, Zong: Improving In-context Learning of Multilingual Generative Language Models with "
        "Cross-lingual Alignment (AFP). NAACL 2024. arXiv:2311.08089"
    )

    class Settings(SentenceSettings):
        """The phase after pretraining."""

        layer: Count | None = 1
        pooling: Pooling = "last"
        """State of a sentence: the mean over its tokens, or the state of its last token."""
        temperature: Temperature = 0.05
        """Temperature of the contrast."""
        weight: Rate = 1.0
        """Weight of the contrast."""
        lm_weight: Annotated[float, Field(ge=0)] = 1.5
        """Weight of L_LM in this phase."""
        share: Annotated[float, Field(gt=0, le=1)] = 0.05
        """Steps of the phase, as a share of `pretrain.steps`; at least one step."""
        learning_rate: Rate = 0.02
        """Peak learning rate of the phase, as a share of that of `pretrain`."""
        warmup: Annotated[float, Field(ge=0, le=1)] = 0.03
        """Share of the phase's steps in which the learning rate rises from 0 to its peak."""

    def phases(self, settings: Settings, inputs: Inputs) -> list[Phase]:
        """Return the main phase and the one after it. RecipeError for a recipe without parallel text."""
        data, pretrain = SentencePairs(required_bitext(inputs, "afp"), inputs.seed), settings.pretrain
        encoder = SentenceEncoder.of("afp", settings, inputs, pooling=settings.pooling)
        contrast = SentenceAlignment(encoder, data, settings.pairs, settings.temperature)
        after = Phase(
            name="afp",
            steps=max(1, round(settings.share * pretrain.steps)),
            batch_size=pretrain.batch_size,
            context=pretrain.context,
            learning_rate=settings.learning_rate * pretrain.learning_rate,
            weight_decay=pretrain.weight_decay,
            warmup=settings.warmup,
            lm_weight=settings.lm_weight,
            terms=(Term(contrast, settings.weight),),
            bitext=BitextShare(),
            freeze_body=pretrain.freeze_body,
        )
        return [main_phase(pretrain), after]
