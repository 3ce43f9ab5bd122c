"""Changes of files that last: their order on the disk, links that are not followed, and what ended processes leave."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from prealign.durable import inside, make_folder, remove, remove_stale, rename, replacing, sync_tree, temporary
from prealign.errors import DiskError, RunFolderError
from prealign.files import write_json, write_lines, write_text
from prealign.run.folder import RunFolder, begin_stage, end_stage, run_stage, share_stage
from prealign.run.locks import alone_in
from prealign.seals import WHOLE
from prealign.training.checkpoints import keep_last, newest, seal_checkpoint


class Disk:
    """A record of all syncs, renames and removals below `root`, in their order."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.root, self.log = root, list[tuple[str, str]]()
        fsync = os.fsync

        def record(descriptor: int) -> None:
            self.log.append(("sync", self._name(Path(f"/proc/self/fd/{descriptor}").readlink())))
            fsync(descriptor)

        patch.setattr(os, "fsync", record)
        for place, name, kind in (
            (Path, "rename", "rename"),
            (Path, "replace", "rename"),
            (Path, "unlink", "remove"),
            (shutil, "rmtree", "remove"),
        ):
            patch.setattr(place, name, self._recorded(kind, getattr(place, name)))

    def _name(self, path: Any) -> str:
        return os.path.relpath(path, self.root)

    def _recorded(self, kind: str, work: Any) -> Any:
        def recorded(path: Any, *arguments: Any, **options: Any) -> Any:
            if Path(path).exists():
                targets = [self._name(target) for target in arguments if kind == "rename"]
                self.log.append((kind, " > ".join([self._name(path), *targets])))
            return work(path, *arguments, **options)

        return recorded


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    with monkeypatch.context() as patch:
        yield Disk(tmp_path, patch)


def stage_work(folder: Path) -> dict[str, Any]:
    (folder / "scratch" / "checkpoint-2").mkdir()
    (folder / "scratch" / "checkpoint-2" / "weights").write_text("w")
    (folder / "sub").mkdir()
    (folder / "sub" / "rows").write_text("r")
    (folder / "model").write_text("m")
    return {}


def places(log: list[tuple[str, str]], kind: str, name: str) -> list[int]:
    return [i for i, (what, where) in enumerate(log) if what == kind and name in where]


# The order of syncs, renames and removals


@pytest.mark.parametrize(
    "write", [lambda p: write_text(p, "x"), lambda p: write_json(p, 1), lambda p: write_lines(p, "x")]
)
def test_a_file_is_on_disk_before_its_rename_and_the_rename_before_anything_else(disk: Disk, write: Any) -> None:
    write(disk.root / "new" / "file")
    assert [what for what, _ in disk.log] == ["sync", "sync", "rename", "sync"]
    made, synced, renamed, folder = (where for _, where in disk.log)
    assert made == "." and folder == "new"
    assert renamed == f"{synced} > new/file"


def test_a_stage_is_on_disk_before_its_record_and_both_before_checkpoints_go(disk: Disk) -> None:
    stage = disk.root / "arm" / "pretrain"
    run_stage(stage, "old", lambda _: {})
    disk.log.clear()
    run_stage(stage, "m", stage_work)
    log = disk.log
    record = places(log, "rename", "pretrain.partial/stage.json")[-1]
    for name in ("pretrain.partial/model", "pretrain.partial/sub/rows", "pretrain.partial/sub"):
        assert places(log, "sync", name)[0] < record, name
    assert not places(log, "sync", "checkpoint-2"), "what is removed is not written out before"
    known = next(i for i in places(log, "sync", "arm") if i > record and log[i][1] == "arm")
    assert known < places(log, "remove", "scratch")[0]
    assert known < places(log, "rename", "arm/pretrain > arm/pretrain.old")[0]
    final = places(log, "rename", "arm/pretrain.partial > arm/pretrain")[0]
    assert places(log, "remove", "scratch")[0] < final and log[final + 1] == ("sync", "arm")


def test_a_checkpoint_is_on_disk_before_its_seal_and_its_seal_before_older_ones_go(disk: Disk) -> None:
    for step in (1, 2, 3):
        folder = disk.root / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "weights").write_text(str(step))
    for step in (1, 2):
        seal_checkpoint(disk.root / f"checkpoint-{step}", 1.0)
    disk.log.clear()
    seal_checkpoint(disk.root / "checkpoint-3", 1.0)
    keep_last(disk.root, 2)
    log = disk.log
    sealed = places(log, "rename", f"checkpoint-3/{WHOLE}")[0]
    assert places(log, "sync", "checkpoint-3/weights")[0] < sealed
    assert log[sealed + 1 : sealed + 3] == [("sync", "checkpoint-3"), ("sync", ".")]
    assert min(places(log, "remove", "")) > sealed + 2
    assert newest(disk.root) is not None and newest(disk.root).step == 3
    assert sorted(path.name for path in disk.root.iterdir()) == ["checkpoint-2", "checkpoint-3"]


