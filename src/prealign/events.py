"""What long work tells: where it is, what it did, what a user should know. One channel, from the functions that work to
whoever listens.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """Where a stage is. `tokens` were read in `seconds`; `loss` is the last one logged; `note` is to be told once."""

    stage: str
    step: int
    steps: int
    tokens: float = 0
    seconds: float = 0
    loss: float | None = None
    note: str = ""


OnProgress = Callable[[Progress], None]


def token_counter(stage: str, total: int, on_progress: OnProgress) -> Callable[[int], None]:
    """Return what is told of tokens that are done, and reports how many of `total` are."""
    began, done = time.monotonic(), 0

    def tell(tokens: int) -> None:
        nonlocal done
        done += tokens
        on_progress(Progress(stage, done, total, done, time.monotonic() - began))

    return tell


def step_counter(stage: str, steps: int, on_progress: OnProgress) -> Callable[[], None]:
    """Report that a stage of so many steps begins. Return a function that reports one more step as done."""
    began, done = time.monotonic(), 0

    def report() -> None:
        on_progress(Progress(stage, done, steps, seconds=time.monotonic() - began))

    def tell() -> None:
        nonlocal done
        done += 1
        report()

    report()
    return tell


@dataclass(frozen=True)
class Event:
    """Something the command line may show. `stages` (stage -> was it run now) comes once, when an arm is done."""

    arm: str
    seed: int
    progress: Progress | None = None
    stages: dict[str, bool] | None = None


OnEvent = Callable[[Event], None]


def silent(progress: Progress) -> None:
    """What an arm tells before it has someone to tell."""
