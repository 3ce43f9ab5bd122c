"""The command line of prealign: its verbs, error messages and exit codes.

Exit codes: 0 fine, 2 an error that the user can fix (one message), 1 a bug, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from prealign.cli import interrupts
from prealign.cli import lexicon as lexicon_cli
from prealign.cli import lexicon_making as lexicon_making_cli
from prealign.cli import probe as probe_cli
from prealign.cli.app import (
    Arm,
    Force,
    Json,
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
    warn,
)
from prealign.cli.running import print_results, run_recipe
from prealign.cli.terminal import console, print_tables, say
from prealign.errors import ResultsError
from prealign.wording import some

# Turn off the progress bars and warnings of datasets, the hub client and transformers: they would overwrite ours.
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")


@command
def run(recipe: RecipePath, overrides: Overrides = None, out: Out = None, force: Force = False) -> None:
    """Run every arm and seed of a recipe: prepare, align, pretrain, evaluate, report."""
    run_recipe(recipe, overrides, out, force)


@command
def validate(recipe: RecipePath, overrides: Overrides = None, as_json: Json = False) -> dict[str, Any]:
    """Check a recipe without running it: all errors at once, and settings that have no effect."""
    from prealign.recipe.arms import resolve_arm
    from prealign.recipe.presets import settings_taken
    from prealign.run.paths import hub_notes

    warnings: list[str] = []
    settings = load(recipe, overrides, warnings.append)
    usual = type(settings).model_fields["method"].default
    if any(resolve_arm(settings, arm).method != usual for arm in settings.arms):
        from prealign.run.planned import check_phases  # imports torch, which other recipes need not wait for

        check_phases(settings)
    for warning in warnings:
        warn(warning)
    console.print(f"{recipe}: fine. {some(len(settings.arms), 'arm')} × {some(len(settings.seeds), 'seed')}.")
    for note in hub_notes(settings):
        say(note)
    taken = settings_taken(settings)
    if taken:
        say(f"of the preset {settings.model.preset}: {', '.join(f'{key} {value}' for key, value in taken.items())}")
    return {
        "recipe": str(recipe),
        "arms": settings.arms,
        "seeds": settings.seeds,
        "preset": taken,
        "warnings": warnings,
    }


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
    as_json: Json = False,
) -> dict[str, Any]:
    """Estimate the cost of each arm without data or devices: steps, FLOPs, hours, memory, disk."""
    from prealign.cli.plan import plan_tables
    from prealign.run.plan import plan_recipe, use_devices

    settings, devices = load(recipe, overrides, files=False), use_devices(gpu, gpus, utilisation, flops)
    plans, devices, notes = plan_recipe(settings, devices, out or Path("runs") / settings.name)
    print_tables(plan_tables(plans, devices, notes))
    return {"devices": asdict(devices), "arms": [asdict(plan) for plan in plans], "notes": notes}


@lexicon_cli.group.command()
@guard
def build(recipe: RecipePath, overrides: Overrides = None, out: Out = None, as_json: Json = False) -> dict[str, Any]:
    """Stage 0: prepare text and lexicon. Shows the dictionaries read, the coverage of the text, and token counts."""
    from prealign.report.tables.data import corpus, tokenizer
    from prealign.report.tables.external_retrieval import told_of_tests

    settings, prepared, _ = prepare_data(load(recipe, overrides), out)
    record = prepared.record["lexicon"]
    for line in (*(reading["summary"] for reading in record["reading"]), *record["left_out"]):
        console.print(line, soft_wrap=True)
    console.print(f"{some(record['groups'], 'translation group')} → {prepared.lexicon_file}")
    for language, share in record["coverage"].items():
        console.print(f"coverage {language}: {share:.1%} of the {settings.source.language} words in the training text")
    if held_out := settings.lexicon.held_out:
        console.print(f"an arm has {1 - held_out:.1%} of the groups, drawn by its seed: the others are held out")
    if tests := prepared.record.get("tests"):
        for tested in (*tests["reading"], *tests["dictionaries"]):
            console.print(f"test {tested['target']}: {tested['summary']}", soft_wrap=True)
        for line in told_of_tests(tests):
            console.print(line, soft_wrap=True)
    for own in prepared.record.get("bitext", {}).values():
        for line in own["summary"]:
            console.print(line, soft_wrap=True)
    print_tables([*corpus(prepared.record), *tokenizer(prepared.record)])
    return {"lexicon_file": str(prepared.lexicon_file), **prepared.record}


app.add_typer(lexicon_cli.group, name="lexicon")
for _verb in (*lexicon_cli.VERBS, *lexicon_making_cli.VERBS):
    lexicon_cli.group.command()(guard(_verb))
app.add_typer(probe_cli.group, name="probe")
probe_cli.group.command()(guard(probe_cli.similarity))
probe_cli.group.command()(guard(probe_cli.contamination))


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
    recipe: RecipePath,
    overrides: Overrides = None,
    arm: Arm = "prealign",
    seed: Seed = None,
    out: Out = None,
    as_json: Json = False,
) -> dict[str, Any]:
    """Measure one arm, and print its scores. Trains it first if that is not finished."""
    from prealign.cli.scores import arm_scores, scores_table

    arm_run = run_one_arm(recipe, overrides, arm, seed, out, None)
    scores = arm_scores(arm_run)
    print_tables([scores_table(scores)])
    return {"arm": arm, "seed": arm_run.seed, "model": str(arm_run.final_folder), "scores": scores}


@command
def report(
    results: Annotated[Path, typer.Argument(help="A results.json, or its run folder.")],
    markdown: Annotated[
        Path | None,
        typer.Option("--markdown", help="Also write the report as this Markdown file, with its figures beside it."),
    ] = None,
    as_json: Json = False,
) -> dict[str, Any]:
    """Write the report (report.html beside results.json) and print its tables."""
    from prealign.report.finding import finding
    from prealign.report.page import main_tables, write_markdown, write_report
    from prealign.report.results import Results
    from prealign.report.results_file import read_results

    if markdown is not None and markdown.is_dir():
        raise ResultsError(f"{markdown}: is a folder. Name the file to write, such as {markdown / 'README.md'}.")
    path = results / "results.json" if results.is_dir() else results
    content = Results(read_results(path))
    write_report(content, path.with_name("report.html"))
    print_results(content)
    console.print(f"report  {path.with_name('report.html')}")
    if markdown is not None:
        write_markdown(content, markdown, markdown.parent)
        console.print(f"page    {markdown}")
    tables = [asdict(table) for table in main_tables(content)]
    return {"report": str(path.with_name("report.html")), "finding": asdict(finding(content)), "tables": tables}


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
def env(as_json: Json = False) -> dict[str, Any]:
    """Print versions, processor and precision, to paste into a bug report."""
    from prealign.recipe.sections import Recipe, SourceText, TargetText
    from prealign.run.provenance import provenance

    blank = Recipe(name="env", source=SourceText(text=["-"]), targets=[TargetText(language="en-clone")])
    record = provenance(blank, "prealign env")
    found = {"prealign": record["prealign"], **record["environment"]}
    for key, value in found.items():
        console.print(f"{key:<14} {value}")
    return found


# Last, so that their verbs follow those above in `prealign --help`.
from prealign.cli import exports as _exports  # noqa: E402, F401
from prealign.cli import looking as _looking  # noqa: E402, F401
from prealign.cli import recipes as _recipes  # noqa: E402, F401


def main() -> None:
    """Run the command line. `--debug` may stand at any place."""
    interrupts.deliver_again()
    app(args=[argument for argument in sys.argv[1:] if argument != "--debug"])
