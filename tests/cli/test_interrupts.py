"""Interrupts and killed processes of a run of several arms at a time: one message, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import toy_experiment
from prealign.recipe.file import dump_recipe


@contextmanager
def running(folder: Path, *overrides: str) -> Iterator[subprocess.Popen[str]]:
    """A run of two arms at a time in a session of its own, as in a terminal, once both have begun."""
    folder.mkdir(exist_ok=True)
    (folder / "recipe.yaml").write_text(dump_recipe(toy_experiment.recipe(folder, jobs=2)))
    process = subprocess.Popen(
        [sys.executable, "-m", "prealign", "run", "recipe.yaml", "pretrain.steps=3000", *overrides],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "COLUMNS": "400"},
        # A shell starts what runs in its background with interrupts ignored, and processes hand that down.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        deadline = time.monotonic() + 400
        while len(list(folder.glob("runs/toy/arms/*/seed-0.lock"))) < 2:
            assert time.monotonic() < deadline and process.poll() is None, "both arms have begun"
            time.sleep(0.1)
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def workers(parent: int) -> list[int]:
    """The processes that train an arm."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = status.read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent and "spawn_main" in (status.parent / "cmdline").read_text():
                found.append(int(status.parent.name))
    return found


def left_behind(folder: Path) -> list[Path]:
    """Temporary files, and stages that were not finished and look so."""
    return [*folder.rglob("*.tmp"), *folder.glob("runs/toy/arms/*/seed-0/pretrain")]


# Without a pause the interrupt meets workers that are starting; the run then may end a stage before it hears it.
_AT_ONCE = pytest.param(0.0, marks=pytest.mark.exhaustive(reason="sometimes a stage is finished first, which is late"))


@pytest.mark.parametrize("pause", [_AT_ONCE, 1.5])
def test_two_interrupts_end_all_processes_with_one_message(tmp_path: Path, pause: float) -> None:
    with running(tmp_path, "processes=2", "trainer.dataloader_num_workers=1") as process:
        time.sleep(pause)
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(pause)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=300)
    assert process.returncode == 130, output
    assert output.count("interrupted: finished stages and checkpoints are kept") == 1
    assert "Traceback" not in output and "leaked" not in output and "Exception" not in output, output
    assert left_behind(tmp_path) == []


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the processes of a run are found in /proc")
def test_a_killed_arm_is_one_message(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        os.kill(workers(process.pid)[0], signal.SIGKILL)
        output, _ = process.communicate(timeout=300)
    assert process.returncode == 2, output
    assert "error: a process that ran an arm was ended from outside, perhaps for lack of memory." in output
    assert "Traceback" not in output and "leaked" not in output, output
    assert left_behind(tmp_path) == []
