"""Parallel text in token ids for the tests of losses on sentences, and what a naive loop makes of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

import toys
from prealign.methods.alignment.words import WordForms
from prealign.methods.sentences.pairs import SentencePairs
from prealign.text.ragged import Ragged

SOURCES, TARGETS = range(10, 30), range(30, 50)
"""Tokens of the source, and of the target: 10 is translated by 30, 11 by 31, and so on. 50 .. 54 are in both, unlinked."""


def pairs(number: int = 12, *, seed: int = 0, languages: tuple[str, ...] = ("de",)) -> SentencePairs:
    """Pairs of 2 to 7 tokens, whose sides have different lengths; about half of the tokens have their translation."""
    generator = np.random.default_rng(seed)
    bitext = {}
    for language in languages:
        sources = [generator.integers(10, 30, generator.integers(2, 8)) for _ in range(number)]
        targets = []
        for ids in sources:
            translated = np.where(generator.random(len(ids)) < 0.6, ids + 20, generator.integers(50, 55, len(ids)))
            targets.append(np.append(translated, generator.integers(50, 55, generator.integers(0, 3))))
        bitext[language] = (Ragged.of(sources), Ragged.of(targets))
    return SentencePairs(bitext, seed)


def words() -> WordForms:
    return toys.forms(*[[[source], [target]] for source, target in zip(SOURCES, TARGETS, strict=True)])


@dataclass(frozen=True)
class Inputs:
    """What links are estimated from."""

    words: WordForms = field(default_factory=words)
    languages: tuple[str, ...] = ("en", "de")
    seed: int = 0
    tokenizer: Any = None

    @property
    def token_counts(self) -> dict[str, np.ndarray]:
        ids = np.arange(60)
        return {"en": 50 * ((ids >= 10) & (ids < 30)), "de": 50 * ((ids >= 30) & (ids < 50))}


ESTIMATE: Any = SimpleNamespace(frequency_ratio=20.0, em_rounds=2)


def sentences(batch: dict[str, Tensor]) -> list[list[int]]:
    """The sentences of a batch without padding."""
    return [ids[:n].tolist() for ids, n in zip(batch["ids"], batch["lengths"].tolist(), strict=True)]


def states(model: Any, ids: list[int], layer: int) -> Tensor:
    """The states (n, D) of one sentence after a block, by the whole model."""
    hidden = model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
    return hidden[layer][0]


def translates(one: int, other: int) -> bool:
    return abs(one - other) == 20 and 10 <= min(one, other) < 30
