"""Checkpoints within a stage: a run that is killed and started again ends with the same weights.

1. After every `every`-th step, after `minutes` without a checkpoint and at an interrupt
   (`prealign.training.interrupts`) the stock Trainer writes `checkpoint-STEP` into the stage's scratch folder: weights,
   optimiser, schedule, random states, history. The Trainer logs before it saves, because a checkpoint does not hold the
   running mean of the loss.
2. When all files are written and synced to disk, with the seconds trained so far in `seconds.json`, the checkpoint is
   sealed (`prealign.seals`). A checkpoint without seal, or with other files than sealed, is *torn*: by a kill, a full disk
   or a power cut.
3. Then all older checkpoints are removed, except the newest `keep`.
4. A stage resumes from the newest whole checkpoint. `prealign.run.folder` sets checkpoints of another fingerprint aside,
   so every checkpoint in the scratch folder belongs to the stage.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import TrainerCallback

from prealign.durable import inside, remove, sync, sync_tree
from prealign.errors import RunFolderError
from prealign.files import read_json, write_json
from prealign.recipe.sections import CheckpointSection
from prealign.seals import WHOLE, damage, is_sealed, seal
from prealign.training.launch import count, is_first
from prealign.training.ranks import by_first, wait
from prealign.training.weights import distinct

_PREFIX = "checkpoint-"
_SECONDS = "seconds.json"
_ASKED_EVERY = 50  # steps


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint: its folder, and the steps and seconds of training that it holds."""

    folder: Path
    step: int
    seconds: float


def seal_checkpoint(folder: Path, seconds: float) -> None:
    """Seal the checkpoint in `folder` as whole, after `seconds` of training. It is then on disk."""
    write_json(folder / _SECONDS, seconds)
    sync_tree(folder)
    seal(folder)
    sync(folder.parent)


def newest(scratch: Path) -> Checkpoint | None:
    """Return the newest whole checkpoint under `scratch`; None if there is none."""
    for step, folder in sorted(_folders(scratch), reverse=True):
        seconds = _seconds_if_whole(folder)
        if seconds is not None:
            return Checkpoint(folder, step, seconds)
    return None


def any_left(scratch: Path) -> bool:
    """Whether `scratch` holds a checkpoint, whole or torn."""
    return bool(_folders(scratch))


def keep_last(scratch: Path, number: int) -> None:
    """Remove all sealed checkpoints except the newest `number`, and torn ones older than the newest sealed one."""
    folders = sorted(_folders(scratch), reverse=True)
    sealed = [step for step, folder in folders if is_sealed(folder)]
    for step, folder in folders:
        if step not in sealed[:number] and step < max(sealed, default=0):
            # Remove the seal first: after a kill half-way, the rest counts as torn.
            remove(inside(scratch, folder.name, WHOLE))
            remove(folder)


def discard_after(scratch: Path, step: int) -> None:
    """Remove the checkpoints of steps after `step`. They are torn, and the resumed stage writes the same folders."""
    for later, folder in _folders(scratch):
        if later > step:
            remove(folder)


def _folders(scratch: Path) -> list[tuple[int, Path]]:
    return [
        (int(number), folder)
        for folder in scratch.glob(f"{_PREFIX}*")
        if (number := folder.name.removeprefix(_PREFIX)).isdecimal()
    ]


def _seconds_if_whole(folder: Path) -> float | None:
    if damage(folder, read=None):
        return None
    try:
        return float(read_json(folder / _SECONDS))
    except (FileNotFoundError, RunFolderError, TypeError, ValueError):
        return None


@contextmanager
def names_kept(model: Any) -> Iterator[None]:
    """Within the context, let `save_pretrained` write weights under their names in the model; the Trainer loads by
    these.

    Without this, `save_pretrained` renames the weights of some models (NeoX), so that loading silently skips the head,
    and it refuses a parametrisation shared by tied embeddings. Names that share one tensor are written once, under the
    first name; loading that name loads all of them.
    """
    save = model.save_pretrained

    def save_pretrained(*args: Any, state_dict: dict[str, Tensor] | None = None, **kwargs: Any) -> Any:
        weights = distinct(model.state_dict() if state_dict is None else state_dict)
        return save(*args, state_dict=weights, save_original_format=False, **kwargs)

    model.save_pretrained = save_pretrained
    try:
        yield
    finally:
        del model.save_pretrained


class Checkpoints(TrainerCallback):
    """Makes the Trainer save every `section.every` steps, seals the checkpoint, and removes older ones.

    seconds: training time of earlier processes, up to the checkpoint that this process resumes from.
    """

    def __init__(self, section: CheckpointSection, seconds: float = 0.0) -> None:
        self.section, self.seconds = section, seconds
        self.began = self.saved = time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clocks."""
        self.began = self.saved = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Request a log entry and a checkpoint at every `every`-th step, and after `minutes` without one.

        Not at the last step, where the stage is saved.
        """
        step = state.global_step
        if step < state.max_steps and (step % self.section.every == 0 or self._is_late(step)):
            control.should_log = control.should_save = True

    def _is_late(self, step: int) -> bool:
        """Whether `minutes` have passed. Clocks differ, so that with several processes the first one's counts, which the
        others ask for now and then."""
        if count() > 1 and step % _ASKED_EVERY:
            return False
        return bool(by_first(lambda: time.monotonic() - self.saved >= 60 * self.section.minutes))

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Seal the checkpoint after all processes have written their part, and remove older ones."""
        wait()
        self.saved = time.monotonic()
        if is_first():
            scratch = Path(args.output_dir)
            seal_checkpoint(scratch / f"{_PREFIX}{state.global_step}", self.seconds + time.monotonic() - self.began)
            keep_last(scratch, self.section.keep)
