"""The command line of prealign: its verbs, error messages and exit codes.

Exit codes: 0 fine, 2 an error that the user can fix (one message), 1 a bug, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from prealign.cli import lexicon as lexicon_cli
from prealign.cli import lexicon_making as lexicon_making_cli
from prealign.cli.app import (
    Arm,
    Force,
    Out,
    Overrides,
    RecipePath,
    Seed,
    app,
    command,
    command_line,
    guard,
    load,
    prepare_data,
    run_one_arm,
)
from prealign.cli.terminal import Watch, console, print_tables
from prealign.training import launch

if TYPE_CHECKING:
    from prealign.report.results import Results

# Turn off the progress bars and warnings of datasets, the hub client and transformers: they would overwrite ours.
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")


@command
def run(recipe: RecipePath, overrides: Overrides = None, out: Out = None, force: Force = False) -> None:
    """Run every arm and seed of a recipe: prepare, align, pretrain, evaluate, report."""
    from prealign.report.page import write_report
    from prealign.report.results import Results
    from prealign.run.experiment import run_experiment
    from prealign.run.folder import RunFolder
    from prealign.training.precision import precision

    settings = load(recipe, overrides)
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
        content = run_experiment(settings, folder, watch.show, command=command_line(), force=force)
    if launch.is_first():
        results = Results(content)
        write_report(results, folder.report)
        _print_results(results)
    console.print(f"\nresults {folder.results}\nreport  {folder.report}")


def _print_results(results: Results) -> None:
    from prealign.report.page import main_tables
    from prealign.report.tables.sweeps import sweep_tables

    print_tables([*main_tables(results), *sweep_tables(results)])


@command
def validate(recipe: RecipePath, overrides: Overrides = None) -> None:
    """Check a recipe without running it: all errors at once, and settings that have no effect."""
    settings = load(recipe, overrides)
    console.print(f"{recipe}: fine. {len(settings.arms)} arms × {len(settings.seeds)} seeds.")


@command
def plan(
    recipe: RecipePath,
    overrides: Overrides = None,
    gpus: Annotated[
        int, typer.Option("--gpus", help="Number of devices. Batch sizes of the recipe are per device.")
    ] = 1,
    gpu: Annotated[
        str, typer.Option("--gpu", help="Kind of device, such as a100 or h100. cpu needs --flops.")
    ] = "h100",
    utilisation: Annotated[
        float, typer.Option("--utilisation", help="Share of the peak FLOP/s that training reaches, 0 to 1.")
    ] = 0.4,
    flops: Annotated[
        float | None, typer.Option("--flops", help="Peak FLOP/s of a device. Default: from the table of devices.")
    ] = None,
    out: Out = None,
) -> None:
    """Estimate the cost of each arm without data or devices: steps, FLOPs, hours, memory, disk."""
    from prealign.cli.plan import plan_tables
    from prealign.run.plan import plan_recipe, use_devices

    settings, devices = load(recipe, overrides), use_devices(gpu, gpus, utilisation, flops)
    print_tables(plan_tables(*plan_recipe(settings, devices, out or Path("runs") / settings.name)))


@lexicon_cli.group.command()
@guard
def build(recipe: RecipePath, overrides: Overrides = None, out: Out = None) -> None:
    """Stage 0: prepare text and lexicon. Shows the dictionaries read, the coverage of the text, and token counts."""
    from prealign.report.tables.data import tokenizer

    settings, prepared, _ = prepare_data(load(recipe, overrides), out)
    record = prepared.record["lexicon"]
    for line in (*(reading["summary"] for reading in record["reading"]), *record["left_out"]):
        console.print(line, soft_wrap=True)
    console.print(f"{record['groups']:,} translation groups → {prepared.lexicon_file}")
    for language, share in record["coverage"].items():
        console.print(f"coverage {language}: {share:.1%} of the {settings.source.language} words in the training text")
    if held_out := settings.lexicon.held_out:
        console.print(f"an arm has {1 - held_out:.1%} of the groups, drawn by its seed: the others are held out")
    if tests := prepared.record.get("tests"):
        for tested in (*tests["reading"], *tests["dictionaries"]):
            console.print(f"test {tested['target']}: {tested['summary']}", soft_wrap=True)
        console.print(f"{tests['kept_out']:,} words are kept out of the lexicon: they are in test dictionaries")
    for own in prepared.record.get("bitext", {}).values():
        for line in own["summary"]:
            console.print(line, soft_wrap=True)
    print_tables(tokenizer(prepared.record))


app.add_typer(lexicon_cli.group, name="lexicon")
for _verb in (*lexicon_cli.VERBS, *lexicon_making_cli.VERBS):
    lexicon_cli.group.command()(guard(_verb))


@command
def align(
    recipe: RecipePath, overrides: Overrides = None, arm: Arm = "prealign", seed: Seed = None, out: Out = None
) -> None:
    """Stage 1 of one arm: align words before pretraining."""
    run_one_arm(recipe, overrides, arm, seed, out, "align")


@command
def pretrain(
    recipe: RecipePath, overrides: Overrides = None, arm: Arm = "prealign", seed: Seed = None, out: Out = None
) -> None:
    """Stage 2 of one arm: pretrain on code-switched text. Runs stage 1 first if it is not finished."""
    run_one_arm(recipe, overrides, arm, seed, out, "pretrain")


@command
def evaluate(
    recipe: RecipePath, overrides: Overrides = None, arm: Arm = "prealign", seed: Seed = None, out: Out = None
) -> None:
    """Measure one arm. Trains it first if that is not finished."""
    run_one_arm(recipe, overrides, arm, seed, out, None)


@command
def report(
    results: Annotated[Path, typer.Argument(help="A results.json, or its run folder.")],
    markdown: Annotated[
        Path | None,
        typer.Option("--markdown", help="Also write the report as this Markdown file, with its figures beside it."),
    ] = None,
) -> None:
    """Write the report (report.html beside results.json) and print its tables."""
    from prealign.report.page import write_markdown, write_report
    from prealign.report.results import Results
    from prealign.report.results_file import read_results

    path = results / "results.json" if results.is_dir() else results
    content = Results(read_results(path))
    write_report(content, path.with_name("report.html"))
    _print_results(content)
    console.print(f"report  {path.with_name('report.html')}")
    if markdown is not None:
        write_markdown(content, markdown, markdown.parent)
        console.print(f"page    {markdown}")


@command
def merge(
    results: Annotated[list[Path], typer.Argument(help="Several results.json of one recipe, or their run folders.")],
    out: Annotated[Path, typer.Option("--out", help="The results.json to write, or its folder.")],
) -> None:
    """Join several results of one recipe: seeds from other machines, or arms that were added later."""
    from prealign.files import write_json
    from prealign.report.results_file import read_results
    from prealign.run.merging import merge_results

    paths = [path / "results.json" if path.is_dir() else path for path in results]
    merged = merge_results([(path, read_results(path)) for path in paths], command_line())
    place = out / "results.json" if out.is_dir() else out
    write_json(place, merged)
    runs = len({(row["arm"], row["seed"]) for row in merged["scores"]})
    console.print(f"{len(paths)} results, {runs} runs of an arm and seed → {place}", soft_wrap=True)


@command
def clean(
    run: Annotated[Path, typer.Argument(help="A run folder.", metavar="RUN")],
    yes: Annotated[bool, typer.Option("--yes", help="Remove them, without asking.")] = False,
) -> None:
    """Remove former stages and checkpoints, which a run sets aside when settings change. Shows their sizes first."""
    import shutil

    from prealign.errors import RunFolderError
    from prealign.run.folder import RunFolder
    from prealign.run.former import all_former, size

    if not RunFolder(run).recipe.exists():
        raise RunFolderError(f"{run}: not a run folder; name one, such as runs/demo.")
    former = all_former(run)
    for path in former:
        console.print(f"{size(path):>16,} bytes  {path}", soft_wrap=True)
    if not former:
        console.print(f"{run}: no former stages: nothing to remove")
    elif yes or (sys.stdin.isatty() and typer.confirm(f"Remove these {len(former)}?")):
        for path in former:
            shutil.rmtree(path)
        for folder in {path.parent for path in former}:
            folder.rmdir()
        console.print(f"removed {len(former)}")
    else:
        console.print("nothing is removed; pass --yes to remove them")


@command
def env() -> None:
    """Print versions, processor and precision, to paste into a bug report."""
    from prealign.recipe.sections import Recipe, SourceText, TargetText
    from prealign.run.provenance import provenance

    blank = Recipe(name="env", source=SourceText(text=["-"]), targets=[TargetText(language="en-clone")])
    record = provenance(blank, "prealign env")
    for key, value in {"prealign": record["prealign"], **record["environment"]}.items():
        console.print(f"{key:<14} {value}")


# Last, so that its verbs follow those above in `prealign --help`.
from prealign.cli import exports as _exports  # noqa: E402, F401


def main() -> None:
    """Run the command line. `--debug` may stand at any place."""
    app(args=[argument for argument in sys.argv[1:] if argument != "--debug"])
