"""An experiment: all arms and seeds of a recipe, and results.json.

1. Prepare the shared data (`prealign.run.preparation.prepare`).
2. Tell what each arm reads of each language (`prealign.run.reading`).
3. Run each (seed, arm) that is not fresh (`prealign.run.execution`).
4. After each arm, write results.json again, from all finished arms and seeds in the folder that are of these settings,
   whichever command made them. An interrupted experiment keeps the results of its finished arms. An arm whose numbers are
   not finite is listed as unfinished, and the others go on.
"""

from __future__ import annotations

from typing import Any

from prealign.errors import DivergedError
from prealign.events import Event, OnEvent, Progress, silent
from prealign.files import write_json
from prealign.recipe.file import dump_recipe
from prealign.recipe.sections import Recipe
from prealign.run.data import Prepared
from prealign.run.execution import run_arms
from prealign.run.folder import RunFolder
from prealign.run.folder_results import FolderResults
from prealign.run.launch_checks import check_launch
from prealign.run.locks import alone_in
from prealign.run.preparation.prepare import prepare
from prealign.run.reading import reading_lines
from prealign.run.revisions import pin, pinned, recorded_commits
from prealign.run.small_text import small_texts
from prealign.run.stages import ArmRun
from prealign.training import launch, ranks
from prealign.training.loop import check_arguments
from prealign.training.precision import device

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
    recipe, prepared = open_run(recipe, run, on_event, command)
    pairs = [(arm, seed) for seed in recipe.seeds for arm in recipe.arms]
    common: dict[str, Any] = {"devices": launch.count(), "command": command}
    arms = [ArmRun(*pair, recipe, prepared, run, silent, **common) for pair in pairs]
    unfinished: list[dict[str, Any]] = []
    results: dict[str, Any] = {}

    def note(said: str) -> None:
        on_event(Event(ALL_ARMS, 0, Progress("results", 0, 1, note=said)))

    collected = FolderResults(arms, note)

    def collect() -> None:
        results.clear()
        results.update(collected.content(unfinished))

    def save() -> None:
        with alone_in(run.results, patient=True):
            collect()
            write_json(run.results, results)

    def tell() -> None:
        readings = {arm.arm: arm.reading for arm in arms if arm.seed == recipe.seeds[0]}
        for line in reading_lines(readings):
            on_event(Event(ALL_ARMS, 0, Progress("stage 2 reads", 0, 1, note=line)))

    # Compute the fingerprints of all arms first: an error in the last arm then shows before the first one trains.
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


def open_run(recipe: Recipe, run: RunFolder, on_event: OnEvent, command: str) -> tuple[Recipe, Prepared]:
    """Claim the run folder, join the other processes of a launcher, and prepare the data.

    command: the command line, for the provenance of what it makes. Returns the recipe with the commits of hub ids, and
    the data.
    """
    check_launch(recipe)
    ranks.join(
        cpu=device().type == "cpu",
        timeout=recipe.trainer.get("ddp_timeout", TIMEOUT),
    )

    check_arguments(recipe.trainer)

    def begin() -> dict[str, Any]:
        run.claim(recipe.name, dump_recipe(recipe))
        own = pin(recipe, run, lambda said: on_event(Event(ALL_ARMS, 0, Progress("hub", 0, 1, note=said))))
        prepared, stages = prepare(own, run, lambda p: on_event(Event(ALL_ARMS, 0, p)), command)
        on_event(Event(ALL_ARMS, 0, stages=stages))
        for text in small_texts(prepared.record["corpus"]):
            on_event(Event(ALL_ARMS, 0, Progress("text", 1, 1, note=f"warning: {text}")))
        return {"record": prepared.record, "commits": recorded_commits(run)}

    begun = ranks.by_first(begin)
    return pinned(recipe, begun["commits"]), Prepared(run.data, begun["record"])
