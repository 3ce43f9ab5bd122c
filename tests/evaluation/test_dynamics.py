"""Alignment over training: at which steps, and what is measured there."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from prealign.evaluation.retrieval.dynamics import log_steps, precision_by_layer
from prealign.evaluation.retrieval.pairs import WordPairs, draw_pairs
from prealign.evaluation.retrieval.words import word_scores
from prealign.lexicon import Group, Lexicon


@given(st.integers(1, 10**6), st.integers(1, 60))
def test_steps_are_log_spaced_from_the_first_to_the_last(steps: int, number: int) -> None:
    found = log_steps(steps, number)
    assert found[0] == 1 and found[-1] == steps and found == sorted(set(found))
    assert len(found) <= max(2, number)
    if number > 1 and steps > 1:
        ratio = steps ** (1 / (number - 1))
        assert all(after <= (before + 0.5) * ratio + 1 for before, after in pairwise(found))


def test_steps_by_hand() -> None:
    assert log_steps(1000, 4) == [1, 10, 100, 1000]
    assert log_steps(3, 50) == [1, 2, 3]
    assert log_steps(1, 5) == [1]
    assert log_steps(7, 1) == [1, 7]


def pairs(seen: int, held_out: int) -> WordPairs:
    groups = [Group(f"w{i}", {"de": (f"t{i}", f"t{(i + 1) % 9}")}) for i in range(seen + held_out)]
    return draw_pairs(Lexicon(groups[:seen], source="en"), Lexicon(groups[seen:], source="en"), "de", 50, 0)


def test_a_translation_of_a_word_of_training_is_not_held_out_though_that_word_was_not_drawn() -> None:
    seen = Lexicon([Group("giant", {"de": ("riesig",)}), Group("house", {"de": ("Haus",)})], source="en")
    held_out = Lexicon([Group("huge", {"de": ("riesig", "enorm")})], source="en")
    undrawn = next(
        sample for seed in range(50) if "giant" not in (sample := draw_pairs(seen, held_out, "de", 1, seed)).sources
    )
    told = dict(zip(undrawn.targets, undrawn.target_held_out.tolist(), strict=True))
    assert told == {"Haus": False, "riesig": False, "enorm": True}


def test_precision_is_that_of_retrieval() -> None:
    sample = pairs(12, 6)
    torch.manual_seed(0)
    source, target = torch.randn(3, 18, 2), torch.randn(3, len(sample.targets), 2)
    found = precision_by_layer(source, target, sample)
    subwords = np.ones(len(sample.sources), dtype=int)
    scores, _ = word_scores(source, target, sample, subwords, stage="pretrain", signature="", csls_neighbours=2)
    for split, values in found.items():
        expected = [s.value for s in scores if s.metric == "p_at_1" and s.split == split]
        np.testing.assert_allclose(values, expected)
        assert 0 < sum(values) < 3


def test_a_split_without_words_has_no_numbers() -> None:
    sample = pairs(12, 0)
    states = torch.randn(3, 12, 2), torch.randn(3, len(sample.targets), 2)
    assert precision_by_layer(*states, sample)["held_out"] == []
