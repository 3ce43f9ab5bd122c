"""The layout of a run folder, and the life of a stage.

    RUN/recipe.yaml, provenance.json, results.json, report.html
    RUN/hashes.json: content hashes of the files that the recipe names (`prealign.contents`)
    RUN/data.lock, arms/ARM/seed-N.lock: held while a process works there
    RUN/data/tokens/: tokenizer/, LANGUAGE/SPLIT/, words.json, segmented-words.json, new-tokens.json
    RUN/data/lexicon/: lexicon.jsonl, tests.jsonl, target-words.json
    RUN/data/facts/: LANGUAGE/facts/, questions.jsonl, lexicon.jsonl (that of data/lexicon plus the names of the facts)
    RUN/arms/ARM/seed-N/{blocks,align,pretrain,evaluate,knowledge,transfer}/
    RUN/harness/tokenizer/, tasks/: for lm-evaluation-harness

1. A stage writes into `STAGE.partial`.
2. At its end its files are synced to disk. Then it writes `stage.json`: its fingerprint and its record.
3. Its scratch is removed, and the folder is renamed to `STAGE`. A folder with its final name is therefore complete, also
   after a power loss, and no checkpoint is removed before the weights are on disk.
4. A stage is *fresh* while its fingerprint equals that of its settings, its input files and the stages it reads.

`STAGE.partial/scratch` (for example checkpoints, `prealign.training.checkpoints`) outlives a killed attempt as long as
the fingerprint in its `begun.json` stays the same. It is removed when the stage is complete.

A run folder is known by its recipe.yaml, or by its stages where recipe.yaml is missing or damaged: it is written again.
Folders of stages are real folders. A link in their place is refused: what it points to is not ours.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import xxhash
from filelock import FileLock, Timeout

from prealign.contents import ContentCache
from prealign.durable import inside, is_temporary, remove, remove_stale, rename, sync, sync_tree
from prealign.errors import RunFolderError
from prealign.faults import disk_errors
from prealign.files import read_json, write_json, write_text

STAGE_FILE = "stage.json"
SCRATCH = "scratch"
_BEGUN = "begun.json"
_NAME = "name: "
_EARLY = {"recipe.yaml", "provenance.json", "hashes.json", "data.lock"}
"""Files of a run folder before its first stage begins."""
_SIGNS = ("data/*/stage.json", f"data/*/{SCRATCH}/{_BEGUN}", "arms/*/seed-*/*/stage.json")
"""Files that no folder but that of a run has."""
FORMAT = 5
"""Part of every fingerprint. Raise it when a stage gives another result for the same inputs."""


def fingerprint(*parts: Any) -> str:
    """Return a hash of JSON values as 16 hex digits."""
    return xxhash.xxh64_hexdigest(json.dumps([FORMAT, *parts], sort_keys=True, default=str).encode())


class RunFolder:
    """The folder of one run."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self._contents = ContentCache(self.root / "hashes.json")

    recipe = property(lambda self: self.root / "recipe.yaml")
    provenance = property(lambda self: self.root / "provenance.json")
    results = property(lambda self: self.root / "results.json")
    report = property(lambda self: self.root / "report.html")
    data = property(lambda self: inside(self.root, "data"))
    harness = property(lambda self: inside(self.root, "harness"))

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
                "Choose another folder with --out, or remove that one."
            )
        if first != own and not self._is_ours(cut):
            raise RunFolderError(f"{self.root} is not empty and not a run folder. Choose another folder with --out.")
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


@contextlib.contextmanager
def alone_in(folder: Path, *, patient: bool) -> Iterator[None]:
    """Hold the lock of a folder. The operating system releases it when the process ends, even after a kill.

    patient: wait for the lock. Otherwise raise RunFolderError if another process holds it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(inside(folder.parent, folder.name + ".lock"))
    try:
        lock.acquire(timeout=-1 if patient else 0)
    except Timeout:
        raise RunFolderError(
            f"{folder}: another process is at work there. Wait for it to end, or choose another run folder with --out."
        ) from None
    try:
        yield
    finally:
        lock.release()


def finished(folder: Path, mark: str) -> dict[str, Any] | None:
    """Return the record of a stage if the stage is complete and has the fingerprint `mark`, else None."""
    try:
        record = read_json(folder / STAGE_FILE)
    except FileNotFoundError:  # also while another process replaces the folder
        return None
    return record if record["fingerprint"] == mark else None


def run_stage(folder: Path, mark: str, work: Callable[[Path], dict[str, Any]], *, anew: bool = False) -> dict[str, Any]:
    """Do the work of a stage in `folder.partial`, write its record and rename the folder. Returns the record.

    mark: fingerprint of the stage. work: gets the partial folder and returns the record. anew: discard the files of an
    interrupted attempt. DiskError if the disk cannot be written.
    """
    with disk_errors(folder):
        partial = begin_stage(folder, mark, anew=anew)
        return end_stage(folder, mark, {} if finished(partial, mark) else work(partial))


def partial_folder(folder: Path) -> Path:
    """Return the folder of an incomplete stage. RunFolderError if it is a link."""
    return inside(folder.parent, folder.name + ".partial")


def begin_stage(folder: Path, mark: str, *, anew: bool = False) -> Path:
    """Return `folder.partial`, emptied except for scratch of the same fingerprint. A complete one stays unchanged.

    anew: empty it completely. RunFolderError if a folder of the stage is a link.
    """
    partial = partial_folder(folder)
    if not anew and finished(partial, mark):
        return partial
    scratch = inside(partial, SCRATCH)
    begun = None
    with contextlib.suppress(FileNotFoundError, RunFolderError):
        begun = read_json(scratch / _BEGUN)
    if anew or begun != mark:
        # Remove this file first: after a kill, half-removed scratch must not count as whole.
        remove(scratch / _BEGUN)
    for path in partial.iterdir() if partial.exists() else ():
        if path != scratch or anew or begun != mark:
            remove(path)
    write_json(scratch / _BEGUN, mark)
    return partial


def end_stage(folder: Path, mark: str, record: dict[str, Any]) -> dict[str, Any]:
    """Write the record into `folder.partial`, unless it has one, and rename the folder. Returns the record."""
    partial = partial_folder(folder)
    if whole := finished(partial, mark):
        record = whole
    else:
        record = {"fingerprint": mark, **record}
        sync_tree(partial, without=SCRATCH)
        write_json(partial / STAGE_FILE, record)
        sync(partial.parent)
    # From here on the stage is on disk, and a next attempt only renames it.
    remove(inside(partial, SCRATCH))
    _clear(folder)
    rename(partial, folder)
    return record


def _clear(folder: Path) -> None:
    """Remove a stage. The folder is renamed first: a kill then leaves no half stage under the final name."""
    old = inside(folder.parent, folder.name + ".old")
    remove(old)
    if inside(folder.parent, folder.name).exists():
        folder.rename(old)
        remove(old)


def share_stage(folder: Path, other: Path) -> None:
    """Copy the stage of another arm by hard links. The copy takes no space and stays when the original is replaced."""
    aside = inside(folder.parent, folder.name + ".shared")
    remove(aside)
    shutil.copytree(other, aside, copy_function=os.link)
    _clear(folder)
    remove(partial_folder(folder))
    rename(aside, folder)
