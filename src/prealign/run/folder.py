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
2. At its end it writes `stage.json`: its fingerprint and its record.
3. The folder is renamed to `STAGE`. A folder with its final name is therefore complete.
4. A stage is *fresh* while its fingerprint equals that of its settings, its input files and the stages it reads.

`STAGE.partial/scratch` (for example checkpoints, `prealign.training.checkpoints`) outlives a killed attempt as long as
the fingerprint in its `begun.json` stays the same. It is removed when the stage is complete.
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
from prealign.errors import RunFolderError
from prealign.files import read_json, write_json, write_text

STAGE_FILE = "stage.json"
SCRATCH = "scratch"
_BEGUN = "begun.json"
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
    data = property(lambda self: self.root / "data")
    harness = property(lambda self: self.root / "harness")

    def contents(self, paths: Iterable[Path]) -> list[tuple[str, str]]:
        """Return path and content hash of each file, also of files in folders. Hashes are cached between commands."""
        return self._contents.hashes(paths)

    def stage(self, arm: str, seed: int, name: str) -> Path:
        """Return the folder of a stage of one arm and seed."""
        return self.root / "arms" / arm / f"seed-{seed}" / name

    def stages(self, name: str) -> list[Path]:
        """Return the finished folders of a stage, over all arms and seeds."""
        return sorted(path.parent for path in self.root.glob(f"arms/*/seed-*/{name}/{STAGE_FILE}"))

    def claim(self, name: str, recipe: str) -> None:
        """Write the recipe into the folder. name: of the recipe.

        Raises RunFolderError if the folder belongs to another recipe, or is not empty and not a run folder.
        """
        if self.recipe.exists():
            first = self.recipe.read_text(encoding="utf-8").partition("\n")[0]
            if first != recipe.partition("\n")[0]:
                raise RunFolderError(
                    f"{self.root} is the run folder of another recipe ({first!r}, this one is {name!r}). "
                    "Choose another folder with --out, or remove that one."
                )
        elif self.root.exists() and any(self.root.iterdir()):
            raise RunFolderError(f"{self.root} is not empty and not a run folder. Choose another folder with --out.")
        write_text(self.recipe, recipe)


@contextlib.contextmanager
def alone_in(folder: Path, *, patient: bool) -> Iterator[None]:
    """Hold the lock of a folder. The operating system releases it when the process ends, even after a kill.

    patient: wait for the lock. Otherwise raise RunFolderError if another process holds it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_name(folder.name + ".lock"))
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
    interrupted attempt.
    """
    partial = begin_stage(folder, mark, anew=anew)
    return end_stage(folder, mark, {} if finished(partial, mark) else work(partial))


def partial_folder(folder: Path) -> Path:
    """Return the folder of an incomplete stage."""
    return folder.with_name(folder.name + ".partial")


def begin_stage(folder: Path, mark: str, *, anew: bool = False) -> Path:
    """Return `folder.partial`, emptied except for scratch of the same fingerprint. A complete one stays unchanged.

    anew: empty it completely.
    """
    partial = partial_folder(folder)
    if not anew and finished(partial, mark):
        return partial
    scratch = partial / SCRATCH
    begun = None
    with contextlib.suppress(FileNotFoundError, RunFolderError):
        begun = read_json(scratch / _BEGUN)
    if anew or begun != mark:
        # Remove this file first: after a kill, half-removed scratch must not count as whole.
        (scratch / _BEGUN).unlink(missing_ok=True)
    for path in partial.iterdir() if partial.exists() else ():
        if path != scratch or anew or begun != mark:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    write_json(scratch / _BEGUN, mark)
    return partial


def end_stage(folder: Path, mark: str, record: dict[str, Any]) -> dict[str, Any]:
    """Write the record into `folder.partial`, unless it has one, and rename the folder. Returns the record."""
    partial = partial_folder(folder)
    record = finished(partial, mark) or {"fingerprint": mark, **record}
    write_json(partial / STAGE_FILE, record)
    shutil.rmtree(partial / SCRATCH, ignore_errors=True)
    _clear(folder)
    partial.rename(folder)
    return record


def _clear(folder: Path) -> None:
    """Remove a stage. The folder is renamed first: a kill then leaves no half stage under the final name."""
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
        shutil.rmtree(old, ignore_errors=True)


def share_stage(folder: Path, other: Path) -> None:
    """Copy the stage of another arm by hard links. The copy takes no space and stays when the original is replaced."""
    aside = folder.with_name(folder.name + ".shared")
    shutil.rmtree(aside, ignore_errors=True)
    shutil.copytree(other, aside, copy_function=os.link)
    _clear(folder)
    shutil.rmtree(partial_folder(folder), ignore_errors=True)
    aside.rename(folder)
