"""The processes of one run under `torchrun` or `accelerate launch`. Without a launcher there is one, and nothing waits.

1. `join` meets the others: the process group of Accelerate for training, and a gloo group beside it for waiting. The first
   process may prepare data or evaluate for hours, and the timeout of training's collectives is to stay short.
2. `by_first` does work in the first process alone; all get what it returned, as JSON, or its error.
3. `alone` is the environment of a process that is none of them: what evaluates, in a process of its own.

A process that dies ends the job: the launcher stops the others. `lost` recognises what those see in the meantime.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from accelerate import PartialState

from prealign.errors import RankError

PATIENCE = timedelta(days=7)
_LAUNCHED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "ROLE_RANK", "ROLE_WORLD_SIZE")
_LAUNCHED += ("MASTER_ADDR", "MASTER_PORT")
_group: Any = None


def count() -> int:
    """Return how many processes run this together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this is the process that writes and prints."""
    return int(os.environ.get("RANK", "0")) == 0


def join(*, cpu: bool, timeout: float) -> None:
    """Meet the other processes, if there are any. timeout: seconds a collective of training may take."""
    global _group
    if count() == 1 or _group is not None:
        return
    PartialState(cpu=cpu, timeout=timedelta(seconds=timeout))
    _group = dist.new_group(backend="gloo", timeout=PATIENCE)


def leave() -> None:
    """Part from the others at the end."""
    global _group
    if _group is not None:
        _group = None
        dist.destroy_process_group()


def wait() -> None:
    """Wait until all are here."""
    if _group is not None:
        dist.barrier(_group)


def by_first(work: Callable[[], Any]) -> Any:
    """Do `work` in the first process while the others wait; return its result, which is JSON, in all.

    If it fails, the first process raises its error and the others a RankError.
    """
    if _group is None:
        return work()
    if not is_first():
        told = _tell(None)
        if "error" in told:
            raise RankError(f"process 0 ended with an error: {told['error']}")
        return told["result"]
    try:
        result = work()
    except BaseException as error:
        _tell({"error": f"{type(error).__name__}: {error}"})
        raise
    _tell({"result": result})
    return result


def _tell(message: dict[str, Any] | None) -> dict[str, Any]:
    """Send the first process's message to all, as UTF-8."""
    text = bytearray(json.dumps(message).encode())
    size = torch.tensor([len(text)])
    dist.broadcast(size, 0, group=_group)
    content = torch.frombuffer(text, dtype=torch.uint8) if is_first() else torch.empty(int(size), dtype=torch.uint8)
    dist.broadcast(content, 0, group=_group)
    told: dict[str, Any] = json.loads(bytes(content.tolist()))
    return told


@contextmanager
def alone() -> Iterator[None]:
    """Let processes that are started here be on their own, with one device."""
    kept = dict(os.environ)
    device = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[int(os.environ.get("LOCAL_RANK", "0")) :][:1]
    try:
        for name in list(os.environ):
            if name in _LAUNCHED or name.startswith(("TORCHELASTIC_", "ACCELERATE_", "FSDP_")):
                del os.environ[name]
        os.environ["CUDA_VISIBLE_DEVICES"] = "".join(device)
        yield
    finally:
        os.environ.clear()
        os.environ.update(kept)


def lost(error: BaseException) -> bool:
    """Whether the error is what a process sees when another one is gone."""
    return count() > 1 and (
        isinstance(error, dist.DistError)
        or (isinstance(error, RuntimeError) and any(sign in str(error) for sign in ("gloo", "Connection reset", "NCCL")))
    )
