"""What both stages share: the arguments of `transformers.Trainer`, progress, and the record of a training run.

1. Batch sizes are of one device. Under a launcher the Trainer trains on all, and tokens are counted over all.
2. A stage goes on from the newest whole checkpoint in its scratch folder (`prealign.training.checkpoints`), or starts anew.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from prealign.errors import PrealignError
from prealign.events import OnProgress, Progress
from prealign.recipe.sections import CheckpointSection
from prealign.training import ranks
from prealign.training.checkpoints import Checkpoint, Checkpoints, any_left, discard_after, names_kept, newest
from prealign.training.forward import LIGER
from prealign.training.models import frozen_share
from prealign.training.precision import device, precision

LOG_POINTS = 50


class Optimisation(Protocol):
    """The settings of AdamW in a phase or in fine-tuning."""

    @property
    def learning_rate(self) -> float:
        """Return the highest learning rate."""

    @property
    def weight_decay(self) -> float:
        """Return the weight decay."""

    @property
    def warmup(self) -> float:
        """Return the share of the steps in which the learning rate rises."""


def training_arguments(
    trainer: Mapping[str, Any],
    folder: Path,
    optimisation: Optimisation,
    *,
    steps: int,
    batch_size: int,
    seed: int,
    eval_batch_size: int = 32,
    validations: int = 1,
    every_weight_used: bool = True,
) -> TrainingArguments:
    """Return the arguments of a training: cosine schedule, AdamW, examples in their order.

    trainer: the recipe's `trainer`, which goes on top. validations: how often validation blocks are measured.
    every_weight_used: whether every weight has a gradient in each step; DDP looks for those that have none otherwise.
    """
    settings: dict[str, Any] = {
        "output_dir": str(folder),
        "max_steps": steps,
        "per_device_train_batch_size": batch_size,
        "per_device_eval_batch_size": eval_batch_size,
        "learning_rate": optimisation.learning_rate,
        "weight_decay": optimisation.weight_decay,
        # A share of 1 or more would be read as a number of steps.
        "warmup_steps": math.ceil(steps * optimisation.warmup),
        "lr_scheduler_type": "cosine",
        "adam_beta2": 0.95,
        "seed": seed,
        "data_seed": seed,
        "train_sampling_strategy": "sequential",
        "remove_unused_columns": False,
        "logging_steps": max(1, steps // LOG_POINTS),
        "eval_strategy": "steps",
        "eval_steps": -(-steps // validations),
        "prediction_loss_only": True,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "ddp_find_unused_parameters": not every_weight_used,
        "bf16": precision(trainer) == "bf16 autocast",
        "use_cpu": device().type == "cpu",
    }
    # Arguments with torch_compile leave it in the environment, where it would compile the next training as well; and
    # `accelerate launch --mixed_precision` a precision, where it would win over the recipe's fp32.
    for name in ("ACCELERATE_DYNAMO_BACKEND", "ACCELERATE_MIXED_PRECISION"):
        os.environ.pop(name, None)
    return TrainingArguments(**settings | {name: value for name, value in trainer.items() if name != LIGER})


class ProgressCallback(TrainerCallback):
    """Reports each step, at most ten times a second. seconds: trained before this process."""

    def __init__(self, stage: str, tokens_per_step: float, on_progress: OnProgress, seconds: float = 0.0) -> None:
        self.stage, self.tokens_per_step, self.on_progress = stage, tokens_per_step, on_progress
        self.reported = time.monotonic()
        self.began = self.reported - seconds
        self.loss: float | None = None

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        """Keep the last loss."""
        self.loss = (logs or {}).get("loss", self.loss)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Report."""
        now = time.monotonic()
        if now - self.reported >= 0.1 or state.global_step == state.max_steps:
            self.reported = now
            tokens = state.global_step * self.tokens_per_step
            self.on_progress(
                Progress(self.stage, state.global_step, state.max_steps, tokens, now - self.began, self.loss)
            )


