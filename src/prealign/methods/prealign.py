"""PreAlign (Li et al., EMNLP 2024), its ablations, and the additions of this project.

1. Stage 1 (`align.steps` above 0): train weight · L_align + lm_weight · L_LM on unswitched text, from the initial
   model. With `align.until` it ends as soon as the words are aligned (`prealign.methods.goal`).
2. Stage 2: train L_LM on code-switched text. `sustain.weight` above 0 keeps the alignment loss on (an addition).
3. `next_word`: stage 2 also predicts translations of the next word. `twin_mask`: translations of a label do not count as
   wrong answers. `twin_adam`: translations share the second moment of AdamW (additions).
4. `anchor.enabled` ties target embedding rows to source rows in both stages (an addition).

Joint training is this method without stage 1 and without switching.
"""

from __future__ import annotations

from typing import Any, ClassVar

from prealign.methods.alignment.objective import WordFormAlignment
from prealign.methods.alignment.states import bos_id
from prealign.methods.goal import Goal
from prealign.methods.peers.copy_rows import CopiedRows
from prealign.methods.peers.next_word import NextWord
from prealign.methods.peers.twin_adam import TwinCoupling
from prealign.methods.peers.twin_mask import TwinMask
from prealign.methods.phase import Initialisation, Inputs, Method, Phase, Term, main_phase
from prealign.methods.schedule import Schedule
from prealign.methods.switching.rewriting import CodeSwitching
from prealign.methods.vocabulary.anchored import AnchoredVocabulary, LexiconAnchors
from prealign.recipe.methods import (
    AlignSection,
    AnchorEstimate,
    AnchorSection,
    NextWordSection,
    SustainSection,
    SwitchSection,
    TwinAdamSection,
    TwinMaskSection,
)
from prealign.recipe.section import Section
from prealign.recipe.sections import LexiconSection, PretrainSection


class PreAlign(Method):
    """The paper's method: align words first, then pretrain with input-only code-switching."""

    label: ClassVar[str] = "PreAlign"
    description: ClassVar[str] = "words aligned before pretraining, then input-only code-switching"
    citation: ClassVar[str] = (
        "Li, Huang, Ching, Dai, Chen: PreAlign: Boosting Cross-Lingual Transfer by Early Establishment of Multilingual "
        "Alignment. EMNLP 2024. arXiv:2407.16222"
    )

    class Settings(Section):
        """The sections of the recipe that PreAlign reads."""

        align: AlignSection
        switch: SwitchSection
        sustain: SustainSection
        anchor: AnchorSection
        pretrain: PretrainSection
        lexicon: LexiconSection
        next_word: NextWordSection | None = None
        twin_mask: TwinMaskSection | None = None
        twin_adam: TwinAdamSection | None = None

    def phases(self, settings: Settings, inputs: Inputs) -> list[Phase]:
        """Return stage 1 (if `align.steps` is above 0) and stage 2."""
        initialisations = _initialisations(settings, inputs)
        stage_2 = main_phase(
            settings.pretrain,
            terms=(*_sustained(settings, inputs), *_of_text(settings, inputs)),
            rewriting=_switching(settings, inputs),
            initialisations=initialisations,
            coupling=None if settings.twin_adam is None else TwinCoupling(inputs, settings.anchor),
        )
        align = settings.align
        if not align.steps:
            return [stage_2]
        stage_1 = Phase(
            name="align",
            steps=align.steps,
            batch_size=align.lm_batch_size,
            context=settings.pretrain.context,
            learning_rate=align.learning_rate,
            weight_decay=align.weight_decay,
            warmup=align.warmup,
            lm_weight=align.lm_weight,
            lm_every=align.lm_every,
            embedding_rate=align.embedding_rate,
            terms=(Term(_alignment(settings, inputs, align.pairs_per_batch), align.weight),),
            initialisations=(*_start(settings, inputs), *initialisations),
            freeze_body=align.freeze_body,
            goal=Goal(align.until, inputs.words, len(inputs.languages) - 1, align.layers),
        )
        return [stage_1, stage_2]


def _alignment(settings: PreAlign.Settings, inputs: Inputs, groups: int, **more: Any) -> WordFormAlignment:
    align = settings.align
    shared: dict[str, Any] = {
        "temperature": align.temperature,
        "layers": align.layers,
        "bos": bos_id(inputs.tokenizer) if align.bos and inputs.tokenizer else None,
        "micro_pairs": align.micro_pairs,
        "senses": align.senses,
        "neighbours": align.neighbours,
        "seed": inputs.seed,
    }
    return WordFormAlignment(inputs.words, groups=groups, **shared | more)


def _sustained(settings: PreAlign.Settings, inputs: Inputs) -> tuple[Term, ...]:
    sustain = settings.sustain
    if not sustain.weight:
        return ()
    layers = sustain.layers or settings.align.layers
    objective = _alignment(settings, inputs, sustain.groups, layers=layers, one_way=sustain.one_way)
    return (Term(objective, sustain.weight, sustain.every, Schedule.of(sustain.schedule)),)


def _of_text(settings: PreAlign.Settings, inputs: Inputs) -> tuple[Term, ...]:
    pretrain, terms = settings.pretrain, []
    tokens = pretrain.batch_size * pretrain.context
    if (next_word := settings.next_word) is not None:
        senses = settings.lexicon.maximum_senses
        objective = NextWord(next_word, inputs, anchor=settings.anchor, maximum_senses=senses, text_tokens=tokens)
        terms.append(Term(objective, next_word.weight, schedule=Schedule.of(next_word.schedule)))
    if (twin_mask := settings.twin_mask) is not None:
        mask = TwinMask(twin_mask, inputs, anchor=settings.anchor, text_tokens=tokens)
        terms.append(Term(mask, schedule=Schedule.of(twin_mask.schedule)))
    return tuple(terms)


def _switching(settings: PreAlign.Settings, inputs: Inputs) -> CodeSwitching | None:
    if not settings.switch.ratio:
        return None
    return CodeSwitching(settings.switch, inputs, maximum_senses=settings.lexicon.maximum_senses)


def _start(settings: PreAlign.Settings, inputs: Inputs) -> tuple[Initialisation, ...]:
    """Return what stage 1 does to the rows before its first step, and stage 2 does not."""
    if settings.align.start is None:
        return ()
    estimate = settings.anchor.model_dump(include=set(AnchorEstimate.model_fields))
    return (CopiedRows(LexiconAnchors(inputs.words, inputs.token_counts, inputs.languages, **estimate)),)


def _initialisations(settings: PreAlign.Settings, inputs: Inputs) -> tuple[Initialisation, ...]:
    anchor = settings.anchor
    if not anchor.enabled:
        return ()
    options = anchor.model_dump(exclude={"enabled"})
    return (AnchoredVocabulary(inputs.words, inputs.token_counts, inputs.languages, **options),)
