"""Where everything of a run lies. The only module that knows folder and file names.

    RUN/recipe.yaml, provenance.json, results.json, report.html
    RUN/data.lock, arms/ARM/seed-N.lock: held while a process works there
    RUN/data/tokenizer/, tokens/LANGUAGE/SPLIT/, lexicon.jsonl, words.json, facts.jsonl, new-tokens.json
    RUN/arms/ARM/seed-N/{blocks,align,pretrain,evaluate,knowledge,transfer}/
    RUN/harness/tokenizer/, tasks/: for lm-evaluation-harness

A stage writes into `STAGE.partial`, ends with `stage.json` (its fingerprint and what it counted), and is renamed to `STAGE`
when complete. So a folder with its final name is whole, and is fresh while its fingerprint is that of its inputs.

`STAGE.partial/trainer` is scratch space: what is in it (checkpoints, see `prealign.training.checkpoints`) outlives an
attempt that
was killed, as long as the fingerprint in its `begun.json` is the same, and goes when the stage is complete.
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

from prealign.errors import RunFolderError
from prealign.files import read_json, write_json, write_text

STAGE_FILE = "stage.json"
SCRATCH = "trainer"
_BEGUN = "begun.json"
FORMAT = 3
"""Part of every fingerprint: raised with each change of what a stage makes of the same inputs."""


def fingerprint(*parts: Any) -> str:
    """Return 16 hex digits that change with any of the JSON-serialisable parts."""
    return xxhash.xxh64_hexdigest(json.dumps([FORMAT, *parts], sort_keys=True, default=str).encode())


class RunFolder:
    """The folder of one run."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    recipe = property(lambda self: self.root / "recipe.yaml")
    provenance = property(lambda self: self.root / "provenance.json")
    results = property(lambda self: self.root / "results.json")
    report = property(lambda self: self.root / "report.html")
    data = property(lambda self: self.root / "data")
    harness = property(lambda self: self.root / "harness")

    def stage(self, arm: str, seed: int, name: str) -> Path:
        """Return the folder of a stage of one arm and seed."""
        return self.root / "arms" / arm / f"seed-{seed}" / name

    def stages(self, name: str) -> list[Path]:
        """Return the finished folders of a stage, over all arms and seeds."""
        return sorted(path.parent for path in self.root.glob(f"arms/*/seed-*/{name}/{STAGE_FILE}"))

    def claim(self, name: str, recipe: str) -> None:
        """Write the recipe; RunFolderError if the folder is of another recipe or holds something else altogether."""
        if self.recipe.exists():
            first = self.recipe.read_text(encoding="utf-8").partition("\n")[0]
            if first != recipe.partition("\n")[0]:
                raise RunFolderError(
                    f"{self.root} is the run folder of another recipe ({first!r}, this one is {name!r}). "
                    "Choose another folder with --out, or remove that one."
                )
        elif self.root.exists() and any(self.root.iterdir()):
            raise RunFolderError(f"{self.root} is not empty and no run folder. Choose another folder with --out.")
        write_text(self.recipe, recipe)


@contextlib.contextmanager
def alone_in(folder: Path, *, patient: bool) -> Iterator[None]:
    """Keep other processes out of a folder that is being made. The lock goes with its process, however that ends.

    patient: wait until it is free; otherwise it is a RunFolderError if it is not.
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
    """Return a stage's record if it is complete and its fingerprint is `mark`."""
    try:
        record = read_json(folder / STAGE_FILE)
    except FileNotFoundError:  # also when another process replaces the folder right now
        return None
    return record if record["fingerprint"] == mark else None


def run_stage(folder: Path, mark: str, work: Callable[[Path], dict[str, Any]], *, anew: bool = False) -> dict[str, Any]:
    """Do a stage's work in `folder.partial`, record it and rename the folder. Returns the record.

    anew: keep nothing of an attempt that was interrupted.
    """
    partial = begin_stage(folder, mark, anew=anew)
    return end_stage(folder, mark, {} if finished(partial, mark) else work(partial))


def partial_folder(folder: Path) -> Path:
    """Return where a stage's work is done before it is complete."""
    return folder.with_name(folder.name + ".partial")


def begin_stage(folder: Path, mark: str, *, anew: bool = False) -> Path:
    """Return `folder.partial`, empty but for scratch of the same fingerprint, or complete if only its name was missing.

    anew: keep nothing.
    """
    partial = partial_folder(folder)
    if not anew and finished(partial, mark):
        return partial
    scratch = partial / SCRATCH
    begun = None
    with contextlib.suppress(FileNotFoundError, RunFolderError):
        begun = read_json(scratch / _BEGUN)
    if anew or begun != mark:
        # It loses its name first: a kill half-way leaves no half of scratch that counts as whole.
        (scratch / _BEGUN).unlink(missing_ok=True)
    for path in partial.iterdir() if partial.exists() else ():
        if path != scratch or anew or begun != mark:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    write_json(scratch / _BEGUN, mark)
    return partial


def end_stage(folder: Path, mark: str, record: dict[str, Any]) -> dict[str, Any]:
    """Record the work in `folder.partial`, unless it is there already, and rename the folder. Returns the record."""
    partial = partial_folder(folder)
    record = finished(partial, mark) or {"fingerprint": mark, **record}
    write_json(partial / STAGE_FILE, record)
    shutil.rmtree(partial / SCRATCH, ignore_errors=True)
    _clear(folder)
    partial.rename(folder)
    return record


def file_stats(paths: Iterable[Path]) -> list[tuple[str, int, int]]:
    """Return name, size and time of the files among `paths`, and of those in its folders: what a fingerprint takes."""
    files = [file for path in paths for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    return [(str(file), s.st_size, s.st_mtime_ns) for file in files if file.exists() and (s := file.stat())]


def _clear(folder: Path) -> None:
    """Remove a stage. It loses its name first, so that a kill half-way leaves no half of it to be found."""
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
        shutil.rmtree(old, ignore_errors=True)


def share_stage(folder: Path, other: Path) -> None:
    """Let a stage be a copy of another arm's, by hard links: it takes no space, and stays when the other is replaced."""
    aside = folder.with_name(folder.name + ".shared")
    shutil.rmtree(aside, ignore_errors=True)
    shutil.copytree(other, aside, copy_function=os.link)
    _clear(folder)
    shutil.rmtree(partial_folder(folder), ignore_errors=True)
    aside.rename(folder)
