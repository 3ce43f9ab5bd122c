"""Progress events of long work: the one channel from working functions to the command line.

1. A working function reports `Progress` (stage, step, speed, notes) through the callback `OnProgress`.
2. The run adds arm and seed and passes it on as an `Event` through `OnEvent`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """Progress of a stage: step `step` of `steps`.

    tokens: tokens read in `seconds` seconds. loss: the last logged loss. note: a message to show once.
    """

    stage: str
    step: int
    steps: int
    tokens: float = 0
    seconds: float = 0
    loss: float | None = None
    note: str = ""


OnProgress = Callable[[Progress], None]


def token_counter(stage: str, total: int, on_progress: OnProgress) -> Callable[[int], None]:
    """Return a function that takes a number of newly finished tokens and reports progress out of `total` tokens."""
    began, done = time.monotonic(), 0

    def add(tokens: int) -> None:
        nonlocal done
        done += tokens
        on_progress(Progress(stage, done, total, done, time.monotonic() - began))

    return add


def step_counter(stage: str, steps: int, on_progress: OnProgress) -> Callable[[], None]:
    """Report the start of a stage with `steps` steps. Return a function that reports one more finished step."""
    began, done = time.monotonic(), 0

    def report() -> None:
        on_progress(Progress(stage, done, steps, seconds=time.monotonic() - began))

    def advance() -> None:
        nonlocal done
        done += 1
        report()

    report()
    return advance


def notes(stage: str, on_progress: OnProgress) -> Callable[[str], None]:
    """Return a function that reports a note on a stage."""
    return lambda note: on_progress(Progress(stage, 0, 1, note=note))


@dataclass(frozen=True)
class Event:
    """An event of one arm and seed, for display. At the end of the arm either `stages` or `unfinished` is set.

    stages: stage -> whether it ran now. unfinished: why the arm ended early.
    """

    arm: str
    seed: int
    progress: Progress | None = None
    stages: dict[str, bool] | None = None
    unfinished: str = ""


OnEvent = Callable[[Event], None]


def silent(progress: Progress) -> None:
    """Ignore progress."""
