"""All arms and seeds of a recipe, and the results they add up to.

1. Prepare the shared data (`prealign.run.prepare`).
2. Run each (seed, arm) that is not fresh (`prealign.run.execution`).
3. After each, write results.json anew from the finished folders: so an interrupted experiment has the results it has.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from typing import Any

import torch

from prealign import __version__
from prealign.events import Event, OnEvent, silent
from prealign.files import write_json
from prealign.recipe.file import dump_recipe
from prealign.recipe.sections import Recipe
from prealign.run.data import Prepared
from prealign.run.execution import run_arms
from prealign.run.folder import RunFolder
from prealign.run.launch_checks import check_launch
from prealign.run.prepare import prepare
from prealign.run.results import Marks, collect_results
from prealign.run.stages import ArmRun
from prealign.training import launch, ranks
from prealign.training.precision import device, precision

# A list of the environment that changes numbers or speed
_PACKAGES = ("torch", "transformers", "accelerate", "datasets", "tokenizers", "numpy")

ALL_ARMS = "all arms"
TIMEOUT = 1800
"""Seconds that a collective of training may take, as in `TrainingArguments`."""


def run_experiment(
    recipe: Recipe, run: RunFolder, on_event: OnEvent, *, command: str, force: bool = False
) -> dict[str, Any]:
    """Run everything that is not fresh; return what results.json holds (under a launcher in the first process only).

    Raises PrealignError for what the user can mend, before any training where it can be known before.
    """
    prepared = open_run(recipe, run, on_event, command)
    pairs = [(arm, seed) for seed in recipe.seeds for arm in recipe.arms]
    arms = [ArmRun(*pair, recipe, prepared, run, silent, devices=launch.count()) for pair in pairs]
    marks: Marks = {}
    results: dict[str, Any] = {}

    def collect() -> None:
        # Fingerprints of all arms first: what is wrong with the last arm's settings shows before the first is trained.
        marks.update(marks or {(arm.arm, arm.seed): arm.marks() for arm in arms})
        results.update(collect_results(recipe, prepared, run, marks))

    def save() -> None:
        collect()
        write_json(run.results, results)

    ranks.by_first(collect)
    for arm, stages in run_arms(arms, recipe.jobs, on_event, force=force):
        on_event(Event(arm.arm, arm.seed, stages=stages))
        ranks.by_first(save)
    return results


def open_run(recipe: Recipe, run: RunFolder, on_event: OnEvent, command: str | None = None) -> Prepared:
    """Claim the folder, meet the other processes of a launch, and prepare the data.

    command: the one that will make results, for their provenance.
    """
    check_launch(recipe)
    ranks.join(
        cpu=device().type == "cpu",
        timeout=recipe.trainer.get("ddp_timeout", TIMEOUT),
    )

    def begin() -> dict[str, Any]:
        run.claim(recipe.name, dump_recipe(recipe))
        if command is not None:
            write_json(run.provenance, provenance(recipe, command))
        prepared, made = prepare(recipe, run, lambda p: on_event(Event(ALL_ARMS, 0, p)))
        on_event(Event(ALL_ARMS, 0, stages=made))
        return prepared.record

    return Prepared(run.data, ranks.by_first(begin))


def provenance(recipe: Recipe, command: str) -> dict[str, Any]:
    """Return what a number depends on besides the recipe: versions, machine, precision, time."""
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
