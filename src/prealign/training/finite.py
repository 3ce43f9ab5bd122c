"""Training ends at the first number that is not finite (NaN or infinity), and says which number and which setting.

1. Every step, before the optimiser moves the weights: the loss and the norm of the gradient. All processes add up theirs, so
   all of them end at the same step.
2. After every validation: its loss and perplexity. Before a checkpoint is sealed: the weights. A bad checkpoint therefore
   stays torn, and those before it stay whole (`prealign.training.checkpoints`).
3. The message names the parts of the loss that are not finite, and the settings to change. Before the first update of the
   weights the learning rate of the stage cannot be the cause: the message then says what the stage starts from.

float16 training scales its loss and tries again with a smaller scale while the gradient overflows. Such a step does not move
the weights, and is an error only when the scale has fallen below 1.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers import Trainer, TrainerCallback

from prealign.errors import DivergedError
from prealign.training.trainer import PhaseTrainer

_LARGEST = math.log(sys.float_info.max)


@dataclass(frozen=True)
class Remedies:
    """What to do about numbers that are not finite, as clauses such as "lower pretrain.learning_rate".

    moved: after the first update of the weights. start: before it. parts: first of all, for a part of the loss, by its name
    in the log.
    """

    moved: str
    start: str = "check the model that it starts from"
    parts: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def watched(trainer: Trainer, stage: str, remedies: Remedies) -> Iterator[Finite]:
    """Check the numbers of this Trainer within the context, before the callbacks that are added there.

    Two methods of the instance hand over the loss and the norm of the gradient of each step. They are removed at the end:
    the Trainer would refer to itself, and its memory would not be freed when it is dropped.
    """
    finite = Finite(trainer, stage, remedies)
    step, clip = trainer.training_step, trainer.accelerator.clip_grad_norm_

    def training_step(*args: Any, **kwargs: Any) -> Tensor:
        finite.loss = step(*args, **kwargs)
        return finite.loss

    def clip_grad_norm_(*args: Any, **kwargs: Any) -> Any:
        norm = clip(*args, **kwargs)
        if norm is not None:  # DeepSpeed computes it later
            finite.norm = torch.as_tensor(norm.full_tensor() if isinstance(norm, DTensor) else norm)
        return norm

    trainer.training_step, trainer.accelerator.clip_grad_norm_ = training_step, clip_grad_norm_
    trainer.add_callback(finite)
    try:
        yield finite
    finally:
        del trainer.training_step, trainer.accelerator.clip_grad_norm_
        trainer.remove_callback(finite)


class Finite(TrainerCallback):
    """Raises DivergedError, in all processes, at the first number of a training that is not finite (see `watched`)."""

    def __init__(self, trainer: Trainer, stage: str, remedies: Remedies) -> None:
        self.trainer, self.stage, self.remedies = trainer, stage, remedies
        self.loss = self.norm = torch.zeros(())

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Check loss and gradient of the step."""
        device = args.device
        parts = self.trainer.parts if isinstance(self.trainer, PhaseTrainer) else {}
        values = torch.stack([number.detach().to(device).float() for number in (self.loss, self.norm, *parts.values())])
        loss, norm, *shares = self._over_ranks(values).tolist()
        if math.isfinite(loss) and (math.isfinite(norm) or self._scale_falls()):
            return
        broken = {name: value for name, value in zip(parts, shares, strict=True) if not math.isfinite(value)}
        if math.isfinite(loss):
            broken = {"the norm of the gradient": norm}
        raise self._error(state.global_step + 1, broken or {"the loss": loss}, moved=state.global_step > 0)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Mapping[str, float], **kwargs: Any) -> None:
        """Check the validation loss and its perplexity, which overflows beyond `_LARGEST` nats a token."""
        broken = {
            f"the validation loss in {name.removeprefix('eval_').removesuffix('_loss')}": value
            for name, value in metrics.items()
            if name.endswith("_loss") and not value < _LARGEST  # NaN is not below anything
        }
        if broken:
            raise self._error(state.global_step, broken)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Check the weights of the checkpoint that has just been written."""
        self.check_weights(state.global_step)

    def check_weights(self, step: int) -> None:
        """Raise DivergedError if a weight is not finite after `step` steps."""
        shards = [p.to_local() if isinstance(p, DTensor) else p for p in self.trainer.model.parameters()]
        finite = torch.stack([torch.isfinite(p.detach()).all().to(self.trainer.args.device) for p in shards]).all()
        if float(self._over_ranks((~finite).float())):
            raise self._error(step, {"a weight": math.nan})

    def _over_ranks(self, values: Tensor) -> Tensor:
        """Return the sums over processes: a number that is not finite in one of them is not finite in the sum."""
        several = self.trainer.args.world_size > 1
        return self.trainer.accelerator.reduce(values, "sum") if several else values

    def _scale_falls(self) -> bool:
        scaler = self.trainer.accelerator.scaler
        return scaler is not None and scaler.get_scale() >= 1

    def _error(self, step: int, broken: Mapping[str, float], *, moved: bool = True) -> DivergedError:
        """Return the error for numbers that broke in a step. moved: whether the stage has updated the weights before."""
        what = " and ".join(f"{name} is {value}" for name, value in broken.items())
        when = "" if moved else ", before the first update of the weights"
        remedies = [self.remedies.parts[name] for name in broken if name in self.remedies.parts]
        remedies.append(self.remedies.moved if moved else self.remedies.start)
        place = f"{self.stage} diverged at step {step:,} of {self.trainer.state.max_steps:,}{when}"
        return DivergedError(f"{place}: {what}. To mend it, {', or '.join(remedies)}.")
