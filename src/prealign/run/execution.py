"""Execution of arms: one after another, several at a time, or each on all devices of a launcher.

1. With `jobs` above 1, each arm runs in its own process with an equal share of the cores.
2. An arm whose numbers are not finite ends alone: its outcome is a DivergedError, and the others go on.
3. Under a launcher (`prealign.training.launch`) all processes train one arm after another. The first process does the
   other stages while the others wait. It runs them in a child process without the launcher's variables, because
   fine-tuning uses one device.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from multiprocessing.queues import Queue
from queue import Empty

import torch

from prealign.errors import DivergedError, RankError
from prealign.events import Event, OnEvent, silent
from prealign.run.stages import ArmRun
from prealign.training import launch, ranks
from prealign.workers import deaf, end, end_with_parent, stopped, uninterrupted

Outcome = dict[str, bool] | DivergedError
"""The stages of an arm, and whether each ran now; or why the arm ended early."""


def run_arm(arm: ArmRun, on_event: OnEvent, *, last: str | None = None, force: bool = False) -> dict[str, bool]:
    """Run the stages of one arm up to `last` (None: all). Returns the stages, and whether each ran now.

    Under a launcher all processes train, then the first process evaluates. force: run stages that are fresh, too. Raises
    DivergedError if a number of the arm is not finite.
    """
    here = replace(arm, on_progress=lambda p: on_event(Event(arm.arm, arm.seed, p)))
    if launch.count() == 1:
        return here.execute(last=last, force=force)
    together = ("blocks", *arm.trained_stages)  # the first process writes the blocks
    ran = here.execute(last=last, only=together, force=force)
    if last is None:
        rest = _Task(replace(arm, on_progress=silent), without=together, force=force)
        ran |= ranks.by_first(lambda: _stages(*(outcome for _, outcome in _in_processes([rest], 1, on_event))))
    return ran


def _stages(outcome: Outcome) -> dict[str, bool]:
    if isinstance(outcome, DivergedError):
        raise outcome
    return outcome


def _outcome(work: Callable[[], dict[str, bool]]) -> Outcome:
    try:
        return work()
    except DivergedError as error:
        return DivergedError(str(error))  # without its traceback, which holds the model and its optimiser


def run_arms(
    arms: list[ArmRun], jobs: int, on_event: OnEvent, *, force: bool = False
) -> Iterator[tuple[ArmRun, Outcome]]:
    """Run arms, `jobs` at a time. Yield each arm with its outcome when it ends."""
    if jobs == 1 or len(arms) == 1:
        for arm in arms:
            yield arm, _outcome(partial(run_arm, arm, on_event, force=force))
    else:
        yield from _in_processes([_Task(arm, force=force) for arm in arms], jobs, on_event)


@dataclass(frozen=True)
class _Task:
    """The work of a process: all stages of an arm except those in `without`."""

    arm: ArmRun
    without: tuple[str, ...] = ()
    force: bool = False


def _in_processes(tasks: list[_Task], jobs: int, on_event: OnEvent) -> Iterator[tuple[ArmRun, Outcome]]:
    """Run tasks in `jobs` processes with equal shares of the cores. Yield each arm with its outcome when it ends."""
    context = get_context("spawn")
    queue: Queue[Event] = context.Queue()
    cores = max(1, (os.cpu_count() or 1) // jobs)
    pool = ProcessPoolExecutor(jobs, context, _start_worker, (queue, cores, os.getpid()))
    try:
        with launch.alone() if launch.count() > 1 else nullcontext(), deaf():
            futures = {pool.submit(_work, task): task.arm for task in tasks}
        for future in _as_completed(set(futures), queue, on_event):
            yield futures[future], _outcome(future.result)
        pool.shutdown()
    except BrokenProcessPool:
        raise RankError(
            "a process that ran an arm was ended from outside, perhaps for lack of memory. Finished stages and checkpoints "
            "are kept: run the same command to go on, with fewer `jobs` or smaller batches if memory is short."
        ) from None
    finally:
        with uninterrupted():
            end(pool)  # arms take hours: after a failure or an interrupt the others do not go on


def _as_completed(
    pending: set[Future[dict[str, bool]]], queue: Queue[Event], on_event: OnEvent
) -> Iterator[Future[dict[str, bool]]]:
    while pending:
        done, pending = wait(pending, timeout=0.2)
        while True:
            try:
                on_event(queue.get_nowait())
            except Empty:
                break
        yield from done


_on_event: OnEvent | None = None


def _start_worker(queue: Queue[Event], threads: int, parent: int) -> None:
    global _on_event

    _on_event = queue.put
    # A parent that has stopped reading must not keep this process from ending.
    queue.cancel_join_thread()
    end_with_parent(parent)
    torch.set_num_threads(threads)


def _work(task: _Task) -> dict[str, bool]:
    if stopped():  # the pool hands out one task more than it has processes
        raise SystemExit
    on_event, arm = _on_event, task.arm
    assert on_event is not None, "the pool was started without its initialiser"
    stages = [stage for stage in arm.marks() if stage not in task.without]
    here = replace(arm, on_progress=lambda p: on_event(Event(arm.arm, arm.seed, p)))
    return here.execute(only=stages, force=task.force)
