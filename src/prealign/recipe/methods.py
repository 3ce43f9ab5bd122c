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


class AnchorEstimate(Section):
    """How M, the shares of source rows in the rows of their translations, is estimated from the lexicon."""

    frequency_ratio: Rate = 20.0
    """Anchored are tokens at least this many times more frequent in target than in source text."""
    em_rounds: Positive = 3
    sources_per_row: Positive = 8


class AnchorSection(AnchorEstimate):
    """Anchored vocabulary: target rows are M · source rows + residual + one vector per language."""

    enabled: bool = False
    residual_rate: Rate = 1.0
    """How fast the residual is learned, relative to other weights; below 1 anchored rows stay nearer to their anchors."""
