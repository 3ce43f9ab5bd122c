"""The recipe sections of the method PreAlign: alignment, code-switching, sustained alignment, anchored vocabulary."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from prealign.recipe.section import Count, Positive, Rate, SchedulePoints, Section, Share, Temperature

Layers = Literal["all", "embedding", "blocks", "lower_blocks", "output"]
"""Layers of words' states: all, the input embedding, the blocks, the lower half of the blocks, the output embedding."""

ESTABLISHED = 0.8
"""P@1 of seen word pairs after stage 1 below which the alignment is not established (docs/method.md)."""


class AlignSection(Section):
    """Stage 1: alignment before pretraining. The loss is weight · L_align + lm_weight · L_LM."""

    steps: Count = 5000
    """Number of optimiser steps; with `until`, their maximum. 0 leaves stage 1 out, as in joint training."""
    until: Annotated[float, Field(gt=0, le=1)] | None = None
    """P@1 at which stage 1 ends, for example 0.9: that of seen word pairs in every target language, at the blocks, or at
    the layers of `layers` if these are not all. It is measured on a sample of 500 pairs, and its cost is part of the budget.
    The learning rate then stays at its peak until this is reached, and falls to 0 over a tenth as many steps. What stage 1
    saves of its `steps` goes to stage 2. null: all `steps` are trained."""
    pairs_per_batch: Positive = 256
    """Translation groups per device and step."""
    micro_pairs: Positive | None = None
    """Translation groups whose activations are in memory at once, in stage 1 and in sustained alignment. It lowers
    memory and does not change the step: words are encoded a second time in the backward pass. null: all groups at
    once."""
    senses: Literal["all", "one"] = "all"
    """Translations of a word in a batch, in stage 1 and in sustained alignment. `all`: every one that the lexicon keeps.
    `one`: one per target language, drawn in each pass over the lexicon anew; a step then costs a fraction."""
    neighbours: Positive = 1
    """Words that come into a batch together because they are neighbours in the order of their tokens, in stage 1 and in
    sustained alignment: words that begin alike are hard negatives of each other. 1: words in random order."""
    temperature: Temperature = 0.1
    """Temperature tau of the contrastive loss L_align, 0.001 to 1000."""
    weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of L_align."""
    lm_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of L_LM. 0 leaves language modelling out of stage 1."""
    lm_batch_size: Positive = 16
    """Blocks of text per device and step for L_LM."""
    lm_every: Positive = 1
    """L_LM is part of the loss at every `lm_every`-th step. The other steps read no text, and cost the words alone."""
    layers: Layers = "all"
    """Layers that L_align averages over: `all`, `embedding` (the input embedding), `blocks`, `lower_blocks` (the first
    half of them, rounded up) or `output` (the output embedding)."""
    start: Literal["translations"] | None = None
    """Rows of target tokens before the first step. `translations`: the weighted means of their translations' rows, as far
    as the lexicon links them; `anchor.frequency_ratio`, `anchor.em_rounds` and `anchor.sources_per_row` decide the links.
    null: those of the initial model."""
    learning_rate: Rate = 5e-4
    """Peak learning rate of AdamW; it decays by a cosine schedule."""
    embedding_rate: Rate = 1.0
    """Factor on the learning rate of the input and the output embedding."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    """Weight decay of AdamW."""
    warmup: Share = 0.05
    """Share of the steps in which the learning rate rises from 0 to its peak."""
    bos: bool = False
    """Whether each word is encoded after BOS (EOS if there is no BOS). BOS is never part of the word's state."""
    freeze_body: bool = False
    """Whether stage 1 trains only the input and output embeddings."""


class SwitchSection(Section):
    """Code-switching in stage 2."""

    ratio: Share = 0.05
    """Probability that a source word of the lexicon is replaced by a translation. 0 turns code-switching off."""
    mode: Literal["input_only", "vanilla"] = "input_only"
    """Labels of replaced words. `input_only`: the source word's first token, so the model never has to predict the
    translation. `vanilla`: the tokens of the translation."""
    targets: dict[str, Annotated[float, Field(ge=0)]] = Field(default={})
    """Relative frequency of each target language among the languages that translate a word. A missing language has 1, a
    language with 0 is never drawn. Empty: all alike."""
    target_ratio: Share = 0.0
    """Probability that a word of *target* text is replaced by the source word that it translates. 0, as in the paper,
    switches source text only."""
    schedule: SchedulePoints = Field(default=[])
    """Factor on both probabilities over the course of the stage, as points [[progress, factor], …]. For example
    [[0, 1], [0.8, 0]] switches early and reads monolingual text at the end. Empty: the factor is 1."""


