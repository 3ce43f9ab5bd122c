"""A figure: what was measured in rounds, the reference of the same rounds, and the target it is judged by."""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

import torch

ROUNDS = 5

_RELATIONS = {"≥": operator.ge, "≤": operator.le}


@dataclass(frozen=True)
class Target:
    """What a figure has to reach: its value, or its ratio to the reference, at least (≥) or at most (≤) a bound."""

    of: Literal["value", "ratio"]
    relation: Literal["≥", "≤"]
    bound: float

    def met(self, value: float, ratio: float | None) -> bool:
        """Whether the figure reaches it."""
        measured = value if self.of == "value" else ratio
        assert measured is not None, "a ratio needs a reference"
        return bool(_RELATIONS[self.relation](measured, self.bound))

    def __str__(self) -> str:
        return f"{self.of} {self.relation} {self.bound:,}"


def figure(
    name: str,
    unit: str,
    values: Sequence[float],
    *,
    references: Sequence[float] | None = None,
    against: str | None = None,
    target: Target | None = None,
) -> dict[str, Any]:
    """Return the record of a figure: medians, with the lowest and highest of the n rounds.

    references: what `against` reached in the same rounds; the ratio is the median of the rounds' own ratios.
    """
    value = median(values)
    record: dict[str, Any] = {"name": name, "unit": unit, "value": value, "low": min(values), "high": max(values)}
    ratio = None
    if references is not None:
        ratios = [v / r for v, r in zip(values, references, strict=True)]
        ratio = median(ratios)
        record |= {"reference": median(references), "against": against, "ratio": ratio}
        record |= {"ratio_low": min(ratios), "ratio_high": max(ratios)}
    else:
        record |= dict.fromkeys(("reference", "against", "ratio", "ratio_low", "ratio_high"))
    judged = target is not None
    record |= {"target": str(target) if judged else None, "met": target.met(value, ratio) if target else None}
    return record | {"n": len(values)}


def seconds(work: Callable[[], object]) -> float:
    """Return the wall time of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def alternate(works: Sequence[Callable[[], object]], rounds: int = ROUNDS) -> list[list[float]]:
    """Return the seconds of each work in each round (works, rounds).

    Every work is called once to warm up; rounds go through the works forwards and backwards in turn, so that a drift of
    the machine falls on all of them.
    """
    for work in works:
        work()
    taken: list[list[float]] = [[] for _ in works]
    for number in range(rounds):
        for i in list(range(len(works)))[:: 1 if number % 2 == 0 else -1]:
            taken[i].append(seconds(works[i]))
    return taken


def rates(amount: float, taken: Sequence[float]) -> list[float]:
    """Return amount per second of each round."""
    return [amount / t for t in taken]


@contextmanager
def one_core() -> Iterator[None]:
    """Keep torch to one thread; NumPy's element-wise operations never use more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
