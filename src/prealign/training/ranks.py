"""The processes of a run under `torchrun` or `accelerate launch`. Without a launcher there is one process and no
waiting.

1. `join` creates the process group of Accelerate for training, and a gloo group for waiting. The first process may
   prepare data or evaluate for hours, while the timeout of the training collectives stays short.
2. `by_first` calls a function in the first process only, and returns its JSON result, or raises its error, in all.
3. `leave` makes all processes leave the group together. After an error no process waits for another.
4. `gather_weights` replaces the shards of a model by whole weights, which can be saved.

If a process dies, the launcher stops the others. `lost` recognises the errors that they raise meanwhile.
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

from prealign.errors import DivergedError, RankError
from prealign.training.launch import count, is_first

PATIENCE = timedelta(days=7)
_LOST = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer")
_group: Any = None


def join(*, cpu: bool, timeout: float) -> None:
    """Create the process groups if there are several processes. timeout: of a training collective, in seconds."""
    global _group
    if count() == 1 or _group is not None:
        return
    PartialState(cpu=cpu, timeout=timedelta(seconds=timeout))
    _group = dist.new_group(backend="gloo", timeout=PATIENCE)


def wait() -> None:
    """Wait until all processes call this."""
    if _group is not None:
        dist.barrier(_group)


def leave() -> None:
    """Leave the process group together. With gloo, a process that leaves early can abort another one."""
    global _group
    if _group is not None:
        wait()
        dist.destroy_process_group()
        _group = None


def by_first(work: Callable[[], Any]) -> Any:
    """Call `work` in the first process while the others wait; return its result in all. The result is JSON values.

    If `work` fails, the first process raises its error and the others raise RankError. A DivergedError is raised in all:
    it ends one arm, and all processes go on with the next.
    """
    if _group is None:
        return work()
    if not is_first():
        message = _broadcast(None)
        if "diverged" in message:
            raise DivergedError(message["diverged"])
        if "error" in message:
            raise RankError(f"process 0 ended with an error: {message['error']}")
        return message["result"]
    try:
        result = work()
    except DivergedError as error:
        _broadcast({"diverged": str(error)})
        raise
    except BaseException as error:
        _broadcast({"error": f"{type(error).__name__}: {error}"})
        raise
    _broadcast({"result": result})
    return result


def _broadcast(message: dict[str, Any] | None) -> dict[str, Any]:
    """Send the message of the first process to all; return it in all."""
    box = [json.dumps(message)]
    dist.broadcast_object_list(box, 0, group=_group)
    received: dict[str, Any] = json.loads(box[0])
    return received


def gather_weights(model: Any) -> None:
    """Replace sharded weights by whole weights on the CPU, in every process. A model without shards stays unchanged."""
    whole: dict[int, torch.nn.Parameter] = {}  # by id: a parameter shared by two modules (tied embeddings) stays shared
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if isinstance(parameter, DTensor):
                if id(parameter) not in whole:
                    whole[id(parameter)] = torch.nn.Parameter(parameter.full_tensor().detach().cpu())
                module.register_parameter(name, whole[id(parameter)])


def lost(error: BaseException) -> bool:
    """Whether this error means that another process has ended."""
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and any(sign in str(error) for sign in _LOST)
    )
