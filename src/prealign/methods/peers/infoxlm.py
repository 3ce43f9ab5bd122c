"""InfoXLM: contrast of sentences with a queue (XLCo), and language modelling of joined pairs (TLM).

1. TLM: `share` of the steps read documents of a sentence and its translation, in both orders. For causal models TLM is the
   ordinary L_LM of such documents [choice].
2. XLCo in every step (`prealign.methods.peers.xlco`): a slow copy of the model gives the keys, a queue the negatives.
3. XLCo weighs by count, as in the paper's code: the queries of a step over its tokens of text.

[choice] A sentence is the mean of its tokens at layer round(2L/3), as the paper's layer 8 of 12. The momentum goes with the
length of training: 1 - momentum = 15 / `pretrain.steps`, which is 0.9999 at the paper's 150,000 steps. The queue has 64
batches; the paper's has 131,072 keys.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from prealign.methods.peers.added_module import AddedModule
from prealign.methods.peers.sentence_pairs import SentencePairs
from prealign.methods.peers.sentence_states import Pooling, SentenceEncoder, SentenceSettings
from prealign.methods.peers.xlco import MODULE, XLCo
from prealign.methods.phase import BitextShare, Inputs, Method, Phase, Term, main_phase, required_bitext
from prealign.recipe.section import Positive, Rate

_TIME_CONSTANTS = 15
"""Of the slow copy in a whole training: 150,000 steps at the momentum 0.9999."""


class InfoXLM(Method):
    """Joint training with translation language modelling and the contrast of sentences with a queue."""

    label: ClassVar[str] = "InfoXLM"
    description: ClassVar[str] = (
        "joint training on parallel text too, sentences contrasted with a queue of translations"
    )
    citation: ClassVar[str] = (
        "Chi, Dong, Wei, Yang, Singhal, Wang, Song, Mao, Huang, Zhou: InfoXLM: An Information-Theoretic Framework for "
        "Cross-Lingual Language Model Pre-Training. NAACL 2021. arXiv:2007.07834"
    )

    class Settings(SentenceSettings):
        """The contrast, its weight, and how much parallel text is read as documents."""

        share: Annotated[float, Field(gt=0, le=1)] = 0.1
        """Of the steps, which read documents of parallel text."""
        queue: Positive = 4096
        """Keys in the queue, 64 batches of 64 pairs or more. Twice as many pairs are needed with `mixup`."""
        momentum: Annotated[float, Field(ge=0, lt=1)] | None = None
        """Of the slow copies. null: 1 - 15 / pretrain.steps, at least 0."""
        mixup: bool = True
        """Whether a query is two sentences in random order, and its key their two translations in another."""
        pooling: Pooling = "mean"
        """State of a sentence: the mean over its tokens, or the state of its last token."""
        weight: Rate | None = None
        """Weight of XLCo beside L_LM. null: pairs / (batch_size · context) of `pretrain`: a query counts as a token."""

    def phases(self, settings: Settings, inputs: Inputs) -> list[Phase]:
        """Return the main phase. RecipeError without parallel text, or with less than the queue needs."""
        data, pretrain = SentencePairs(required_bitext(inputs, "infoxlm"), inputs.seed), settings.pretrain
        encoder = SentenceEncoder.of("infoxlm", settings, inputs, depth=2 / 3, pooling=settings.pooling)
        momentum = settings.momentum
        contrast = XLCo(
            encoder,
            data,
            size=settings.pairs,
            queue=settings.queue,
            momentum=max(0.0, 1 - _TIME_CONSTANTS / pretrain.steps) if momentum is None else momentum,
            mixup=settings.mixup,
            longest=pretrain.context - (encoder.bos is not None),
        )
        contrast.check_data()
        weight = settings.weight or settings.pairs / (pretrain.batch_size * pretrain.context)
        return [
            main_phase(
                pretrain,
                terms=(Term(contrast, weight),),
                bitext=BitextShare(settings.share),
                initialisations=(AddedModule(MODULE, contrast.module, contrast.fill_cost),),
            )
        ]
