"""After a power loss a run goes on: every stage that has its name is whole, and the rerun is the uninterrupted run.

A run writes to a file system in a file (ext4 through a loop device). It is stopped at moments right after a stage got its
name, and while a stage trains; the file is copied, which holds what had reached the disk and nothing of the memory. The
copy is mounted as after a power loss, looked at, and the run is run again there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from test_kills import content

import toy_experiment
from faulty_runs import Runs
from prealign.recipe.file import dump_recipe
from prealign.run.folder import STAGE_FILE
from prealign.seals import WHOLE

SIZE = "96M"
# Metadata reach the disk without the data they belong to, and seldom without being asked: the worst for us.
OPTIONS = "loop,data=writeback,commit=300,nobarrier"


@contextmanager
def mounted(image: Path, place: Path) -> Iterator[Path]:
    """The file system in `image`, mounted at `place`."""
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", OPTIONS, str(image), str(place)], check=True, capture_output=True)
    try:
        yield place
    finally:
        for _ in range(50):
            if not subprocess.run(["umount", str(place)], capture_output=True, check=False).returncode:
                break
            time.sleep(0.1)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new file system in a file; skips where the machine does not let us mount it."""
    path = tmp_path_factory.mktemp("disk") / "image"
    if os.geteuid() or not (shutil.which("mkfs.ext4") and shutil.which("mount")):
        pytest.skip("a power loss is tested on a loop device, which needs root, mount and mkfs.ext4")
    with path.open("wb") as file:
        file.truncate(int(SIZE[:-1]) * 2**20)
    subprocess.run(["mkfs.ext4", "-q", str(path)], check=True)
    try:
        with mounted(path, path.with_name("try")):
            pass
    except (subprocess.CalledProcessError, OSError) as error:
        pytest.skip(f"a power loss is tested on a loop device, and this machine mounts none: {error}")
    return path


def whole_files(folder: Path) -> dict[str, int]:
    """The sizes of the files of all stages with a final name, and of all sealed checkpoints."""
    stages = [path.parent for path in folder.glob(f"**/{STAGE_FILE}")]
    sealed = [path.parent for path in folder.glob(f"**/{WHOLE}")]
    return {
        str(path.relative_to(folder)): path.stat().st_size
        for place in (*stages, *sealed)
        for path in place.rglob("*")
        if path.is_file() and "scratch" not in path.relative_to(place).parts
    }


class Case:
    """A recipe, its uninterrupted run, and runs of it on the file system of the image."""

    def __init__(self, image: Path, base: Path, runs: Runs) -> None:
        self.image, self.base, self.runs = image, base, runs
        (base / "recipe.yaml").write_text(dump_recipe(toy_experiment.recipe(base, checkpoint__every=2)))
        assert runs.run(self._command(base / "whole"), base / "whole").status == 0
        self.whole = content(base / "whole")

    def _command(self, out: Path) -> list[str]:
        return ["run", str(self.base / "recipe.yaml"), "--out", str(out)]

    def copies(self, fault: str = "") -> list[tuple[Path, set[str]]]:
        """Run on a new file system; return copies of its image, with the stages that had their names then."""
        subprocess.run(["mkfs.ext4", "-q", "-F", str(self.image)], check=True)
        with mounted(self.image, self.base / "disk") as disk:
            out = disk / "run"
            self.runs.start(self._command(out), out, fault)
            copies = list(_copies(self.image, out, self.runs))
            outcome = self.runs.end()
            assert outcome.status == 0, outcome.output
            assert content(out) == self.whole
        return copies

    def damage(self, out: Path, named: set[str]) -> list[str]:
        """What a power loss has taken: stages without their names, and files of stages and checkpoints with other sizes."""
        left = {str(path.parent.relative_to(out)) for path in out.glob(f"**/{STAGE_FILE}")}
        cut = []
        for name, size in whole_files(out).items():
            final = whole_size(self.base / "whole" / name)
            if size != final if final is not None else size == 0:
                cut.append(f"{name} has {size} bytes")
        return [*sorted(named - left), *cut]


TELLING = ("results.json", "report.html")


@pytest.fixture(scope="module")
def case(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    with Runs() as runs:
        yield Case(image, tmp_path_factory.mktemp("power"), runs)


@pytest.mark.exhaustive(reason="a dozen runs on file systems of their own take minutes")
@pytest.mark.timeout(1800)
def test_what_has_its_name_is_whole_after_a_power_loss(case: Case) -> None:
    copies = case.copies()
    assert len(copies) >= 8
    for copy, named in copies:
        with mounted(copy, case.base / "after") as disk:
            out = disk / "run"
            assert case.damage(out, named) == [], copy.name
            outcome = case.runs.run(case._command(out), out)
            assert outcome.status == 0, outcome.output
            # The second command names another path, and results and report name the commands.
            found, whole = ({n: d for n, d in c.items() if n not in TELLING} for c in (content(out), case.whole))
            assert found == whole, copy.name
        copy.unlink()


@pytest.mark.exhaustive(reason="runs on file systems of their own take minutes")
@pytest.mark.timeout(1800)
def test_the_test_sees_what_is_not_synced(case: Case) -> None:
    damaged = 0
    for copy, named in case.copies("NOSYNC"):
        with mounted(copy, case.base / "after") as disk:
            damaged += bool(case.damage(disk / "run", named))
        copy.unlink()
    assert damaged


def whole_size(path: Path) -> int | None:
    """The size of a file of the uninterrupted run; None if it has no such file, or one with times in it."""
    return path.stat().st_size if path.exists() and path.suffix != ".json" else None


def _copies(image: Path, out: Path, runs: Runs) -> Iterator[tuple[Path, set[str]]]:
    """Stop the run whenever a stage got its name, or a checkpoint its seal; copy the image. Yields the stages then."""
    known: set[str] = set()
    deadline = time.monotonic() + 600
    while not (out / "report.html").exists() and time.monotonic() < deadline:
        if _names(out) - known:
            with suppress(ProcessLookupError), runs.stopped():
                copy = image.with_name(f"copy-{len(known)}")
                subprocess.run(["cp", "--sparse=always", str(image), str(copy)], check=True)
                found = _names(out)
                known |= found
                # Only what has its final name counts: a complete `.partial` gets it in the next moment.
                yield (
                    copy,
                    {name for name in found if (out / name / STAGE_FILE).exists() and not name.endswith(".partial")},
                )
        time.sleep(0.02)


def _names(out: Path) -> set[str]:
    """The folders of finished stages and sealed checkpoints."""
    return {str(path.parent.relative_to(out)) for name in (STAGE_FILE, WHOLE) for path in out.glob(f"**/{name}")}
