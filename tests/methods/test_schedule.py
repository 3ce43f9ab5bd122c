"""Schedules: a stage of a phase, and the mean over the whole phase."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prealign.methods.schedule import Schedule

PLACES = st.integers(0, 20).map(lambda n: n / 20)


@given(PLACES, PLACES)
def test_a_stage_has_the_factor_1_and_the_rest_0(begin: float, end: float) -> None:
    schedule = Schedule.between(begin, end)
    near = [np.nextafter(place, side) for place in (begin, end) for side in (-1, 2)]
    for progress in [0.0, 1.0, begin, end, *near, *np.linspace(0, 1, 41)]:
        progress = float(np.clip(progress, 0, 1))
        inside = begin <= progress < end or (begin < end == 1 == progress)
        assert schedule(progress) == float(inside), progress
    assert schedule.mean == pytest.approx(max(0.0, end - begin), abs=1e-12)


@given(PLACES, PLACES)
def test_stages_side_by_side_cover_the_phase_once(one: float, other: float) -> None:
    edges = [0.0, *sorted((one, other)), 1.0]
    stages = [Schedule.between(begin, end) for begin, end in pairwise(edges)]
    for progress in np.linspace(0, 1, 101):
        assert sum(stage(float(progress)) for stage in stages) == 1
