"""The goal of a phase: when it is measured, how the learning rate falls, and what a measurement costs."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

import toys
from prealign.evaluation.retrieval.nearest import two_way_precision
from prealign.methods.alignment import states
from prealign.methods.budget import budget_of, settled
from prealign.methods.goal import PAIRS, Goal, last_step, measured_steps, rate_factor
from prealign.methods.phase import Phase

STEPS = st.integers(1, 20_000)


def test_measurements_by_hand() -> None:
    assert measured_steps(100) == [25, 50, 75]
    assert measured_steps(25) == []
    late = measured_steps(2000)
    assert late[19:24] == [500, 525, 552, 580, 609]  # 5 % of 525 is 26.25


@given(STEPS, STEPS)
def test_the_most_steps_only_cut_the_measurements_off(one: int, other: int) -> None:
    few, many = measured_steps(min(one, other)), measured_steps(max(one, other))
    assert few == many[: len(few)]
    assert all(step < min(one, other) for step in few)
    assert all(after - before >= 25 for before, after in pairwise(many))
    assert all(after <= 1.05 * before + 1 or after - before == 25 for before, after in pairwise(many))


@given(st.integers(30, 2_000), st.integers(0, 29))
def test_the_rate_rises_stays_and_falls_over_a_tenth(reached: int, warmup: int) -> None:
    last = last_step(reached, 10**6)
    assert 11 * reached <= 10 * last < 11 * reached + 10
    factors = [rate_factor(step, last, warmup) for step in range(last + 1)]
    assert factors[:warmup] == [step / warmup for step in range(warmup)]
    assert factors[warmup : reached + 1] == pytest.approx([1.0] * (reached + 1 - warmup), abs=1e-9)
    assert factors[-1] == 0 and all(after < before for before, after in pairwise(factors[reached + 1 :]))
    assert factors[-2] == pytest.approx(11 / last)


def test_a_goal_reached_late_does_not_lengthen_the_phase() -> None:
    assert [last_step(100, 500), last_step(480, 500), last_step(1, 500)] == [110, 500, 2]


WORDS = toys.forms(*([[2 * i + 1, 2 * i + 2], [100 + i], [160 + i, 3, 4]] for i in range(20)))


@pytest.mark.parametrize("layers", ["all", "embedding", "output"])
def test_the_cost_is_what_torch_counts(layers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = toys.llama(rows=200, attn_implementation="eager")
    goal, ids = Goal(0.9, WORDS, 1, layers), WORDS.ids
    # One target language, and one form a row: attention between the forms of a row is not counted.
    monkeypatch.setattr(states, "packs", lambda model: False)
    monkeypatch.setattr(states, "_PADDED_BATCH", 1)
    rows = np.arange(len(ids)).reshape(20, 3)
    chosen = {"all": slice(1, toys.BLOCKS + 1), "embedding": slice(0, 1), "output": slice(-1, None)}[layers]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        sides = []
        for part in (rows[:, :1].ravel(), rows[:, 1:].ravel()):
            found = WORDS.rows(part, part)
            sides.append(states.encoded_word_states(model, found["word_ids"], found["word_lengths"])[chosen])
        two_way_precision(*sides, torch.ones(20, 40, dtype=torch.bool), {"p": None})
    counted, cost = counter.get_total_flops(), goal.measurement(model)
    # Forms of 1 and 3 tokens cost as much attention as three of 2 do, up to the square of their lengths.
    assert cost.flops == pytest.approx(counted, rel=0.02)
    assert cost.tokens == len(ids.values)


def test_more_languages_encode_the_source_words_again() -> None:
    model = toys.llama(rows=200)
    one, two = (Goal(0.9, WORDS, targets).measurement(model).tokens for targets in (1, 2))
    assert two - one == pytest.approx(20 * WORDS.mean_tokens_per_group / 3)
    many = toys.forms(*([[2 * i + 1], [2 * i + 2]] for i in range(PAIRS + 5)))
    assert Goal(0.9, many, 1).measurement(model).tokens == 2 * PAIRS


def phases(until: float | None, steps: int) -> list[Phase]:
    goal = Goal(until, WORDS, 1)
    return [toys.phase(name="align", steps=steps, goal=goal), toys.phase(steps=None)]


def test_what_an_early_end_saves_goes_to_the_main_phase() -> None:
    model = toys.llama(rows=200)
    early, step = phases(0.9, 200), toys.phase().cost(model).flops
    budget = budget_of(early, model, steps=50)
    measured = len(measured_steps(200)) * Goal(0.9, WORDS, 1).measurement(model).flops
    assert budget == pytest.approx(250 * step + measured), "at most: all steps and all measurements"
    assert settled(early, model, budget)[1].steps == 50, "nothing is saved"
    assert settled(early, model, budget, spent={"align": 110 * step + measured})[1].steps == 50 + 90
    plain = phases(None, 200)
    assert budget_of(plain, model, steps=50) == pytest.approx(250 * step), "without `until` nothing is measured"


def test_a_goal_without_early_end_is_no_setting() -> None:
    assert "goal" not in phases(None, 200)[0].describe() and not phases(None, 200)[0].ends_early
    assert phases(0.9, 200)[0].describe()["goal"] == {"until": 0.9, "pairs": PAIRS}
