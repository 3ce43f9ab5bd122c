"""Scoring functions for lm-evaluation-harness, copied as `scoring.py` beside the task files. It does not import
prealign.

1. `load` selects the items of a task's language and condition.
2. `per_token` ranks candidates as prealign does, by mean log-probability per token. lm-eval itself offers sums, and
   means per character.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from datasets import Dataset


def load(*, language: str, condition: str, **_: Any) -> dict[str, Dataset]:
    """Return the items of a language and condition as the split `test`."""
    with Path(__file__).with_name("questions.jsonl").open(encoding="utf-8") as lines:
        items = [json.loads(line) for line in lines]
    chosen = [item for item in items if (item["language"], item["condition"]) == (language, condition)]
    return {"test": Dataset.from_list(chosen)}


def per_token(doc: dict[str, Any], results: list[tuple[float, bool]]) -> dict[str, float]:
    """Return {"acc_per_token": 1.0} if the true candidate has the highest mean log-probability per token, else 0.0."""
    means = [total / tokens for (total, _), tokens in zip(results, doc["tokens"], strict=True)]
    return {"acc_per_token": float(means.index(max(means)) == doc["answer"])}
