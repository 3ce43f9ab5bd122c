"""Scores and comparisons: an object is an entry of results.json, its fields are the keys.

A score is a value with its 95 % interval, the data it was measured on, and a signature that says how. An evaluator is data
and settings; called on a model, it returns an `Evaluation`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from prealign import __version__

SCHEMA = 2
"""The schema of results.json."""

Stage = str
"""init: before any training; the name of a phase: after it. The final model has "pretrain" in every arm, also if a phase
follows the main one; the model before that phase is then "pretrain_alone"."""
Split = Literal["test", "seen", "held_out"]
Unit = Literal["seeds", "documents", "items"]


@dataclass(frozen=True, kw_only=True)
class Score:
    """One measured number. Evaluators leave out `arm` and `seed`; the experiment sets them.

    `low`, `high`: 95 % interval over the `n` items, None for a single item. `chance`: the value of guessing, None where
    undefined. `layer`: 0 input embedding, 1..L blocks, L+1 output embedding. `condition`: distinguishes numbers of one task
    and metric, such as the data set of a transfer score, or "k=64|names=lexicon"; None where there is only one.
    """

    arm: str = ""
    seed: int = 0
    task: str
    language: str
    metric: str
    condition: str | None = None
    layer: int | None = None
    value: float
    low: float | None
    high: float | None
    n: int
    chance: float | None = None
    signature: str
    stage: Stage
    split: Split


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """An arm against a baseline on one number, over paired seeds.

    `difference` = arm - baseline, of logarithms (in nats) where `scale` is "log"; `low` and `high` are its 95 % interval.
    `ratio` = arm / baseline, geometric means on the log scale, None where the baseline is 0. `unit`: interval and p are over
    paired seeds; of a single seed the interval is over its documents or items, and there is no p. `primary`: the one
    comparison that the recipe names before the run, whose p is not corrected. `p_holm`: p of the others, corrected for their
    family (`Design`).
    """

    arm: str
    baseline: str
    task: str
    language: str
    metric: str
    difference: float
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None = None
    primary: bool = False
    unit: Unit
    scale: Literal["log", "linear"] = "linear"
    ratio: float | None
    stage: Stage
    split: Split
    layer: int | None = None
    condition: str | None = None


class Evaluation(NamedTuple):
    """The scores of a model, and `items`: the statistics of every document, word, sentence or question, ready for JSON."""

    scores: list[Score]
    items: dict[str, Any]


def identity(tokenizer: Any) -> dict[str, object]:
    """Return the default end of a signature: the size of the tokenizer and the version of prealign."""
    return {"tok": len(tokenizer), "v": __version__}


def signature(**parts: object) -> str:
    """Return the settings of a measurement as one string: `signature(docs=16, ctx=128)` is `docs:16|ctx:128`."""
    return "|".join(f"{key}:{value}" for key, value in parts.items())
