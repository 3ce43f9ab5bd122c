"""The command line. The only module that prints or exits.

Exit codes: 0 fine, 2 something the user can mend (one message), 1 a bug, 130 interrupted.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from prealign.cli import lexicon as lexicon_cli
from prealign.cli import lexicon_making as lexicon_making_cli
from prealign.cli.terminal import Watch, console, plain_console, print_tables
from prealign.errors import PrealignError, RecipeError, RunFolderError
from prealign.training import launch

if TYPE_CHECKING:
    from prealign.report.results import Results

# Trainer, datasets and the hub client would each draw their own bars and warnings over ours.
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")

app = typer.Typer(
    name="prealign",
    help="Early cross-lingual alignment: align words before pretraining, keep them aligned by input-only switching.",
    epilog="--debug, anywhere, shows the traceback of an error. Exit codes: 0 fine, 2 something to mend, 1 a bug.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
RecipePath = Annotated[Path, typer.Argument(help="The recipe, a YAML file.", metavar="RECIPE")]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="Settings to change, such as pretrain.steps=500.", metavar="KEY=VALUE")
]
Out = Annotated[Path | None, typer.Option("--out", help="Run folder; runs/NAME if not given.")]
Force = Annotated[bool, typer.Option("--force", help="Run stages again even if their inputs are unchanged.")]
Arm = Annotated[str, typer.Option("--arm", help="The arm.")]
Seed = Annotated[int | None, typer.Option("--seed", help="The seed; the recipe's first if not given.")]


_debug = False


def command(verb: Callable[..., None]) -> Callable[..., None]:
    """Make a function a verb of the command line whose errors become messages and exit codes."""
    return app.command()(_guarded(verb))


def _guarded(verb: Callable[..., None]) -> Callable[..., None]:
    @wraps(verb)
    def guarded(*args: Any, **kwargs: Any) -> None:
        complain = plain_console(stderr=True, quiet=not launch.is_first()).print
        try:
            verb(*args, **kwargs)
            if launch.count() > 1:
                from prealign.training import ranks

                ranks.leave()
        except PrealignError as error:
            if _debug:
                raise
            complain("error:", str(error), style="red", soft_wrap=True)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            complain("interrupted: finished stages and checkpoints are kept; run the same command to go on")
            raise typer.Exit(130) from None
        except Exception as error:
            if launch.count() == 1 or _debug:
                raise
            from prealign.training.ranks import lost

            if not lost(error):
                raise
            complain = plain_console(stderr=True).print  # the first process may be the one that is gone
            complain(
                f"error: process {launch.rank()}: another process of this run is gone. What is finished is kept, and the "
                f"checkpoints; run the same command to go on. {_what_it_saw(error)}",
                style="red",
                soft_wrap=True,
            )
            raise typer.Exit(1) from None

    return guarded


def _what_it_saw(error: Exception) -> str:
    """The first line of an error that may have another cause, and what to do if that is time."""
    said = (str(error).splitlines() or [type(error).__name__])[0]
    late = any(word in str(error).lower() for word in ("timeout", "timed out"))
    return f"It saw: {said}" + (" (if all are there and slow, raise trainer.ddp_timeout)" if late else "")


@command
def run(recipe: RecipePath, overrides: Overrides = None, out: Out = None, force: Force = False) -> None:
    """Run every arm and seed of a recipe: prepare, align, pretrain, evaluate, report."""
    from prealign.report.page import write_report
    from prealign.report.results import Results
    from prealign.run.experiment import run_experiment
    from prealign.run.folder import RunFolder
    from prealign.training.precision import precision

    settings = _load(recipe, overrides)
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
        _print_results(results)
    console.print(f"\nresults {folder.results}\nreport  {folder.report}")


def _print_results(results: Results) -> None:
    from prealign.report.page import main_tables
    from prealign.report.tables.sweeps import sweep_tables

    print_tables([*main_tables(results), *sweep_tables(results)])


@command
def validate(recipe: RecipePath, overrides: Overrides = None) -> None:
    """Check a recipe without running it: all errors at once, and settings that have no effect."""
    settings = _load(recipe, overrides)
    console.print(f"{recipe}: fine. {len(settings.arms)} arms × {len(settings.seeds)} seeds.")


@command
def plan(
    recipe: RecipePath,
    overrides: Overrides = None,
    gpus: Annotated[int, typer.Option("--gpus", help="Devices; batch sizes are of one.")] = 1,
    gpu: Annotated[str, typer.Option("--gpu", help="Their kind; cpu needs --flops.")] = "h100",
    utilisation: Annotated[float, typer.Option("--utilisation", help="Share of the peak that is reached.")] = 0.4,
    flops: Annotated[float | None, typer.Option("--flops", help="Peak FLOP/s of a device, if not its own.")] = None,
    out: Out = None,
) -> None:
    """Say what each arm would take, before any data or device: steps, FLOPs, hours, memory, disk."""
    from prealign.cli.plan import plan_tables
    from prealign.run.plan import plan_recipe, use_devices

    settings, devices = _load(recipe, overrides), use_devices(gpu, gpus, utilisation, flops)
    print_tables(plan_tables(*plan_recipe(settings, devices, out or Path("runs") / settings.name)))


@lexicon_cli.group.command()
@_guarded
def build(recipe: RecipePath, overrides: Overrides = None, out: Out = None) -> None:
    """Stage 0: prepare text and lexicon, and show what was read, how much of the text it covers, and in how many tokens."""
    from prealign.report.tables.data import tokenizer

    settings = _load(recipe, overrides)
    prepared, _ = _prepare(settings, out)
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
        console.print(f"{tests['kept_out']:,} words are kept out of the lexicon: test dictionaries have them")
    for own in prepared.record.get("bitext", {}).values():
        for line in own["summary"]:
            console.print(line, soft_wrap=True)
    print_tables(tokenizer(prepared.record))


app.add_typer(lexicon_cli.group, name="lexicon")
for _verb in (*lexicon_cli.VERBS, *lexicon_making_cli.VERBS):
    lexicon_cli.group.command()(_guarded(_verb))


@command
def align(
    recipe: RecipePath, overrides: Overrides = None, arm: Arm = "prealign", seed: Seed = None, out: Out = None
) -> None:
    """Stage 1 of one arm: align words before pretraining."""
    _one_arm(recipe, overrides, arm, seed, out, "align")


@command
def pretrain(
    recipe: RecipePath, overrides: Overrides = None, arm: Arm = "prealign", seed: Seed = None, out: Out = None
) -> None:
    """Stage 2 of one arm (and stage 1 before it, unless it is done)."""
    _one_arm(recipe, overrides, arm, seed, out, "pretrain")


@command
def evaluate(
    recipe: RecipePath, overrides: Overrides = None, arm: Arm = "prealign", seed: Seed = None, out: Out = None
) -> None:
    """Measure one arm (training it first, unless that is done)."""
    _one_arm(recipe, overrides, arm, seed, out, None)


@command
def switch(
    recipe: RecipePath,
    out: Annotated[Path, typer.Option("--out", help="Folder of the corpus.")],
    overrides: Overrides = None,
    arm: Arm = "prealign",
    seed: Seed = None,
    shards: Annotated[int, typer.Option("--shards", min=1, help="Files to spread it over.")] = 1,
    form: Annotated[str, typer.Option("--format", help="arrow or binary.")] = "arrow",
    run: Annotated[Path | None, typer.Option("--run", help="Run folder; runs/NAME if not given.")] = None,
) -> None:
    """Write the switched, packed corpus of stage 2 of one arm for other trainers: as Arrow, or as flat binary shards."""
    from prealign.run.export.blocks import export_blocks
    from prealign.training import ranks

    arm_run = _one_arm(recipe, overrides, arm, seed, run, "blocks")
    index, written = ranks.by_first(lambda: export_blocks(arm_run, out, form=form, shards=shards))
    size = f"{index['blocks']:,} blocks of {index['context']:,} tokens, {index['supervised'] / index['tokens']:.1%} of them"
    console.print(f"{size} labels → {out}{'' if written else ' (unchanged, skipped)'}", soft_wrap=True)


def _one_arm(
    path: Path, overrides: list[str] | None, arm: str, seed: int | None, out: Path | None, last: str | None
) -> Any:
    from prealign.events import Event
    from prealign.run.execution import run_arm

    arm_run = _open_arm(path, overrides, arm, seed, out)
    with Watch(console) as watch:
        if last is not None and last not in arm_run.marks():
            raise RecipeError(f"the arm {arm!r} has no stage {last!r}: its align.steps is 0.")
        watch.show(Event(arm, arm_run.seed, stages=run_arm(arm_run, watch.show, last=last)))
    console.print(f"→ {arm_run.folder(last or 'evaluate')}")
    return arm_run


def _open_arm(path: Path, overrides: list[str] | None, arm: str, seed: int | None, out: Path | None) -> Any:
    from prealign.events import silent
    from prealign.run.stages import ArmRun

    settings = _load(path, overrides)
    prepared, folder = _prepare(settings, out)
    chosen = settings.seeds[0] if seed is None else seed
    return ArmRun(arm, chosen, settings, prepared, folder, silent, devices=launch.count())


def _prepare(settings: Any, out: Path | None) -> tuple[Any, Any]:
    from prealign.run.experiment import open_run
    from prealign.run.folder import RunFolder

    folder = RunFolder(out or Path("runs") / settings.name)
    with Watch(console) as watch:
        return open_run(settings, folder, watch.show), folder


@command
def report(
    results: Annotated[Path, typer.Argument(help="A results.json, or the run folder that holds one.")],
    markdown: Annotated[
        Path | None, typer.Option("--markdown", help="Also write the page for docs, with its figures beside it.")
    ] = None,
) -> None:
    """Make the report (report.html beside results.json) and print its tables."""
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
    results: Annotated[list[Path], typer.Argument(help="The results.json files of one recipe, or their run folders.")],
    out: Annotated[Path, typer.Option("--out", help="The results.json to write, or its folder.")],
) -> None:
    """Join the results of one recipe that were made in several places: other seeds elsewhere, arms added later."""
    from prealign.files import write_json
    from prealign.report.results_file import read_results
    from prealign.run.merging import merge_results

    paths = [path / "results.json" if path.is_dir() else path for path in results]
    merged = merge_results([(path, read_results(path)) for path in paths], shlex.join(["prealign", *sys.argv[1:]]))
    place = out / "results.json" if out.is_dir() else out
    write_json(place, merged)
    runs = len({(row["arm"], row["seed"]) for row in merged["scores"]})
    console.print(f"{len(paths)} results, {runs} runs of an arm and seed → {place}", soft_wrap=True)


@command
def harness(
    recipe: RecipePath, overrides: Overrides = None, arm: Arm = "prealign", seed: Seed = None, out: Out = None
) -> None:
    """Write what lm-evaluation-harness needs to test a trained arm, and print the command that does."""
    from prealign.run.export.harness import harness_command, written_harness
    from prealign.run.folder import finished

    arm_run = _open_arm(recipe, overrides, arm, seed, out)
    checkpoint = arm_run.folder("pretrain")
    if not checkpoint.exists():
        raise RunFolderError(
            f"{checkpoint}: not trained yet. `prealign pretrain`, with the same recipe and options, does it."
        )
    if not finished(checkpoint, arm_run.marks()["pretrain"]):
        _warn("the model was trained with other settings, or on several devices")
    place, record = written_harness(arm_run.run, arm_run.prepared)
    told = f"{record['items']:,} items in {record['tasks']} tasks" if record["tasks"] else "no `knowledge`, so no tasks"
    console.print(f"{told}; the tokenizer for lm-eval → {place}", soft_wrap=True)
    if number := record["otherwise"]:
        _warn(f"lm-eval reads {number:,} items in other tokens than `prealign evaluate`")
    typer.echo(shlex.join(harness_command(place, record, checkpoint, arm_run.recipe)))


@command
def accelerate_config(
    name: Annotated[str, typer.Argument(help="ddp, fsdp2 or deepspeed_zero2.", metavar="NAME")],
) -> None:
    """Print the path of a packaged configuration: accelerate launch --config_file "$(prealign accelerate-config ddp)" …"""
    from prealign.recipe.validate import did_you_mean

    folder = Path(__file__).parents[1] / "training" / "accelerate"
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in known:
        raise RecipeError(f"there is no configuration {name!r}{did_you_mean(name, known)}")
    typer.echo(folder / f"{name}.yaml")


@command
def env() -> None:
    """Print versions, processor and precision: what to paste into a bug report."""
    from prealign.recipe.sections import Recipe, SourceText, TargetText
    from prealign.run.experiment import provenance

    blank = Recipe(name="env", source=SourceText(text=["-"]), targets=[TargetText(language="en-clone")])
    record = provenance(blank, "prealign env")
    for key, value in {"prealign": record["prealign"], **record["environment"]}.items():
        console.print(f"{key:<14} {value}")


def _warn(text: str) -> None:
    console.print(Text.assemble(("warning", "yellow"), f" {text}"), soft_wrap=True)


def _load(path: Path, overrides: list[str] | None) -> Any:
    from prealign.recipe.effects import ineffective
    from prealign.recipe.file import load_recipe

    settings = load_recipe(path, overrides or ())
    for warning in ineffective(settings):
        _warn(warning)
    return settings


def main() -> None:
    """Entry point. `--debug` may stand anywhere."""
    global _debug
    _debug = "--debug" in sys.argv
    app(args=[argument for argument in sys.argv[1:] if argument != "--debug"])