def run_trainer(
    trainer: Trainer,
    stage: str,
    on_progress: OnProgress,
    *,
    tokens: float,
    flops: float,
    callbacks: Sequence[TrainerCallback] = (),
    checkpoint: CheckpointSection | None = None,
) -> dict[str, Any]:
    """Train; return the record: steps, tokens and FLOPs of all devices, seconds, and the history, a point a log entry; and
    which share of the parameters was `frozen`, where any was.

    tokens, flops: of a step on one device. checkpoint: when to write checkpoints into the Trainer's folder, of which the
    newest that is whole is where training begins; None: it has none. Seconds are those of the steps that led to the weights.
    A point holds "step", "tokens", and some of "loss", its parts ("lm_loss", "align_loss", …), "learning_rate", "validation"
    (perplexity by language).
    """
    devices, steps = trainer.args.world_size, trainer.args.max_steps
    frozen = frozen_share(trainer.model)  # now: sharding may take weights apart
    begin = _where_it_was(trainer, stage, on_progress) if checkpoint else None
    seconds = begin.seconds if begin else 0.0
    own = list(callbacks)
    if checkpoint and checkpoint.every:
        own.append(Checkpoints(checkpoint, seconds))
    trainer.remove_callback(PrinterCallback)
    for callback in (ProgressCallback(stage, devices * tokens, on_progress, seconds), *own):
        trainer.add_callback(callback)
    _fill_validation_batches(trainer)
    # The Trainer would count the model's parameters at every step, to estimate what is known here.
    trainer.floating_point_ops = lambda inputs: round(flops)
    with names_kept(trainer.model) if checkpoint else nullcontext():
        output = trainer.train(resume_from_checkpoint=str(begin.folder) if begin else None)
    # The Trainer returns as if all was well when a callback of its own stopped it: such weights are not the stage's.
    if trainer.state.global_step < steps:
        raise PrealignError(
            f"{stage} stopped at step {trainer.state.global_step:,} of {steps:,}; run the same command to go on."
        )
    ranks.gather_weights(trainer.model)
    return {
        "steps": steps,
        "tokens": round(devices * steps * tokens),
        "flops": devices * steps * flops,
        "seconds": seconds + float(output.metrics["train_runtime"]),
        "history": history_points(trainer.state.log_history, devices * tokens),
        **({"frozen": frozen} if frozen else {}),
    }


def _fill_validation_batches(trainer: Trainer) -> None:
    """On several devices, let every batch of validation blocks be full: blocks are repeated to fill one, and count again."""
    if trainer.args.world_size > 1 and isinstance(trainer.eval_dataset, dict):
        common = math.gcd(*map(len, trainer.eval_dataset.values()))
        most = trainer.args.per_device_eval_batch_size
        trainer.args.per_device_eval_batch_size = max(n for n in range(1, most + 1) if common % n == 0)


def _where_it_was(trainer: Trainer, stage: str, on_progress: OnProgress) -> Checkpoint | None:
    """Return the newest whole checkpoint in the Trainer's folder, and tell of it; others that are newer are removed."""
    scratch, steps = Path(trainer.args.output_dir), trainer.args.max_steps

    def find() -> dict[str, Any]:
        torn, found = any_left(scratch), newest(scratch)
        discard_after(scratch, found.step if found else 0)
        return {"folder": str(found.folder), "step": found.step, "seconds": found.seconds} if found else {"torn": torn}

    told = ranks.by_first(find)
    if "folder" not in told:
        if told["torn"]:
            on_progress(Progress(stage, 0, steps, note="no whole checkpoint is left: starts anew"))
        return None
    begin = Checkpoint(Path(told["folder"]), told["step"], told["seconds"])
    on_progress(Progress(stage, begin.step, steps, note=f"goes on from the checkpoint of step {begin.step:,}"))
    return begin


def _is_logged(key: str) -> bool:
    return key in ("loss", "learning_rate") or (key.endswith("_loss") and not key.startswith(("eval_", "train_")))


def history_points(entries: Sequence[dict[str, Any]], tokens_per_step: float) -> list[dict[str, Any]]:
    """Return the points of a Trainer's log, one a step that has an entry. tokens_per_step: on all devices."""
    points: dict[int, dict[str, Any]] = {}
    for entry in entries:
        found: dict[str, Any] = {key: value for key, value in entry.items() if _is_logged(key)}
        for key, value in entry.items():
            language = key.removeprefix("eval_").removesuffix("_loss")
            if key == f"eval_{language}_loss":
                perplexity = float(torch.tensor(value, dtype=torch.float64).exp())
                found.setdefault("validation", {})[language] = perplexity
        if found:
            step = int(entry["step"])
            point = points.setdefault(step, {"step": step, "tokens": round(step * tokens_per_step)})
            validation = point.get("validation", {}) | found.get("validation", {})
            point |= found | ({"validation": validation} if validation else {})
    return [points[step] for step in sorted(points)]
