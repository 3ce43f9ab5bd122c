"""A vocabulary of 14 rows in three parts, and a lexicon over it, for tests of losses on the text's logits."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

import toys

REST, DE, FR = -1, 0, 1
PART = np.array([REST] * 7 + [DE] * 3 + [FR] * 2)  # of 12 tokens; the models have two rows more
ROWS = 14
WORDS = toys.forms([[1], [7], [10]], [[2], [8, 9]], [[3, 4], [9], [11]], [[5, 1], [7, 8], [10]], count=[4, 1, 9, 1])


def inputs(seed: int = 0) -> Any:
    """What a run offers a method, as far as these losses read it."""
    counts = {name: np.where(number == PART, 100, 0) for name, number in (("en", REST), ("de", DE), ("fr", FR))}
    return SimpleNamespace(languages=["en", "de", "fr"], seed=seed, words=WORDS, token_counts=counts)


def text(blocks: int, context: int = 9, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random input_ids and labels (B, T) that differ here and there; some labels are ignored."""
    generator = np.random.default_rng(seed)
    ids = generator.integers(0, len(PART), (blocks, context))
    labels = np.where(generator.random(ids.shape) < 0.3, generator.integers(0, len(PART), ids.shape), ids)
    return torch.tensor(ids), torch.tensor(np.where(generator.random(ids.shape) < 0.2, -100, labels))


def links() -> dict[tuple[int, int], float]:
    """How often two tokens translate each other, both ways: IBM model 1 with dictionaries, three rounds."""
    groups = [([[1], [7], [10]], 4), ([[2], [8, 9]], 1), ([[3, 4], [9], [11]], 9), ([[5, 1], [7, 8], [10]], 1)]
    pairs = [(forms[0], target, count**0.5) for forms, count in groups for target in forms[1:]]
    share = {(t, s): 1.0 for source, target, _ in pairs for t in target for s in source}
    counts: dict[tuple[int, int], float] = {}
    for _ in range(3):
        counts = dict.fromkeys(share, 0.0)
        for source, target, weight in pairs:
            for t in target:
                total = sum(share[t, s] for s in source)
                for s in source:
                    counts[t, s] += weight * share[t, s] / total
        sums = {s: sum(c for (_, other), c in counts.items() if other == s) for _, s in counts}
        share = {(t, s): count / sums[s] for (t, s), count in counts.items()}
    return counts | {(s, t): count for (t, s), count in counts.items()}


def heaviest(token: int, part: int | None, keep: int) -> list[tuple[int, float]]:
    """The `keep` heaviest links of a token, into one part or all, with shares that sum to 1."""
    found = [(other, c) for (own, other), c in links().items() if own == token and part in (None, int(PART[other]))]
    kept = sorted(found, key=lambda pair: (-pair[1], pair[0]))[:keep]
    return [(other, count / sum(c for _, c in kept)) for other, count in kept]
