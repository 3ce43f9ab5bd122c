"""Scores and comparisons are, key for key, what results.json holds."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

from prealign.evaluation.score import Comparison, Score, signature

SCORE = Score(
    task="lm",
    language="en",
    metric="perplexity",
    value=12.5,
    low=11.0,
    high=14.0,
    n=8,
    signature="docs:8",
    stage="pretrain",
    split="test",
)


SCORE_KEYS = """
    arm seed task language metric condition layer value low high n chance signature stage split
"""
COMPARISON_KEYS = """
    arm baseline task language metric difference low high p p_holm primary unit scale ratio stage split layer condition
"""


def test_a_score_has_exactly_the_keys_of_results_json() -> None:
    assert list(asdict(SCORE)) == SCORE_KEYS.split()
    assert asdict(SCORE)["layer"] is None and asdict(SCORE)["chance"] is None


def test_the_experiment_fills_in_arm_and_seed_and_nothing_else_changes() -> None:
    filled = replace(SCORE, arm="prealign", seed=3)
    assert asdict(filled) == asdict(SCORE) | {"arm": "prealign", "seed": 3}
    assert Score(**json.loads(json.dumps(asdict(filled)))) == filled


def test_a_comparison_has_exactly_the_keys_of_results_json() -> None:
    comparison = Comparison(
        arm="prealign",
        baseline="joint",
        task="lm",
        language="en-clone",
        metric="perplexity",
        difference=-3.0,
        low=None,
        high=None,
        p=None,
        unit="documents",
        ratio=0.8,
        stage="pretrain",
        split="test",
    )
    assert list(asdict(comparison)) == COMPARISON_KEYS.split()


def test_signature() -> None:
    written = signature(docs=16, ctx=128, stride=64, tok="1a2b3c4d", v="0.1.0")
    assert written == "docs:16|ctx:128|stride:64|tok:1a2b3c4d|v:0.1.0"
