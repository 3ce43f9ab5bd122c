"""The sections of the recipe that say how an arm trains."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from prealign.recipe.section import Count, Positive, Rate, SchedulePoints, Section, Share


class AlignSection(Section):
    """Stage 1: weight · L_align + lm_weight · L_LM. `steps: 0` leaves the stage out (that is joint training)."""

    steps: Count = 5000
    pairs_per_batch: Positive = 256
    """Translation groups a device and step."""
    micro_pairs: Positive | None = None
    """Translation groups whose activations are in memory at once; None: all. The step is the same whatever it is: words are
    encoded once more in the backward pass. Sustained alignment heeds it too."""
    temperature: Rate = 0.1
    weight: Annotated[float, Field(ge=0)] = 1.0
    lm_weight: Annotated[float, Field(ge=0)] = 1.0
    lm_batch_size: Positive = 16
    layers: Literal["all", "embedding", "output"] = "all"
    learning_rate: Rate = 5e-4
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    warmup: Share = 0.05
    bos: bool = False
    """Encode each word after BOS; BOS itself is never part of a word's representation."""
    freeze_body: bool = False
    """Whether only the embeddings, input and output, are trained in this stage."""


class SwitchSection(Section):
    """Stage 2's code-switching."""

    ratio: Share = 0.05
    mode: Literal["input_only", "vanilla"] = "input_only"
    targets: dict[str, Annotated[float, Field(ge=0)]] = Field(default={})
    """How often each target language is drawn for a substitute, in relation to the others that have a translation of the
    word; empty: all alike. A language that is left out counts 1, one with 0 is never drawn."""
    target_ratio: Share = 0.0
    """Probability that a known word of *target* text is replaced by the source word it translates; 0 is the paper."""
    schedule: SchedulePoints = Field(default=[])
    """Factor on both probabilities over the course of the stage, as [[progress, factor], …]; empty: always 1.
    [[0, 1], [0.8, 0]] switches early and reads monolingual text last."""


class SustainSection(Section):
    """Sustained alignment: every `every`-th step of stage 2 adds weight · L_align. `weight: 0` is the paper."""

    weight: Annotated[float, Field(ge=0)] = 0.0
    groups: Positive = 64
    every: Positive = 1
    schedule: SchedulePoints = Field(default=[])
    """Factor on the weight over the course of the stage, as [[progress, factor], …]; empty: always 1."""


class AnchorSection(Section):
    """Anchored vocabulary: target rows are M · source rows + residual + one vector per language."""

    enabled: bool = False
    frequency_ratio: Rate = 20.0
    """Anchored are tokens at least this many times more frequent in target than in source text."""
    em_rounds: Positive = 3
    sources_per_row: Positive = 8
    residual_rate: Rate = 1.0
    """How fast the residual is learned, relative to other weights; below 1 anchored rows stay nearer to their anchors."""


class NextWordSection(Section):
    """Bilingual next word: L_LM plus weight · the loss on translations of the next word. Without the section it is off.

    `anchor.frequency_ratio` decides which tokens belong to a target language, `anchor.em_rounds` how links are estimated.
    """

    weight: Rate = 0.3
    level: Literal["token", "word"] = "token"
    """token: translations of each token, by links estimated from the subwords of the lexicon. word: the first token of a
    drawn translation of each word."""
    translations: Positive = 4
    """At most this many linked tokens a label, the heaviest (level: token)."""
    symmetric: bool = True
    """Whether target text is scored on its translations into the source too."""
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the labels with a translation that are scored, drawn by seed."""
    schedule: SchedulePoints = Field(default=[])
    """Factor on the weight over the course of the stage, as [[progress, factor], …]; empty: always 1."""


class TwinMaskSection(Section):
    """Twin-masked softmax: linked translations of a label count only by gamma in the denominator of L_LM. Without the
    section it is off.

    `anchor.frequency_ratio` decides which tokens belong to a target language, `anchor.em_rounds` how links are estimated.
    """

    gamma: Share = 0.1
    """Factor on the probability of a translation in the denominator; 0 takes it out, 1 is the plain softmax."""
    twins: Positive = 8
    """At most this many linked tokens a label, the heaviest."""
    schedule: SchedulePoints = Field(default=[])
    """Factor on the correction of L_LM over the course of the stage, as [[progress, factor], …]; empty: always 1.
    [[0.9, 1], [1, 0]] ends with the plain softmax."""
