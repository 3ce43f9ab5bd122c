"""Schedules: a factor on a weight or a ratio, piecewise linear in the progress of a phase."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Schedule:
    """A factor as a function of progress in 0..1: linear between `points` (progress, factor), constant outside them."""

    points: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, points: Sequence[tuple[float, float]]) -> Schedule | None:
        """Return the schedule of a recipe setting. None if it has no points: the factor is always 1."""
        return cls(tuple((float(at), float(factor)) for at, factor in points)) if points else None

    @classmethod
    def between(cls, begin: float, end: float) -> Schedule:
        """Return the factor 1 at begin <= progress < end and 0 elsewhere; with `end` 1, progress 1 has the factor 1."""
        if begin >= end:
            return cls(((0.0, 0.0),))
        rise = [(float(np.nextafter(begin, -1)), 0.0)] if begin > 0 else []
        fall = [(float(np.nextafter(end, 0)), 1.0), (end, 0.0)] if end < 1 else []
        return cls((*rise, (begin, 1.0), *fall))

    def __call__(self, progress: float) -> float:
        """Return the factor at `progress`, the finished share of the phase."""
        at, factors = zip(*self.points, strict=True)
        return float(np.interp(progress, at, factors))

    @property
    def mean(self) -> float:
        """The factor's mean over the whole phase."""
        at, factors = zip(*self.points, strict=True)
        places = np.unique([0.0, *at, 1.0])
        values = np.interp(places, at, factors)
        return float(np.diff(places) @ (values[1:] + values[:-1]) / 2)
