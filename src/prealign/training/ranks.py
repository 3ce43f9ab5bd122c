"""The processes of one run under `torchrun` or `accelerate launch`. Without a launcher there is one, and nothing waits.

1. `join` meets the others: the process group of Accelerate for training, and a gloo group beside it for waiting. The first
   process may prepare data or evaluate for hours, and the timeout of training's collectives is to stay short.
2. `by_first` does work in the first process alone; all get what it returned, as JSON, or its error.
3. `leave` parts from them. After an error nobody waits for anybody.
4. `gather_weights` turns a model that was trained in shards back into one that can be saved.

A process that dies ends the job: the launcher stops the others. `lost` recognises what those see in the meantime.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from accelerate import PartialState
from torch.distributed.tensor import DTensor

from prealign.errors import RankError
from prealign.training.launch import count, is_first

PATIENCE = timedelta(days=7)
_LOST = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer")
_group: Any = None


def join(*, cpu: bool, timeout: float) -> None:
    """Meet the other processes, if there are any. timeout: seconds a collective of training may take."""
    global _group
    if count() == 1 or _group is not None:
        return
    PartialState(cpu=cpu, timeout=timedelta(seconds=timeout))
    _group = dist.new_group(backend="gloo", timeout=PATIENCE)


def wait() -> None:
    """Wait until all are here."""
    if _group is not None:
        dist.barrier(_group)


def leave() -> None:
    """Part when the work is done: a process that just ends can abort another that is about to (seen with gloo)."""
    global _group
    if _group is not None:
        wait()
        dist.destroy_process_group()
        _group = None


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


def gather_weights(model: Any) -> None:
    """Put whole weights, on the CPU, in the place of the shards of each process; a model without shards stays as it is."""
    whole: dict[int, torch.nn.Parameter] = {}  # what two modules share (tied embeddings) stays shared
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if isinstance(parameter, DTensor):
                if id(parameter) not in whole:
                    whole[id(parameter)] = torch.nn.Parameter(parameter.full_tensor().detach().cpu())
                module.register_parameter(name, whole[id(parameter)])


def lost(error: BaseException) -> bool:
    """Whether the error is what a process sees when another one is gone."""
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and any(sign in str(error) for sign in _LOST)
    )