class SustainSection(Section):
    """Sustained alignment: stage 2 adds weight · L_align to its loss."""

    weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight of L_align in stage 2. 0, as in the paper, turns sustained alignment off."""
    groups: Positive = 64
    """Translation groups per device in each step with L_align."""
    every: Positive = 1
    """L_align is added at every `every`-th step. 1: at every step."""
    layers: Layers | None = None
    """Layers that L_align averages over in stage 2. null: those of `align.layers`."""
    one_way: bool = False
    """Whether L_align moves target words only. The states of source words are then constants, and cost no backward."""
    schedule: SchedulePoints = Field(default=[])
    """Factor on the weight over the course of the stage, as points [[progress, factor], …]. Empty: the factor is 1."""


class AnchorEstimate(Section):
    """How M, the shares of source rows in the rows of their translations, is estimated from the lexicon."""

    frequency_ratio: Rate = 20.0
    """Minimum ratio of a token's frequency in target text to its frequency in source text; rarer tokens stay free."""
    em_rounds: Positive = 3
    """Rounds of expectation-maximisation that estimate M."""
    sources_per_row: Positive = 8
    """Maximum number of source tokens in a row of M; the heaviest are kept."""


class AnchorSection(AnchorEstimate):
    """Anchored vocabulary: an anchored target row is M · source rows + residual + language vector."""

    enabled: bool = False
    """Whether target rows are anchored, in both stages. The arm decides it; the other settings are the recipe's."""
    residual_rate: Rate = 1.0
    """Learning speed of the residual relative to other weights. Below 1, anchored rows stay nearer to their sources."""


class NextWordSection(Section):
    """Bilingual next word: stage 2 also predicts translations of the next word. Without the section it is off.

    `anchor.frequency_ratio` decides which tokens belong to a target language, `anchor.em_rounds` how links are
    estimated.
    """

    weight: Rate = 0.3
    """Weight of the loss on translations, beside L_LM."""
    level: Literal["token", "word"] = "token"
    """Unit of translation. `token`: the translations of each token, linked by the subwords of the lexicon. `word`: the
    first token of one drawn translation of each word."""
    translations: Positive = 4
    """Maximum number of linked tokens per label; the heaviest are kept. Only for level `token`."""
    symmetric: bool = True
    """Whether target text also predicts its translations into the source language."""
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the labels with a translation that the loss uses, drawn by seed. 1 uses all."""
    schedule: SchedulePoints = Field(default=[])
    """Factor on the weight over the course of the stage, as points [[progress, factor], …]. Empty: the factor is 1."""


class TwinMaskSection(Section):
    """Twin-masked softmax: in L_LM, translations of a label hardly count as wrong. Without the section it is off.

    `anchor.frequency_ratio` decides which tokens belong to a target language, `anchor.em_rounds` how links are
    estimated.
    """

    gamma: Share = 0.1
    """Factor on linked translations in the denominator of the softmax. 0 removes them, 1 is the plain softmax."""
    twins: Positive = 8
    """Maximum number of linked translations per label; the heaviest are kept."""
    schedule: SchedulePoints = Field(default=[])
    """Factor on the correction of L_LM over the course of the stage, as points [[progress, factor], …]. For example
    [[0.9, 1], [1, 0]] ends with the plain softmax. Empty: the factor is 1."""


class TwinAdamSection(Section):
    """Twin-coupled AdamW: in stage 2, rows of tokens that translate each other share their second moment. Without the
    section it is off; it has no settings of its own (`twin_adam: {}`).

    `anchor.frequency_ratio` decides which tokens belong to a target language, `anchor.em_rounds` how links are
    estimated.
    """
