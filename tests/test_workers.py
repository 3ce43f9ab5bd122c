"""Any number of processes makes the same data and the same blocks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from itertools import count, islice
from operator import mul
from pathlib import Path
from typing import Any

import pytest

import tokenizers_in_memory as memory
import toy_experiment
from prealign.errors import CorpusError, RankError
from prealign.recipe.arms import with_settings
from prealign.recipe.sections import Recipe
from prealign.run.stages import ArmRun
from prealign.text import arrow
from prealign.text.arrow import load_arrow
from prealign.workers import Pool
from toy_targets import recipe as two_targets


def refuse(task: int) -> int:
    if task == 3:
        raise CorpusError("three is not a task")
    return task


def test_results_come_in_the_order_of_their_tasks(tmp_path: Path) -> None:
    with Pool(2, tmp_path) as pool:
        tripled, doubled = (pool.map(partial(mul, factor), range(50)) for factor in (3, 2))
        assert [next(doubled), next(tripled)] == [0, 0], "functions take turns"
        assert [*tripled, *doubled] == [*range(3, 150, 3), *range(2, 100, 2)]
        assert list(pool.map(refuse, [])) == [] and list(pool.map(refuse, [1])) == [1]


def test_tasks_are_drawn_a_few_ahead(tmp_path: Path) -> None:
    drawn: list[int] = []

    def tasks() -> Iterator[int]:
        for task in count():
            drawn.append(task)
            yield task

    with Pool(2, tmp_path) as pool:
        assert list(islice(pool.map(partial(mul, 2), tasks()), 20)) == list(range(0, 40, 2))
        assert len(drawn) < 30


@pytest.mark.parametrize("processes", [1, 2])
def test_an_error_is_that_of_the_task(processes: int, tmp_path: Path) -> None:
    with Pool(processes, tmp_path) as pool, pytest.raises(CorpusError, match="three is not a task"):
        list(pool.map(refuse, range(9)))


def test_what_processes_import_has_no_torch() -> None:
    """Each would take half a gigabyte, and seconds to start."""
    program = "import sys, prealign.text.blocks, prealign.text.corpus; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_process_that_is_killed_is_one_message(tmp_path: Path) -> None:
    with Pool(2, tmp_path) as pool, pytest.raises(RankError, match=r"one of the 2 processes .* ended from outside"):
        list(pool.map(os._exit, range(9)))


def test_scratch_of_a_pool_lies_in_its_folder_and_goes_with_it(tmp_path: Path) -> None:
    with pytest.raises(CorpusError), Pool(2, tmp_path) as pool:
        next(found := pool.map(refuse, range(9)))
        (scratch,) = tmp_path.iterdir()
        assert scratch.name.endswith(".tmp") and [path.name for path in scratch.iterdir()] == ["0"]
        list(found)
    assert not list(tmp_path.iterdir())


def chinese(folder: Path) -> Recipe:
    made = toy_experiment.recipe(folder)
    lines = [f"{number}. {line}" for number in range(6) for line in memory.ZH.splitlines() if line]
    (folder / "zh.txt").write_text("\n".join(lines), encoding="utf-8")
    (folder / "zh.tsv").write_text("kaka\t房子\nkalo\t水\n", encoding="utf-8")
    target = {"language": "zh", "text": [str(folder / "zh.txt")], "documents": "line", "segmenter": "longest_match"}
    files = [{"path": str(folder / "zh.tsv"), "target": "zh"}]
    return with_settings(
        made,
        {"targets": [target], "lexicon.files": files, "lexicon.sense_order": "frequency", "switch.target_ratio": 0.3},
    )


def everything(made: Recipe, folder: Path, arm: str) -> dict[str, Any]:
    """All that preparation and an arm's blocks leave, but for how long it took."""
    data, run = toy_experiment.prepared(made, folder)
    ArmRun(arm, 1, made, data, run, lambda _: None).execute(last="blocks")
    found: dict[str, Any] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = str(path.relative_to(folder))
        if path.name == "rows.arrow":
            rows = load_arrow(path.parent)
            found[name] = (rows.features, rows[:])
        elif path.name == "stage.json":
            record = toy_experiment.read_json(path)
            found[name] = {key: value for key, value in record.items() if key not in ("seconds", "origin")}
        elif path.name not in (
            "hashes.json",
            "recipe.yaml",
            "whole.json",
        ):  # a cache, and what holds times and processes
            found[name] = path.read_bytes()
    return found


@pytest.mark.parametrize(
    ("recipe", "arm"),
    [(toy_experiment.recipe, "prealign"), (two_targets, "prealign"), (chinese, "joint_input_cs")],
    ids=["clone", "two targets", "a segmented target"],
)
def test_two_processes_do_what_one_does(recipe: Any, arm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = recipe(tmp_path / "text")
    one = everything(made, tmp_path / "1", arm)
    monkeypatch.setattr(arrow, "PART", 900)  # or all of a toy would be one part, and there would be nothing to spread
    two = everything(with_settings(made, {"processes": 2}), tmp_path / "2", arm)
    assert one.keys() == two.keys() and len(one) > 12
    for name in one:
        assert one[name] == two[name], name
