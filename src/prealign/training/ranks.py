"""The processes of a run under `torchrun` or `accelerate launch`. Without a launcher there is one, and nothing waits.

1. `join` creates the process group of Accelerate for training, and a gloo group for waiting. The first process may prepare
   data or evaluate for hours, while the timeout of the training collectives stays short.
2. `by_first` calls a function in the first process only, and returns its JSON result, or raises its error, in all.
3. `leave` makes all processes leave the group together. After an error no process waits for another.
4. `gather_weights` replaces the shards of a model by whole weights, which can be saved.

A process that dies ends the job: the launcher stops the others. `lost` recognises the errors that they raise meanwhile.
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
    """Create the process groups, if there are other processes. timeout: seconds of a training collective."""
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
    """Leave the process group together: with gloo, a process that ended first once aborted another at its end."""
    global _group
    if _group is not None:
        wait()
        dist.destroy_process_group()
        _group = None


def by_first(work: Callable[[], Any]) -> Any:
    """Call `work` in the first process while the others wait; return its result, which is JSON, in all.

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
    """Return the message of the first process, in all."""
    box = [json.dumps(message)]
    dist.broadcast_object_list(box, 0, group=_group)
    told: dict[str, Any] = json.loads(box[0])
    return told


def gather_weights(model: Any) -> None:
    """Replace the shards of each process by whole weights on the CPU; a model without shards stays unchanged."""
    whole: dict[int, torch.nn.Parameter] = {}  # a parameter of two modules (tied embeddings) stays shared
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if isinstance(parameter, DTensor):
                if id(parameter) not in whole:
                    whole[id(parameter)] = torch.nn.Parameter(parameter.full_tensor().detach().cpu())
                module.register_parameter(name, whole[id(parameter)])


def lost(error: BaseException) -> bool:
    """Whether a process raises this error when another process has ended."""
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and any(sign in str(error) for sign in _LOST)
    )
