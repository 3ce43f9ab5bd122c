"""Whole checkpoints of a stage that trains: a run that is killed and started again ends with the same weights.

1. After every `every`-th step the stock Trainer writes `checkpoint-STEP` into the stage's scratch folder: weights,
   optimiser, schedule, random numbers, history. It logs at that step before, as no checkpoint has the mean it is summing up.
2. When all its files are there, `whole.json` is written last: size and hash of each, and the seconds trained so far. A
   checkpoint without it, or whose files are others, was torn: by a kill, a full disk, a machine that lost power.
3. Only then are older checkpoints removed, all but the newest `keep`.
4. A stage that starts goes on from the newest whole checkpoint. That they are of its fingerprint is the business of
   `prealign.run.folder`, which keeps no other's.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash
from torch import Tensor
from transformers import TrainerCallback

from prealign.errors import RunFolderError
from prealign.files import read_json, write_json
from prealign.recipe.sections import CheckpointSection
from prealign.training.launch import is_first
from prealign.training.ranks import wait

WHOLE = "whole.json"
_PREFIX = "checkpoint-"
_PIECE = 2**24  # bytes read at once


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint: its folder, the steps and the seconds of training that are in it."""

    folder: Path
    step: int
    seconds: float


def seal(folder: Path, seconds: float) -> None:
    """Say that the checkpoint in `folder` is whole, after `seconds` of training."""
    files = {path.relative_to(folder).as_posix(): _size_and_hash(path) for path in _files(folder)}
    write_json(folder / WHOLE, {"seconds": seconds, "files": files})


def newest(scratch: Path) -> Checkpoint | None:
    """Return the newest whole checkpoint under `scratch`; None if there is none."""
    for step, folder in sorted(_folders(scratch), reverse=True):
        seconds = _seconds_if_whole(folder)
        if seconds is not None:
            return Checkpoint(folder, step, seconds)
    return None


def any_left(scratch: Path) -> bool:
    """Whether there is any checkpoint under `scratch`, whole or torn."""
    return bool(_folders(scratch))


def keep_last(scratch: Path, number: int) -> None:
    """Remove all sealed checkpoints but the newest `number`, and what is torn and older than the newest."""
    folders = sorted(_folders(scratch), reverse=True)
    sealed = [step for step, folder in folders if (folder / WHOLE).exists()]
    for step, folder in folders:
        if step not in sealed[:number] and step < max(sealed, default=0):
            # It loses its seal first: a kill half-way leaves no half of it that has one.
            (folder / WHOLE).unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)


def discard_after(scratch: Path, step: int) -> None:
    """Remove the checkpoints of later steps than `step`: torn ones, which would stand in the way of those to come."""
    for later, folder in _folders(scratch):
        if later > step:
            shutil.rmtree(folder, ignore_errors=True)


def _folders(scratch: Path) -> list[tuple[int, Path]]:
    return [
        (int(number), folder)
        for folder in scratch.glob(f"{_PREFIX}*")
        if (number := folder.name.removeprefix(_PREFIX)).isdecimal()
    ]


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != WHOLE)


def _size_and_hash(path: Path) -> list[Any]:
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return [path.stat().st_size, digest.hexdigest()]


def _seconds_if_whole(folder: Path) -> float | None:
    try:
        seal = read_json(folder / WHOLE)
        expected: dict[str, list[Any]] = seal["files"]
        seconds = float(seal["seconds"])
    except (FileNotFoundError, RunFolderError, KeyError, TypeError, ValueError):  # no seal, or not one of ours
        return None
    found = {path.relative_to(folder).as_posix(): path for path in _files(folder)}
    # Sizes of all before any hash: a file that was cut is found without reading the others.
    whole = (
        found.keys() == expected.keys()
        and all(found[name].stat().st_size == size for name, (size, _) in expected.items())
        and all(_size_and_hash(found[name])[1] == digest for name, (_, digest) in expected.items())
    )
    return seconds if whole else None


@contextmanager
def names_kept(model: Any) -> Iterator[None]:
    """Let `save_pretrained` write weights under their names in the model, by which the Trainer loads them again.

    On its own it renames those of some models (NeoX), whose head would silently not be loaded, and refuses a parametrisation
    that tied embeddings share. Of weights that are one tensor the first name is written, and loading it loads all.
    """
    save = model.save_pretrained

    def save_pretrained(*args: Any, state_dict: dict[str, Tensor] | None = None, **kwargs: Any) -> Any:
        weights = model.state_dict() if state_dict is None else state_dict
        names: dict[Any, str] = {}
        for name, weight in weights.items():
            names.setdefault((weight.data_ptr(), weight.shape) if weight.numel() else name, name)
        own = {name: weights[name] for name in names.values()}
        return save(*args, state_dict=own, save_original_format=False, **kwargs)

    model.save_pretrained = save_pretrained
    try:
        yield
    finally:
        del model.save_pretrained


class Checkpoints(TrainerCallback):
    """Has the Trainer save when it is time, seals what it saved, and removes what is older.

    seconds: trained before this process, up to the checkpoint that it goes on from.
    """

    def __init__(self, section: CheckpointSection, seconds: float = 0.0) -> None:
        self.section, self.seconds = section, seconds
        self.began = time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock."""
        self.began = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Ask for a checkpoint, but for the last step: the stage itself is saved then."""
        if state.global_step % self.section.every == 0 and state.global_step < state.max_steps:
            control.should_log = control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Seal it, when all processes have written their part."""
        wait()
        if is_first():
            scratch = Path(args.output_dir)
            seal(scratch / f"{_PREFIX}{state.global_step}", self.seconds + time.monotonic() - self.began)
            keep_last(scratch, self.section.keep)
