"""Arms on processes: one after the other, side by side, or each on all devices of a launch.

1. Side by side, each arm is a process on its share of the cores.
2. Under a launcher (`prealign.training.launch`) all processes train one arm after the other. What is not training the
   first one does, in a process that no launcher knows of, as fine-tuning there is on one device; the others wait.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, wait
from contextlib import nullcontext
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.queues import Queue
from queue import Empty

import torch

from prealign.events import Event, OnEvent, silent
from prealign.run.stages import ArmRun
from prealign.training import launch, ranks
from prealign.workers import end_with_parent


def run_arm(arm: ArmRun, on_event: OnEvent, *, last: str | None = None, force: bool = False) -> dict[str, bool]:
    """Run one arm's stages up to `last`; under a launcher train on all processes, then evaluate beside them, in one."""
    here = replace(arm, on_progress=lambda p: on_event(Event(arm.arm, arm.seed, p)))
    if launch.count() == 1:
        return here.execute(last=last, force=force)
    together = ("blocks", *arm.trained_stages)  # the blocks are written by the first process
    ran = here.execute(last=last, only=together, force=force)
    if last is None:
        rest = _Task(replace(arm, on_progress=silent), without=together, force=force)
        ran |= ranks.by_first(lambda: dict(*(done for _, done in _side_by_side([rest], 1, on_event))))
    return ran


def run_arms(
    arms: list[ArmRun], jobs: int, on_event: OnEvent, *, force: bool = False
) -> Iterator[tuple[ArmRun, dict[str, bool]]]:
    """Run arms, `jobs` at a time; yield each when it is done, with its stages and whether each was run now."""
    if jobs == 1 or len(arms) == 1:
        for arm in arms:
            yield arm, run_arm(arm, on_event, force=force)
    else:
        yield from _side_by_side([_Task(arm, force=force) for arm in arms], jobs, on_event)


@dataclass(frozen=True)
class _Task:
    """What a worker process does: an arm's stages but for those in `without`."""

    arm: ArmRun
    without: tuple[str, ...] = ()
    force: bool = False


def _side_by_side(tasks: list[_Task], jobs: int, on_event: OnEvent) -> Iterator[tuple[ArmRun, dict[str, bool]]]:
    """Do tasks in processes of their own, each on its share of the cores; yield each as it is done."""
    context = get_context("spawn")
    queue: Queue[Event] = context.Queue()
    cores = max(1, (os.cpu_count() or 1) // jobs)
    with ProcessPoolExecutor(jobs, context, _start_worker, (queue, cores, os.getpid())) as pool:
        with launch.alone() if launch.count() > 1 else nullcontext():
            futures = {pool.submit(_work, task): task.arm for task in tasks}
        workers = dict(pool._processes)
        try:
            for future in _as_completed(set(futures), queue, on_event):
                yield futures[future], future.result()
        except BaseException:
            # Arms take hours: one that failed, or an interrupt, ends the others at once. Finished stages stay.
            for future in futures:
                future.cancel()
            for worker in workers.values():
                worker.terminate()
            raise


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


_tell: OnEvent | None = None


def _start_worker(queue: Queue[Event], threads: int, parent: int) -> None:
    global _tell

    _tell = queue.put
    end_with_parent(parent)
    torch.set_num_threads(threads)


def _work(task: _Task) -> dict[str, bool]:
    tell, arm = _tell, task.arm
    assert tell is not None, "the pool was started without its initialiser"
    stages = [stage for stage in arm.marks() if stage not in task.without]
    return replace(arm, on_progress=lambda p: tell(Event(arm.arm, arm.seed, p))).execute(only=stages, force=task.force)
