"""Work on text, spread over processes: what comes out is the same for any number of them.

1. A function is given one task after the other, and its results come in the order of the tasks, as from `map`.
2. Tasks are drawn a few ahead of the result that is asked for, so memory does not grow with their number.
3. Processes are started when they are first needed, load a function once, and end with the one that started them.
"""

from __future__ import annotations

import os
import pickle
import signal
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache
from itertools import chain, islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from prealign.errors import RankError

Spread = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]
"""What `map` is, and `Pool.map`."""

_AHEAD = 3  # tasks for each process, under way or done, beyond the result that is waited for


class Pool:
    """Processes for the length of a `with`; one is the process itself."""

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._executor: ProcessPoolExecutor | None = None
        self._paths: dict[Callable[[Any], Any], Path] = {}

    def __enter__(self) -> Pool:
        self._folder = tempfile.TemporaryDirectory(prefix="prealign-")
        return self

    def __exit__(self, *_: object) -> None:
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)
        self._folder.cleanup()

    def map(self, function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
        """Yield function(task) of every task, in their order. function, tasks and results are pickled."""
        tasks = iter(tasks)
        first = list(islice(tasks, 2))
        tasks = chain(first, tasks)
        return map(function, tasks) if self._processes == 1 or len(first) < 2 else self._ordered(function, tasks)

    def _ordered(self, function: Callable[[Any], Any], tasks: Iterator[Any]) -> Iterator[Any]:
        if self._executor is None:
            context = get_context("spawn")
            self._executor = ProcessPoolExecutor(self._processes, context, end_with_parent, (os.getpid(), True))
        # In a file, as it may hold a lexicon: a task is small, and processes read this once.
        path = self._paths.setdefault(function, Path(self._folder.name) / str(len(self._paths)))
        if not path.exists():
            path.write_bytes(pickle.dumps(function))
        pending: deque[Future[Any]] = deque()
        while True:
            for task in islice(tasks, _AHEAD * self._processes - len(pending)):
                pending.append(self._executor.submit(_work, path, task))
            if not pending:
                return
            try:
                result = pending.popleft().result()
            except BrokenProcessPool:
                raise RankError(
                    f"one of the {self._processes} processes that read the text was ended from outside, perhaps for want of "
                    "memory. Run again with less of them (`processes`)."
                ) from None
            yield result


def _work(path: Path, task: Any) -> Any:
    return _function(path)(task)


@lru_cache(maxsize=2)
def _function(path: Path) -> Callable[[Any], Any]:
    return pickle.loads(path.read_bytes())


def end_with_parent(parent: int, one_thread: bool = False) -> None:
    """Let this process end when its parent is gone, and leave interrupts to it. one_thread: tokenizers use one."""
    threading.Thread(target=_end_without, args=(parent,), daemon=True).start()
    # The parent hears the interrupt and ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if one_thread:
        os.environ["TOKENIZERS_PARALLELISM"] = "false"


def _end_without(parent: int) -> None:
    """End this process when its parent is gone: nobody waits for it, and the next command needs its folder."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
