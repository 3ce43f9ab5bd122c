"""An experiment: all arms and seeds of a recipe, and results.json.

1. Prepare the shared data (`prealign.run.preparation.prepare`).
2. Tell what each arm reads of each language (`prealign.run.reading`).
3. Run each (seed, arm) that is not fresh (`prealign.run.execution`).
4. After each arm, write results.json again from all finished folders. An interrupted experiment keeps the results of
   its finished arms. An arm whose numbers are not finite is listed as unfinished, and the others go on.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from typing import Any

import torch

from prealign import __version__
from prealign.errors import DivergedError
from prealign.events import Event, OnEvent, Progress, silent
from prealign.files import write_json
from prealign.recipe.file import dump_recipe
from prealign.recipe.sections import Recipe
from prealign.run.data import Prepared
from prealign.run.execution import run_arms
from prealign.run.folder import RunFolder
from prealign.run.launch_checks import check_launch
from prealign.run.preparation.prepare import prepare
from prealign.run.reading import reading_lines
from prealign.run.results import Marks, collect_results
from prealign.run.stages import ArmRun
from prealign.training import launch, ranks
from prealign.training.loop import check_arguments
from prealign.training.precision import device, precision

# packages whose versions change numbers or speed
_PACKAGES = ("torch", "transformers", "accelerate", "datasets", "tokenizers", "numpy")

ALL_ARMS = "all arms"
TIMEOUT = 1800
"""Time limit of a training collective in seconds, the default of `TrainingArguments`."""


def run_experiment(
    recipe: Recipe, run: RunFolder, on_event: OnEvent, *, command: str, force: bool = False
) -> dict[str, Any]:
    """Run everything that is not fresh; return the content of results.json (under a launcher only in the first
    process), and in every process "unfinished" if runs ended early: arm, seed and reason of each.

    command: the command line, for the provenance. force: run fresh stages, too. Raises PrealignError for errors that
    the user can fix, before any training if they can be found before.
    """
    prepared = open_run(recipe, run, on_event, command)
    pairs = [(arm, seed) for seed in recipe.seeds for arm in recipe.arms]
    arms = [ArmRun(*pair, recipe, prepared, run, silent, devices=launch.count()) for pair in pairs]
    marks: Marks = {}
    unfinished: list[dict[str, Any]] = []
    results: dict[str, Any] = {}

    def collect() -> None:
        # Compute the fingerprints of all arms first: an error in the last arm then shows before the first one trains.
        marks.update(marks or {(arm.arm, arm.seed): arm.marks() for arm in arms})
        results.update(collect_results(recipe, prepared, run, marks, unfinished))

    def save() -> None:
        collect()
        write_json(run.results, results)

    def tell() -> None:
        readings = {arm.arm: arm.reading for arm in arms if arm.seed == recipe.seeds[0]}
        for line in reading_lines(readings):
            on_event(Event(ALL_ARMS, 0, Progress("stage 2 reads", 0, 1, note=line)))

    ranks.by_first(collect)
    ranks.by_first(tell)
    for arm, outcome in run_arms(arms, recipe.jobs, on_event, force=force):
        if isinstance(outcome, DivergedError):
            unfinished.append({"arm": arm.arm, "seed": arm.seed, "reason": str(outcome)})
            on_event(Event(arm.arm, arm.seed, unfinished=str(outcome)))
        else:
            on_event(Event(arm.arm, arm.seed, stages=outcome))
        ranks.by_first(save)
    return results | ({"unfinished": unfinished} if unfinished else {})


def open_run(recipe: Recipe, run: RunFolder, on_event: OnEvent, command: str | None = None) -> Prepared:
    """Claim the run folder, join the other processes of a launcher, and prepare the data.

    command: the command line of a run that makes results, for their provenance; None for others.
    """
    check_launch(recipe)
    ranks.join(
        cpu=device().type == "cpu",
        timeout=recipe.trainer.get("ddp_timeout", TIMEOUT),
    )

    check_arguments(recipe.trainer)

    def begin() -> dict[str, Any]:
        run.claim(recipe.name, dump_recipe(recipe))
        if command is not None:
            write_json(run.provenance, provenance(recipe, command))
        prepared, stages = prepare(recipe, run, lambda p: on_event(Event(ALL_ARMS, 0, p)))
        on_event(Event(ALL_ARMS, 0, stages=stages))
        return prepared.record

    return Prepared(run.data, ranks.by_first(begin))


def provenance(recipe: Recipe, command: str) -> dict[str, Any]:
    """Return the provenance of results: versions, command, time, machine and precision."""
    return {
        "prealign": __version__,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": command,
        "environment": {
            "python": platform.python_version(),
            **{package: importlib.metadata.version(package) for package in _PACKAGES},
            "platform": platform.platform(),
            "cpu": torch.cpu.get_capabilities().get("cpu_name", platform.machine()),
            "cores": os.cpu_count(),
            "accelerators": torch.accelerator.device_count() if torch.accelerator.is_available() else 0,
            "devices": launch.count(),
            "precision": precision(recipe.trainer),
        },
    }
