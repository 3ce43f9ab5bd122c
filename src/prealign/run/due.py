"""Which stages are due, and why.

1. Go through the stages from the last one to the first. A stage is due if it is missing, of another fingerprint, or
   damaged.
2. Compare the sizes of the files of every stage with its seal. Compare their contents where they are read now: by a due
   stage, or by the caller.
3. A damaged stage is made again. Stages that read it stay fresh while their fingerprints hold: it is made as before.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from prealign.run.folder import STAGE_FILE, finished, recorded
from prealign.seals import damage


@dataclass(frozen=True)
class Stage:
    """A stage: its folder, its fingerprint, and the earlier stages that it reads."""

    folder: Path
    mark: str
    reads: tuple[str, ...] = ()


def due_stages(
    stages: Mapping[str, Stage], read: Collection[str], changes: Callable[[str, Path], str]
) -> dict[str, str]:
    """Return the stages that are due, in their order, each with the reason for the user; "" if it was never made.

    read: the stages that the caller reads. changes: gets a stage of another fingerprint and its folder, and returns
    what has changed since.
    """
    reasons: dict[str, str] = {}
    needed = set(read)
    for name in reversed(list(stages)):
        stage = stages[name]
        if finished(stage.folder, stage.mark, read=None if name in needed else ()) is None:
            reasons[name] = _reason(stage, partial(changes, name))
            needed |= set(stage.reads)
    return {name: reasons[name] for name in stages if name in reasons}


def _reason(stage: Stage, changes: Callable[[Path], str]) -> str:
    if not stage.folder.exists():
        return ""
    found = damage(stage.folder, read={STAGE_FILE})
    if found is None and recorded(stage.folder).get("fingerprint") == stage.mark:
        found = damage(stage.folder, read=None)
    return f"{f'damaged: {found}' if found else changes(stage.folder)}; the stage is made again"
