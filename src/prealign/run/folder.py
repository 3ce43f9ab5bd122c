"""The layout of a run folder, and the life of a stage.

    RUN/recipe.yaml, results.json, report.html
    RUN/hub.json: commits of what the recipe names on the Hugging Face Hub (`prealign.run.revisions`)
    RUN/hashes.json: content hashes of the files that the recipe names (`prealign.contents`)
    RUN/data.lock, results.json.lock, arms/ARM/seed-N.lock, using/: locks (`prealign.run.locks`)
    RUN/data/tokens/: tokenizer/, LANGUAGE/SPLIT/, words.json, segmented-words.json, new-tokens.json
    RUN/data/lexicon/: lexicon.jsonl, tests.jsonl, target-words.json
    RUN/data/facts/: LANGUAGE/facts/, questions.jsonl, lexicon.jsonl (that of data/lexicon plus the names of the facts)
    RUN/arms/ARM/seed-N/{blocks,align,pretrain,evaluate,knowledge,transfer}/
    RUN/harness/tokenizer/, tasks/: for lm-evaluation-harness

1. A stage writes into `STAGE.partial`.
2. At its end its files are synced to disk. Then it writes `stage.json`: its fingerprint and its record. Then the folder is
   sealed (`prealign.seals`).
3. Its scratch is removed, and the folder is renamed to `STAGE`. A folder with its final name is therefore complete, also
   after a power loss, and no checkpoint is removed before the weights are on disk.
4. A stage is *fresh* while its fingerprint equals that of its settings, its input files and the stages it reads, and
   while its files are as they were sealed.
5. A stage that is replaced is removed, or set aside if it took long to make (`prealign.run.former`).

`STAGE.partial/scratch` (for example checkpoints, `prealign.training.checkpoints`) outlives a killed attempt. If the
fingerprint in its `begun.json` is another one, checkpoints are set aside and the rest is removed.

A run folder is known by its recipe.yaml, or by its stages where recipe.yaml is missing or damaged: it is written again.
Folders of stages are real folders. A link in their place is refused: what it points to is not ours.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

import xxhash

from prealign.contents import ContentCache
from prealign.durable import inside, is_temporary, remove, remove_stale, rename, sync, sync_tree
from prealign.errors import RunFolderError
from prealign.faults import disk_errors
from prealign.files import read_json, write_json, write_text
from prealign.run.former import PARTIAL, kept, set_aside, size
from prealign.run.locks import Use, use
from prealign.seals import damage, seal
from prealign.training.checkpoints import any_left

STAGE_FILE = "stage.json"
SCRATCH = "scratch"
_BEGUN = "begun.json"
_NAME = "name: "
_EARLY = {"recipe.yaml", "hub.json", "hashes.json", "data.lock"}
"""Files of a run folder before its first stage begins."""
_SIGNS = ("data/*/stage.json", f"data/*/{SCRATCH}/{_BEGUN}", "arms/*/seed-*/*/stage.json")
"""Files that no folder but that of a run has."""
FORMAT = 5
"""Part of every fingerprint. Raise it when a stage gives another result for the same inputs."""
LONG = 600
"""Seconds. A stage that took longer to make, or that trained, is set aside when another one replaces it."""

Tell = Callable[[str], None]
"""Takes a note for the user."""


def silent(note: str) -> None:
    """Tell nobody."""


def fingerprint(*parts: Any) -> str:
    """Return a hash of JSON values as 16 hex digits."""
    return xxhash.xxh64_hexdigest(json.dumps([FORMAT, *parts], sort_keys=True, default=str).encode())


class RunFolder:
    """The folder of one run."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self._use: Use | None = None
        self._contents = ContentCache(self.root / "hashes.json")

    recipe = property(lambda self: self.root / "recipe.yaml")
    results = property(lambda self: self.root / "results.json")
    report = property(lambda self: self.root / "report.html")
    hub = property(lambda self: self.root / "hub.json")
    data = property(lambda self: inside(self.root, "data"))
    harness = property(lambda self: inside(self.root, "harness"))

    def __reduce__(self) -> tuple[type[RunFolder], tuple[Path]]:
        return RunFolder, (self.root,)  # the use of the data stays with the process that registered it

    def use_data(self) -> None:
        """Register this process as a user of the data, until this object is gone: others must not replace them."""
        self._use = use(self.root)

    def contents(self, paths: Iterable[Path]) -> list[tuple[str, str]]:
        """Return path and content hash of each file, also of files in folders. Hashes are cached between commands."""
        return self._contents.hashes(paths)

    def stage(self, arm: str, seed: int, name: str) -> Path:
        """Return the folder of a stage of one arm and seed. RunFolderError if it is, or lies in, a link."""
        return inside(self.root, "arms", arm, f"seed-{seed}", name)

    def stages(self, name: str) -> list[Path]:
        """Return the finished folders of a stage, over all arms and seeds."""
        return sorted(path.parent for path in self.root.glob(f"arms/*/seed-*/{name}/{STAGE_FILE}"))

    def claim(self, name: str, recipe: str) -> None:
        """Write the recipe into the folder, and remove what killed commands left there. name: of the recipe.

        Raises RunFolderError if the folder belongs to another recipe, or is not empty and not a run folder.
        """
        if self.root.exists():
            remove_stale(self.root)
        own, found = recipe.partition("\n")[0], _text(self.recipe)
        first = found.partition("\n")[0]
        # A kill or a power loss leaves no file, an empty one, or its beginning.
        cut = not found.strip("\0") or (first == found and own.startswith(first))
        if first != own and first.startswith(_NAME) and not cut:
            raise RunFolderError(
                f"{self.root} is the run folder of another recipe ({first!r}, this one is {name!r}). "
                "Choose another run folder (--out; of `prealign switch`: --run), or remove it."
            )
        if first != own and not self._is_ours(cut):
            raise RunFolderError(
                f"{self.root} is not empty and not a run folder. Choose another "
                "run folder (--out; of `prealign switch`: --run)."
            )
        write_text(self.recipe, recipe)

    def _is_ours(self, cut: bool) -> bool:
        """Whether a folder is empty or that of a run. cut: its recipe.yaml is missing or was not written to its end."""
        left = [path for path in self.root.iterdir() if not is_temporary(path)] if self.root.exists() else []
        early = cut and {path.name for path in left} <= _EARLY
        return early or any(any(self.root.glob(pattern)) for pattern in _SIGNS)


