"""A pool of worker processes. The results do not depend on the number of processes.

1. `Pool.map` applies a function to tasks and yields the results in the order of the tasks, like `map`.
2. It submits only a few tasks ahead of the next result, so memory does not grow with the number of tasks.
3. Processes start at the first map of two or more tasks, load each function once, and end when their parent ends.
4. Interrupts are for the parent, which ends its workers: they start with interrupts blocked (`deaf`). Its clean-up is not
   interrupted again (`uninterrupted`), so that no process, file or semaphore is left behind.
"""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import lru_cache
from itertools import chain, islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from prealign.durable import make_folder, remove, temporary
from prealign.errors import RankError

Spread = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]
"""The type of `map` and `Pool.map`."""

PATIENCE = 10.0
"""Seconds that a process has to clean up before it is killed."""
_AHEAD = 3  # tasks per process that are submitted, running or done


class Pool:
    """A context manager with `processes` worker processes. With one process, tasks run in the calling process.

    folder: its scratch is a temporary folder in this one.
    """

    def __init__(self, processes: int, folder: Path) -> None:
        self._processes = processes
        self._scratch = temporary(folder)
        self._executor: ProcessPoolExecutor | None = None
        self._paths: dict[Callable[[Any], Any], Path] = {}

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, error: object, *_: object) -> None:
        with uninterrupted():
            if self._executor is not None and error is None:
                self._executor.shutdown(cancel_futures=True)
            elif self._executor is not None:
                end(self._executor)
            remove(self._scratch)

    def map(self, function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
        """Yield function(task) for every task, in order. Function, tasks and results must be picklable.

        Raises the error of a task, or RankError if a process dies.
        """
        tasks = iter(tasks)
        first = list(islice(tasks, 2))
        tasks = chain(first, tasks)
        return map(function, tasks) if self._processes == 1 or len(first) < 2 else self._ordered(function, tasks)

    def _ordered(self, function: Callable[[Any], Any], tasks: Iterator[Any]) -> Iterator[Any]:
        if self._executor is None:
            context = get_context("spawn")
            self._executor = ProcessPoolExecutor(self._processes, context, end_with_parent, (os.getpid(), True))
        # The function may hold a whole lexicon, so each process reads it once, from a file.
        path = self._paths.setdefault(function, self._scratch / str(len(self._paths)))
        if not path.exists():
            make_folder(self._scratch)
            path.write_bytes(pickle.dumps(function))
        pending: deque[Future[Any]] = deque()
        while True:
            for task in islice(tasks, _AHEAD * self._processes - len(pending)):
                with deaf():
                    pending.append(self._executor.submit(_work, path, task))
            if not pending:
                return
            try:
                result = pending.popleft().result()
            except BrokenProcessPool:
                raise RankError(
                    f"one of the {self._processes} processes that read the text was ended from outside, perhaps for lack of "
                    "memory. Run again with fewer (`processes`)."
                ) from None
            yield result


def _work(path: Path, task: Any) -> Any:
    return _function(path)(task)


@lru_cache(maxsize=2)
def _function(path: Path) -> Callable[[Any], Any]:
    return pickle.loads(path.read_bytes())


@contextmanager
def deaf() -> Iterator[None]:
    """Processes that start within this context never get an interrupt, not even while they import. The caller does."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Delay an interrupt to the end of this context. For short work."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread gets interrupts
        yield
        return
    late: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: late.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if late and callable(before):
            before(late[0], None)


def end(pool: ProcessPoolExecutor) -> None:
    """End a pool after a failure or an interrupt: its processes stop at once, and have PATIENCE seconds to clean up."""
    workers = list((pool._processes or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for worker in workers:
        worker.terminate()
    deadline = time.monotonic() + PATIENCE
    for worker in workers:
        worker.join(max(0.0, deadline - time.monotonic()))
        worker.kill()
    pool.shutdown(wait=True)


def end_with_parent(parent: int, one_thread: bool = False) -> None:
    """Make this process end when its parent ends, and ignore interrupts. one_thread: limit tokenizers to one thread.

    A request to end (SIGTERM) stops its work by SystemExit, so that it cleans up.
    """
    threading.Thread(target=_end_without, args=(parent,), daemon=True).start()
    # The parent handles an interrupt and ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop)
    if one_thread:
        os.environ["TOKENIZERS_PARALLELISM"] = "false"


_stopped = threading.Event()


def _stop(*_: object) -> None:
    _stopped.set()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the clean-up is not interrupted
    raise SystemExit(128 + signal.SIGTERM)


def stopped() -> bool:
    """Whether this process was asked to end."""
    return _stopped.is_set()


def _end_without(parent: int) -> None:
    """Wait for the end of the parent, then end this process. Otherwise it would keep the run folder busy."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
