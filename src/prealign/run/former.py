"""Former stages: work of other settings that cost hours. It stays in the run folder until the user removes it.

    STAGE.former/FINGERPRINT          a finished stage that another one has replaced
    STAGE.former/FINGERPRINT.partial  an unfinished stage with checkpoints

1. `set_aside` moves a folder there, under a free name.
2. `kept` finds the work of a fingerprint again: a setting that is changed back costs no second training.
3. `all_former` lists everything that `prealign clean` removes.
"""

from __future__ import annotations

from itertools import count
from pathlib import Path

from prealign.durable import inside, make_folder, sync

SUFFIX = ".former"
PARTIAL = ".partial"


def kept(folder: Path, mark: str, *, partial: bool = False) -> Path:
    """Return where the stage `folder` with the fingerprint `mark` is kept; partial: unfinished."""
    # Of a damaged stage the fingerprint may be anything, even a path.
    name = mark if mark.isalnum() else "unknown"
    return inside(folder.parent, folder.name + SUFFIX, name + PARTIAL if partial else name)


def set_aside(found: Path, place: Path) -> Path:
    """Move the folder `found` to `place`; if that is taken, to a numbered name beside it. Returns the new path."""
    make_folder(place.parent)
    names = (place.name if number == 1 else f"{place.name}-{number}" for number in count(1))
    free = next(path for name in names if not (path := place.with_name(name)).exists())
    found.rename(free)
    sync(free.parent)
    return free


def size(folder: Path) -> int:
    """Return the bytes of all files in a folder. Files with several names (shared stages) count whole."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def all_former(root: Path) -> list[Path]:
    """Return the former stages in a run folder, of its data and of all arms and seeds."""
    return sorted(path for place in ("data", "arms/*/seed-*") for path in root.glob(f"{place}/*{SUFFIX}/*"))