def test_a_shared_stage_is_on_disk_before_it_has_its_name(disk: Disk) -> None:
    run_stage(disk.root / "a" / "align", "m", stage_work)
    (disk.root / "b").mkdir()
    disk.log.clear()
    share_stage(disk.root / "b" / "align", disk.root / "a" / "align", "m")
    final = places(disk.log, "rename", "b/align.shared > b/align")[0]
    assert places(disk.log, "sync", "b/align.shared/sub/rows")[0] < final
    assert disk.log[final + 1] == ("sync", "b")


def test_new_folders_are_entries_on_disk(disk: Disk) -> None:
    make_folder(disk.root / "a" / "b" / "c")
    assert {where for _, where in disk.log} == {".", "a", "a/b"}


def test_syncing_and_renaming_leave_the_content(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").write_text("x")
    (tmp_path / "a" / "link").symlink_to("/nowhere")
    os.mkfifo(tmp_path / "a" / "pipe")
    sync_tree(tmp_path / "a")
    rename(tmp_path / "a", tmp_path / "d")
    assert (tmp_path / "d" / "b" / "c").read_text() == "x"


def test_an_error_within_leaves_the_old_file_alone(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("old")
    with pytest.raises(OSError, match="x") as caught, replacing(tmp_path / "x") as aside:
        aside.write_text("new")
        raise OSError(28, "No space left on device")
    assert caught.value.filename == str(tmp_path / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["x"] and (tmp_path / "x").read_text() == "old"


@pytest.mark.parametrize("target", ["/dev/null", "/dev/full", "/tmp"])
def test_devices_and_folders_are_not_replaced(target: str) -> None:
    with pytest.raises(DiskError, match=rf"{target}: is a (device|folder), not a file"):
        write_text(Path(target), "x")


# Links


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder of the user that a link leads to. It must stay as it is."""
    folder = tmp_path / "home"
    (folder / "scratch" / "checkpoint-2").mkdir(parents=True)
    for name in ("thesis.tex", "begun.json", "stage.json", WHOLE, "scratch/begun.json", "scratch/checkpoint-2/weights"):
        (folder / name).write_text('"m"')
    yield folder
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert found == sorted(
        ["thesis.tex", "begun.json", "stage.json", WHOLE, "scratch/begun.json", "scratch/checkpoint-2/weights"]
    )
    assert all((folder / name).read_text() == '"m"' for name in found)


@pytest.mark.parametrize("name", ["align.partial", "align.old", "align", "align.shared", "align.partial/scratch"])
def test_a_link_in_place_of_a_stage_is_refused_and_not_followed(tmp_path: Path, elsewhere: Path, name: str) -> None:
    stage = RunFolder(tmp_path / "run").stage("prealign", 0, "align")
    other = RunFolder(tmp_path / "run").stage("joint", 0, "align")
    run_stage(other, "m", lambda _: {})
    link = stage.parent / name
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere)
    if name == "align":
        with pytest.raises(RunFolderError, match=r"leads to .*home\. Nothing was changed"):
            RunFolder(tmp_path / "run").stage("prealign", 0, "align")
    refused = 0
    for work in (
        lambda: run_stage(stage, "new", lambda _: {}),
        lambda: begin_stage(stage, "m"),
        lambda: begin_stage(stage, "other", anew=True),
        lambda: end_stage(stage, "new", {}),
        lambda: share_stage(stage, other, "m"),
    ):
        try:
            work()
        except RunFolderError as error:
            refused += "remove the link" in str(error)
        except OSError:  # nothing to end or share
            pass
    assert refused


@pytest.mark.parametrize("name", ["arms", "arms/prealign", "arms/prealign/seed-0", "data", "harness"])
def test_a_link_on_the_way_to_a_stage_is_refused(tmp_path: Path, elsewhere: Path, name: str) -> None:
    run = RunFolder(tmp_path / "run")
    link = run.root / name
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere)
    with pytest.raises(RunFolderError, match="Folders of a run are real folders inside"):
        _ = run.data if name == "data" else run.harness if name == "harness" else run.stage("prealign", 0, "align")


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/x"])
def test_a_name_that_leads_out_of_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunFolderError):
        inside(tmp_path, name)


def test_the_run_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "big disk").mkdir()
    (tmp_path / "runs").symlink_to("big disk")
    stage = RunFolder(tmp_path / "runs" / "demo").stage("joint", 0, "align")
    run_stage(stage, "m", lambda _: {})
    assert (tmp_path / "big disk" / "demo" / "arms" / "joint" / "seed-0" / "align" / "stage.json").exists()


def test_a_lock_that_is_a_link_is_refused(tmp_path: Path, elsewhere: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "data.lock").symlink_to(elsewhere / "thesis.tex")
    with pytest.raises(RunFolderError, match="is a link"), alone_in(tmp_path / "run" / "data", patient=False):
        pass


def test_links_inside_a_stage_are_removed_and_not_what_they_point_to(tmp_path: Path, elsewhere: Path) -> None:
    partial = begin_stage(tmp_path / "align", "m")
    (partial / "file").symlink_to(elsewhere / "thesis.tex")
    (partial / "folder").symlink_to(elsewhere)
    (partial / "deep").mkdir()
    (partial / "deep" / "folder").symlink_to(elsewhere)
    assert [path.name for path in begin_stage(tmp_path / "align", "m").iterdir()] == ["scratch"]


def test_checkpoints_that_are_links_are_not_followed(tmp_path: Path, elsewhere: Path) -> None:
    for step in (4, 5):
        (tmp_path / f"checkpoint-{step}").mkdir()
        seal_checkpoint(tmp_path / f"checkpoint-{step}", 1.0)
    (tmp_path / "checkpoint-2").symlink_to(elsewhere)
    with pytest.raises(RunFolderError, match="checkpoint-2"):
        keep_last(tmp_path, 2)
    remove(tmp_path / "checkpoint-2")
    assert not (tmp_path / "checkpoint-2").exists()


# Leftovers


LEAVE = """
import sys, time
from pathlib import Path
from prealign.durable import temporary
for number, folder in enumerate(sys.argv[1:]):
    path = temporary(Path(folder))
    path.mkdir() if number else path.write_text("half")
    if number: (path / "lexicon").write_text("pickled")
print("left", flush=True)
time.sleep(600)
"""


def test_what_ended_processes_left_is_removed_when_the_folder_is_claimed(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    deep = run.root / "arms" / "joint" / "seed-0" / "blocks.partial"
    deep.mkdir(parents=True)
    foreign = run.root / ".prealign-another_machine-1-0.tmp"
    mine = temporary(run.root)
    with subprocess.Popen(
        [sys.executable, "-c", LEAVE, str(run.root), str(deep)], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "left\n"
        remove_stale(run.root)
        assert len(list(run.root.rglob("*.tmp"))) == 2, "its process is at work"
        other.kill()
        other.wait()
    for path in (foreign, mine, run.root / ".hidden.tmp"):
        path.write_text("x")
    (run.root / "recipe.yaml").write_text("name: demo\nx: 1\n")
    run.claim("demo", "name: demo\n")
    left = {path.name for path in run.root.rglob("*.tmp")}
    assert left == {foreign.name, mine.name, ".hidden.tmp"}
    assert (run.root / "recipe.yaml").read_text() == "name: demo\n"


def claimed(run: RunFolder) -> bool:
    try:
        run.claim("demo", "name: demo\nseeds: [1]\n")
    except RunFolderError:
        return False
    return run.recipe.read_text() == "name: demo\nseeds: [1]\n"


@pytest.mark.parametrize("recipe", [None, "", "\0" * 40, "name: de", "name: demo\nse"])
@pytest.mark.parametrize("stage", ["none", "begun", "done", "arm"])
def test_a_run_folder_is_known_without_its_recipe(tmp_path: Path, recipe: str | None, stage: str) -> None:
    run = RunFolder(tmp_path / "run")
    run.root.mkdir()
    write_json(run.hub, {})
    if stage == "begun":
        begin_stage(run.data / "tokens", "m")
    elif stage != "none":
        run_stage(run.data / "tokens" if stage == "done" else run.stage("joint", 0, "blocks"), "m", lambda _: {})
    if recipe is not None:
        run.recipe.write_text(recipe)
    temporary(run.root).write_text("name: ")
    assert claimed(run)


@pytest.mark.parametrize("recipe", [None, "", "# my own recipe\nname: demo\n", "name: other\n", "name: demo2"])
def test_a_folder_of_the_user_is_not_taken_for_a_run(tmp_path: Path, recipe: str | None) -> None:
    if recipe is not None:
        (tmp_path / "recipe.yaml").write_text(recipe)
    if not recipe:
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "thesis.tex").write_text("x")
    before = {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert not claimed(RunFolder(tmp_path))
    assert {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()} == before
