"""What the verbs `run`, `demo` and `report` share: run a recipe with progress, and print its results."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from prealign.cli.app import load
from prealign.cli.terminal import Watch, console, print_tables, say
from prealign.training import launch

if TYPE_CHECKING:
    from prealign.report.results import Results


def run_recipe(recipe: Path, overrides: list[str] | None, out: Path | None, force: bool) -> None:
    """Run every arm and seed of a recipe that is not finished, print the results and write the report.

    Raises PrealignError at the end if runs ended early.
    """
    settings = load(recipe, overrides)
    from prealign.report.page import write_report
    from prealign.report.results import Results
    from prealign.run.divergence import refuse_unfinished
    from prealign.run.experiment import run_experiment
    from prealign.run.folder import RunFolder
    from prealign.training.precision import precision

    folder = RunFolder(out or Path("runs") / settings.name)
    console.print(
        Text.assemble(
            (settings.name, "bold"),
            f": {', '.join(settings.arms)} × seeds {', '.join(map(str, settings.seeds))}, "
            f"{settings.jobs} at a time, {precision(settings.trainer)} → {folder.root}",
        ),
        soft_wrap=True,
    )
    with Watch(console) as watch:
        content = run_experiment(
            settings, folder, watch.show, command=shlex.join(["prealign", *sys.argv[1:]]), force=force
        )
    if launch.is_first():
        results = Results(content)
        write_report(results, folder.report)
        print_results(results)
        for line in closing(results, folder, sys.argv[1:]):
            say(line)
    refuse_unfinished(content.get("unfinished", []), len(settings.arms) * len(settings.seeds))


def print_results(results: Results) -> None:
    """Print the main tables of results.json, its frontiers and its sweeps."""
    from prealign.report.frontier import frontiers
    from prealign.report.page import main_tables
    from prealign.report.tables.frontier import frontier_table
    from prealign.report.tables.sweeps import sweep_tables

    fronts = [frontier_table(results, frontier) for frontier in frontiers(results)]
    print_tables([*main_tables(results), *fronts, *sweep_tables(results)])


def closing(results: Results, folder: Any, command: Sequence[str]) -> Iterator[str]:
    """Yield the last lines of a run: the finding, where everything is, how to sample from a model, and what to do next.

    folder: the `RunFolder`. command: the arguments of the command, to which the advice adds.
    """
    from prealign.report.finding import finding
    from prealign.report.formats import duration

    trained: dict[str, int] = {row["arm"]: row["seed"] for row in reversed(results.section("budget"))}
    yield f"\nfinding {finding(results).headline}"
    yield f"results {folder.results}"
    yield f"report  {folder.report}"
    if not trained:
        return
    main = results.main_arm
    arm = main if main is not None and main in trained else next(iter(trained))
    seed = trained[arm]
    yield f"model   {folder.stage(arm, seed, 'pretrain')} ({results.label(arm)}; the others are beside it)"
    yield f'sample  prealign generate {shlex.quote(str(folder.root))} --arm {arm} "The"'
    if len(results.content["recipe"]["seeds"]) == 1:
        seconds = sum(row["seconds"] for row in results.section("budget")) * 2 / results.content["recipe"]["jobs"]
        more = shlex.join(["prealign", *command, f"seeds=[{seed}, {seed + 1}, {seed + 2}]"])
        yield f"next    one seed cannot tell a difference from chance: {more} trains two more, in about {duration(seconds)}"
    else:
        yield "next    open the report: which words are aligned, at which layer, and what it costs"
