"""Scores and comparisons: one object is one entry of results.json, its fields are the entry's keys.

A score is a value with its 95 % interval, what it was measured on, and a signature that says how.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Stage = str
Split = Literal["test", "seen", "held_out"]
Unit = Literal["seeds", "documents", "items"]


@dataclass(frozen=True, kw_only=True)
class Score:
    """One measured number. Evaluators leave `arm` and `seed` alone; the experiment fills them in.

    `low`, `high`: 95 % interval over the `n` items, None where one item is all there is. `chance`: the
    value of guessing, None where there is no such thing. `layer`: 0 input embedding, 1..L blocks, L+1
    output embedding. `condition`: what else tells it apart from other numbers of its task and metric, such as
    the data set of a transfer score, or "k=64|names=lexicon"; None where there is nothing.
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
    """An arm against a baseline on one number: `difference` = arm - baseline, `ratio` = arm / baseline.

    `ratio` is None where the baseline is 0.
    `unit` says over what interval and p-value are taken: paired seeds, or the documents or items of a single seed.
    `p_holm` is p corrected for all arms that meet the baseline on this number (Holm 1979).
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
    unit: Unit
    ratio: float | None
    stage: Stage
    split: Split
    layer: int | None = None
    condition: str | None = None


def signature(**parts: object) -> str:
    """How a number was measured, in one word: `signature(docs=16, ctx=128)` is `docs:16|ctx:128`."""
    return "|".join(f"{key}:{value}" for key, value in parts.items())
