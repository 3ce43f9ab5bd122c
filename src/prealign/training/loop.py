"""The training loop of every phase: arguments of `transformers.Trainer`, progress, resume, and the training record.

1. `training_arguments` turns the settings of a phase and the recipe's `trainer` into `TrainingArguments`.
2. `run_trainer` resumes from the newest whole checkpoint in the scratch folder (`prealign.training.checkpoints`), or
   starts at step 0.
3. It trains, reports progress and gathers sharded weights. It ends at the first number that is not finite
   (`prealign.training.finite`).
4. It returns the record: steps, tokens, FLOPs, seconds and history.

Batch sizes are per device. Tokens and FLOPs of the record are summed over all devices.
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

from prealign.errors import PrealignError, RecipeError
from prealign.events import OnProgress, Progress
from prealign.recipe.sections import CheckpointSection, PretrainSection
from prealign.training import ranks
from prealign.training.checkpoints import Checkpoint, Checkpoints, any_left, discard_after, names_kept, newest
from prealign.training.finite import Remedies, watched
from prealign.training.forward import LIGER
from prealign.training.interrupts import saved_at_interrupts
from prealign.training.models import frozen_share
from prealign.training.precision import check_precision, device, measure_in_float32, precision
from prealign.training.weights import check_checkpoint

LOG_POINTS = 50


class Optimisation(Protocol):
    """The settings of AdamW in a phase or in fine-tuning."""

    @property
    def learning_rate(self) -> float:
        """Return the peak learning rate."""

    @property
    def weight_decay(self) -> float:
        """Return the weight decay."""

    @property
    def warmup(self) -> float:
        """Return the share of the steps with a rising learning rate."""


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
    """Return the arguments of `transformers.Trainer`: cosine schedule, AdamW, examples in the order of the data.

    trainer: the recipe's `trainer`; it overrides the others. folder: scratch folder of the stage. steps: number of
    optimiser steps. batch_size: examples per device. validations: number of validation measurements. every_weight_used:
    whether every weight has a gradient in each step; if not, DDP must search for weights without one.
    """
    settings: dict[str, Any] = {
        "output_dir": str(folder),
        "max_steps": steps,
        "per_device_train_batch_size": batch_size,
        "per_device_eval_batch_size": eval_batch_size,
        "learning_rate": optimisation.learning_rate,
        "weight_decay": optimisation.weight_decay,
        # As a number of steps: the Trainer would read a share of 1 as one step.
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
        # The filter writes a finite loss for one that is not, and leaves such batches out of the validation loss.
        "logging_nan_inf_filter": False,
        "ddp_find_unused_parameters": not every_weight_used,
        "bf16": precision(trainer) == "bf16 autocast",
        "tf32": False if torch.cuda.is_available() else None,  # torch_compile would turn it on
        "use_cpu": device().type == "cpu",
    }
    # `TrainingArguments` with torch_compile sets the first variable, which would compile the next training too.
    # `accelerate launch --mixed_precision` sets the second, which would override fp32 of the recipe.
    for name in ("ACCELERATE_DYNAMO_BACKEND", "ACCELERATE_MIXED_PRECISION"):
        os.environ.pop(name, None)
    return TrainingArguments(**settings | {name: value for name, value in trainer.items() if name != LIGER})


def check_arguments(trainer: Mapping[str, Any]) -> None:
    """Raise RecipeError if `TrainingArguments`, or the optimiser that they name, refuse the recipe's `trainer` here."""
    try:
        arguments = training_arguments(trainer, Path(), PretrainSection(), steps=1, batch_size=1, seed=0)
    except Exception as error:  # transformers checks with errors of many classes
        raise RecipeError(f"trainer: {error}") from None
    try:
        Trainer.get_optimizer_cls_and_kwargs(arguments)
    except ImportError as error:
        raise RecipeError(f"trainer.optim: {error}") from None
    except ValueError:
        return  # some optimisers choose their settings by the model, which is not built yet