def _text(path: Path) -> str:
    """Return the text of a file; empty if there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def finished(folder: Path, mark: str, *, read: Collection[str] | None = ()) -> dict[str, Any] | None:
    """Return the record of a stage if it is complete, undamaged and has the fingerprint `mark`, else None.

    Compares the sizes of all files with their seal, and the contents of the files `read` (None: of all).
    """
    if damage(folder, read=None if read is None else {STAGE_FILE, *read}):  # also while another process replaces it
        return None
    try:
        record: dict[str, Any] = read_json(folder / STAGE_FILE)
    except FileNotFoundError:
        return None
    return record if record["fingerprint"] == mark else None


def recorded(folder: Path) -> dict[str, Any]:
    """Return the record in a stage folder, whole or not; {} if it is missing or unreadable."""
    try:
        record = read_json(folder / STAGE_FILE)
    except (OSError, RunFolderError):
        return {}
    return record if isinstance(record, dict) else {}


def run_stage(
    folder: Path, mark: str, work: Callable[[Path], dict[str, Any]], *, anew: bool = False, tell: Tell = silent
) -> dict[str, Any]:
    """Do the work of a stage in `folder.partial`, write its record and rename the folder. Returns the record.

    mark: fingerprint of the stage. work: gets the partial folder and returns the record. anew: discard the files of an
    interrupted attempt. tell: gets notes on what is set aside. DiskError if the disk cannot be written.
    """
    with disk_errors(folder):
        partial = begin_stage(folder, mark, anew=anew, tell=tell)
        return end_stage(folder, mark, {} if finished(partial, mark) else work(partial), tell=tell)


def partial_folder(folder: Path) -> Path:
    """Return the folder of an incomplete stage. RunFolderError if it is a link."""
    return inside(folder.parent, folder.name + PARTIAL)


def begin_stage(folder: Path, mark: str, *, anew: bool = False, tell: Tell = silent) -> Path:
    """Return `folder.partial`, emptied except for scratch of the same fingerprint. A complete one stays unchanged.

    Work of another fingerprint is set aside, and work of this fingerprint that was set aside is taken back. anew: no work of
    this fingerprint is used, and the folder is emptied. RunFolderError if a folder of the stage is a link.
    """
    partial = partial_folder(folder)
    scratch = inside(partial, SCRATCH)
    if not anew and finished(partial, mark, read=None):
        return partial
    if _begun(partial) != mark:
        _set_partial_aside(folder, mark, tell)
        if not anew and _take_back(folder, mark, tell):
            return partial
    if anew and any_left(scratch):
        tell("its checkpoints are removed, as --force says: it starts anew")
    whole = not anew and _begun(partial) == mark
    if not whole:
        # Remove this file first: after a kill, half-removed scratch must not count as whole.
        remove(scratch / _BEGUN)
    for path in partial.iterdir() if partial.exists() else ():
        if path != scratch or not whole:
            remove(path)
    write_json(scratch / _BEGUN, mark)
    return partial


def _begun(partial: Path) -> str | None:
    with contextlib.suppress(OSError, RunFolderError):
        return str(read_json(partial / SCRATCH / _BEGUN))
    return None


def _set_partial_aside(folder: Path, mark: str, tell: Tell) -> None:
    """Set an unfinished stage of another fingerprint aside if it holds checkpoints, or was only not renamed yet."""
    partial = partial_folder(folder)
    if (partial / STAGE_FILE).exists():
        _set_aside_if_costly(partial, folder, mark, tell)
    elif any_left(partial / SCRATCH):
        place = set_aside(partial, kept(folder, _begun(partial) or "", partial=True))
        tell(
            f"checkpoints of other settings ({size(place):,} bytes) are kept in {place}; `prealign clean` removes them"
        )


def _take_back(folder: Path, mark: str, tell: Tell) -> bool:
    """Make what was set aside with the fingerprint `mark` the partial folder. Returns whether it is a complete stage."""
    stage, partial = kept(folder, mark), kept(folder, mark, partial=True)
    complete = finished(stage, mark, read=None) is not None
    if complete or _begun(partial) == mark:
        remove(partial_folder(folder))
        rename(stage if complete else partial, partial_folder(folder))
        tell(f"goes back to the {'stage' if complete else 'checkpoints'} of these settings, kept earlier")
    return complete


def end_stage(folder: Path, mark: str, record: dict[str, Any], *, tell: Tell = silent) -> dict[str, Any]:
    """Write the record into `folder.partial`, unless it has one, seal and rename the folder. Returns the record."""
    partial = partial_folder(folder)
    done = finished(partial, mark)
    if done is None:
        done = {"fingerprint": mark, **record}
        sync_tree(partial, without=SCRATCH)
        write_json(partial / STAGE_FILE, done)
        seal(partial, without=SCRATCH)
        sync(partial.parent)
    # From here on the stage is on disk, and a next attempt only renames it.
    remove(inside(partial, SCRATCH))
    _clear(folder, mark, tell)
    rename(partial, folder)
    return done


def _clear(folder: Path, mark: str, tell: Tell) -> None:
    """Make room for a stage with the fingerprint `mark`: set the former one aside if it took long, else remove it.

    It is renamed before it is removed: a kill then leaves no half stage under the final name.
    """
    old = inside(folder.parent, folder.name + ".old")
    remove(old)
    if inside(folder.parent, folder.name).exists():
        _set_aside_if_costly(folder, folder, mark, tell)
    if folder.exists():
        folder.rename(old)
        remove(old)


def _set_aside_if_costly(found: Path, folder: Path, mark: str, tell: Tell) -> None:
    """Set a stage in `found` aside if it took long to make, unless it equals what takes its place (made by --force)."""
    record = recorded(found)
    seconds = record.get("seconds", 0) if record else LONG  # unreadable: it may be costly
    if "history" not in record and not (isinstance(seconds, (int, float)) and seconds >= LONG):
        return
    if finished(found, mark, read=None) is None:
        place = set_aside(found, kept(folder, str(record.get("fingerprint", ""))))
        tell(f"the former stage ({size(place):,} bytes) is kept in {place}; `prealign clean` removes it")


def share_stage(folder: Path, other: Path, mark: str, *, tell: Tell = silent) -> None:
    """Copy the stage `other` of another arm by hard links. The copy takes no space and outlives the original."""
    aside = inside(folder.parent, folder.name + ".shared")
    remove(aside)
    shutil.copytree(other, aside, copy_function=os.link)
    _clear(folder, mark, tell)
    _set_partial_aside(folder, mark, tell)
    remove(partial_folder(folder))
    rename(aside, folder)
