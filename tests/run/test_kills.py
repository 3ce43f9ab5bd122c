"""A run that was killed, or met an error of the disk, at any change of a file ends as the whole run when run again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import toy_experiment
from faulty_runs import Outcome, Runs
from prealign.recipe.file import dump_recipe
from prealign.seals import WHOLE

POINTS = 40
FAULTS = ("SIGKILL", "ENOSPC", "SIGKILL", "EFBIG", "SIGKILL", "SIGINT", "SIGKILL", "EROFS", "SIGTERM", "EIO")
MESSAGES = {"ENOSPC": "No space left on device. Free space", "EFBIG": "Free space", "EROFS": "Read-only file system"}
MESSAGES |= {"EIO": "Input/output error. Check the disk"}
QUICK = range(3, POINTS, 9)
"""The points of every test run: kill, full disk, small files, interrupt and read-only disk are among them."""


class Case:
    """A toy recipe, its uninterrupted run, and the server of further runs."""

    def __init__(self, base: Path, runs: Runs) -> None:
        self.base, self.runs = base, runs
        (base / "recipe.yaml").write_text(dump_recipe(toy_experiment.recipe(base, checkpoint__every=2)))
        first = self.run("whole")
        assert first.status == 0, first.output
        self.events, self.whole = first.events, content(base / "whole")

    def run(self, name: str, fault: str = "", at: int = 0) -> Outcome:
        folder = self.base / name
        return self.runs.run(["run", str(self.base / "recipe.yaml"), "--out", str(folder)], folder, fault, at)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    with Runs() as runs:
        yield Case(tmp_path_factory.mktemp("kills"), runs)


def content(folder: Path) -> dict[str, Any]:
    """Every file of a run folder, to the byte; of records all but times."""
    found: dict[str, Any] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = str(path.relative_to(folder))
        if path.suffix == ".lock" or name == "hashes.json":  # a cache
            continue
        data: Any = path.read_bytes()
        if path.suffix == ".json":
            data = _timeless(json.loads(data))
            if path.name == WHOLE:
                data["files"].pop("stage.json", None)  # of a checkpoint there is none
        elif name == "report.html":
            # Texts with a time or the command line.
            data = re.sub(rb">[^<]*(prealign run |[0-9] (s|min)\b|[0-9]T[0-9])[^<]*", b">", data)
        found[name] = data
    return found


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _timeless(own) for key, own in value.items() if key not in ("seconds", "created", "command", "parts")
        }
    return [_timeless(own) for own in value] if isinstance(value, list) else value


def _marked(point: int) -> Any:
    rare = pytest.mark.exhaustive(reason="all points take ten minutes; five of them are tested every time")
    return pytest.param(point, marks=() if point in QUICK else rare, id=f"{point}-{FAULTS[point % len(FAULTS)]}")


@pytest.mark.parametrize("point", [_marked(point) for point in range(POINTS)])
def test_a_run_that_met_a_fault_is_the_whole_one_when_run_again(case: Case, point: int) -> None:
    fault, name = FAULTS[point % len(FAULTS)], f"broken-{point}"
    at = 1 + point * (case.events - 4) // (POINTS - 1)  # the last events write and rename the report
    broken = case.run(name, fault, at)
    assert "Traceback" not in broken.output, broken.output
    if fault in MESSAGES:
        assert broken.status == 2, broken
        assert broken.output.count("error: ") == 1 and MESSAGES[fault] in broken.output, broken.output
        assert "run the same command again" in broken.output
    else:
        assert broken.status == {"SIGKILL": -9, "SIGTERM": -15, "SIGINT": 130}[fault], broken
    again = case.run(name)
    assert again.status == 0, again.output
    found = content(case.base / name)
    assert found.keys() == case.whole.keys(), "nothing is missing and nothing is left behind"
    assert [path for path in found if found[path] != case.whole[path]] == []