class ProgressCallback(TrainerCallback):
    """Reports progress after a step, at most ten times a second. seconds: training time of earlier processes."""

    def __init__(self, stage: str, tokens_per_step: float, on_progress: OnProgress, seconds: float = 0.0) -> None:
        self.stage, self.tokens_per_step, self.on_progress = stage, tokens_per_step, on_progress
        self.reported = time.monotonic()
        self.began = self.reported - seconds
        self.loss: float | None = None

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        """Remember the last logged loss."""
        self.loss = (logs or {}).get("loss", self.loss)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Report the finished step."""
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
    remedies: Remedies,
    callbacks: Sequence[TrainerCallback] = (),
    checkpoint: CheckpointSection | None = None,
) -> dict[str, Any]:
    """Train the model in place and return the record of the training.

    tokens, flops: of one step on one device. remedies: for training that diverges. checkpoint: when to write checkpoints
    into the Trainer's folder; training resumes from the newest whole one there. None: no checkpoints. Raises DivergedError
    at the first number that is not finite, PrealignError if the Trainer stops early.

    The record holds "steps"; "tokens" and "flops" of all devices; "seconds" of the steps that led to the weights;
    "history"; and "frozen", the frozen share of the parameters, if it is above 0. A history point holds "step" and
    "tokens", and where logged "loss", its parts ("lm_loss", "align_loss", …), "learning_rate" and "validation"
    (perplexity by language).
    """
    check_precision(trainer.accelerator, trainer.args)
    devices = trainer.args.world_size
    frozen = frozen_share(trainer.model)  # counted before sharding splits the weights
    resumed = _resume_point(trainer, stage, on_progress) if checkpoint else None
    seconds = resumed.seconds if resumed else 0.0
    _fill_validation_batches(trainer)
    # The stock method counts the model's parameters at every step to estimate the FLOPs; they are known here.
    trainer.floating_point_ops = lambda inputs: round(flops)
    trainer.remove_callback(PrinterCallback)
    added = [ProgressCallback(stage, devices * tokens, on_progress, seconds), *callbacks]
    kept = checkpoint if checkpoint and checkpoint.every else None
    with (
        watched(trainer, stage, remedies) as finite,
        names_kept(trainer.model) if checkpoint else nullcontext(),
        saved_at_interrupts(stage, on_progress) if kept else nullcontext() as at_interrupt,
    ):
        added += [Checkpoints(kept, seconds)] if kept else []
        added += [at_interrupt] if at_interrupt else []
        for callback in added:
            trainer.add_callback(callback)
        output = trainer.train(resume_from_checkpoint=str(resumed.folder) if resumed else None)
        # If one of its callbacks stops it early, the Trainer returns without an error. Such weights must not be saved.
        # A callback that ends it on purpose moves `max_steps`, as `UntilEstablished` does.
        steps = trainer.state.global_step
        if steps < trainer.state.max_steps:
            raise PrealignError(
                f"{stage} stopped at step {steps:,} of {trainer.state.max_steps:,}; run the same command to go on."
            )
        finite.check_weights(steps)
    measure_in_float32()
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
    """On several devices, choose a validation batch size that divides every set: a partial batch repeats blocks."""
    if trainer.args.world_size > 1 and isinstance(trainer.eval_dataset, dict):
        common = math.gcd(*map(len, trainer.eval_dataset.values()))
        most = trainer.args.per_device_eval_batch_size
        trainer.args.per_device_eval_batch_size = max(n for n in range(1, most + 1) if common % n == 0)


def _resume_point(trainer: Trainer, stage: str, on_progress: OnProgress) -> Checkpoint | None:
    """Return the newest whole checkpoint in the Trainer's folder and report it. Newer, torn ones are removed."""
    scratch, steps = Path(trainer.args.output_dir), trainer.args.max_steps

    def find() -> dict[str, Any]:
        any_checkpoint, whole = any_left(scratch), newest(scratch)
        discard_after(scratch, whole.step if whole else 0)
        if whole is None:
            return {"torn": any_checkpoint}
        return {"folder": str(whole.folder), "step": whole.step, "seconds": whole.seconds}

    result = ranks.by_first(find)
    if "folder" not in result:
        if result["torn"]:
            on_progress(Progress(stage, 0, steps, note="no whole checkpoint is left: starts anew"))
        return None
    checkpoint = Checkpoint(Path(result["folder"]), result["step"], result["seconds"])
    check_checkpoint(checkpoint.folder, trainer.model)
    on_progress(
        Progress(stage, checkpoint.step, steps, note=f"goes on from the checkpoint of step {checkpoint.step:,}")
    )
    return checkpoint


def _is_logged(key: str) -> bool:
    return key in ("loss", "learning_rate") or (key.endswith("_loss") and not key.startswith(("eval_", "train_")))


def history_points(entries: Sequence[dict[str, Any]], tokens_per_step: float) -> list[dict[str, Any]]:
    """Return one point for each step with an entry in the Trainer's log. tokens_per_step: on all devices together."""
    points: dict[int, dict[str, Any]] = {}
    for entry in entries:
        values: dict[str, Any] = {key: value for key, value in entry.items() if _is_logged(key)}
        for key, value in entry.items():
            language = key.removeprefix("eval_").removesuffix("_loss")
            if key == f"eval_{language}_loss":
                perplexity = float(torch.tensor(value, dtype=torch.float64).exp())
                values.setdefault("validation", {})[language] = perplexity
        if values:
            step = int(entry["step"])
            point = points.setdefault(step, {"step": step, "tokens": round(step * tokens_per_step)})
            validation = point.get("validation", {}) | values.get("validation", {})
            point |= values | ({"validation": validation} if validation else {})
    return [points[step] for step in sorted(points)]
