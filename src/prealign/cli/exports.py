"""The verbs that write for other tools: a switched corpus, tasks of lm-evaluation-harness, a launcher's configuration."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from prealign.cli.app import Arm, Out, Overrides, RecipePath, Seed, command, open_arm, run_one_arm, warn
from prealign.cli.terminal import console
from prealign.errors import RecipeError, RunFolderError
from prealign.wording import some


@command
def switch(
    recipe: RecipePath,
    out: Annotated[Path, typer.Option("--out", help="Folder to write the corpus to.")],
    overrides: Overrides = None,
    arm: Arm = "prealign",
    seed: Seed = None,
    shards: Annotated[int, typer.Option("--shards", min=1, help="Number of files that hold the corpus.")] = 1,
    form: Annotated[str, typer.Option("--format", help="arrow (a dataset) or binary (flat shards).")] = "arrow",
    run: Annotated[Path | None, typer.Option("--run", help="Run folder. Default: runs/NAME.")] = None,
) -> None:
    """Export the code-switched, packed corpus of one arm's stage 2 for other trainers, as Arrow or flat binary shards."""
    from prealign.run.export.blocks import check_target, export_blocks
    from prealign.training import ranks

    check_target(out, form)
    arm_run = run_one_arm(recipe, overrides, arm, seed, run, "blocks")
    index, written = ranks.by_first(lambda: export_blocks(arm_run, out, form=form, shards=shards, tell=warn))
    labelled = index["supervised"] / index["tokens"]
    size = f"{some(index['blocks'], 'block')} of {index['context']:,} tokens, {labelled:.1%} of them"
    console.print(f"{size} labels → {out}{'' if written else ' (unchanged, skipped)'}", soft_wrap=True)


@command
def harness(
    recipe: RecipePath, overrides: Overrides = None, arm: Arm = "prealign", seed: Seed = None, out: Out = None
) -> None:
    """Export tokenizer and tasks for lm-evaluation-harness, and print the command that tests a trained arm."""
    from prealign.run.export.harness import harness_command, written_harness
    from prealign.run.folder import finished
    from prealign.seals import damage

    arm_run = open_arm(recipe, overrides, arm, seed, out)
    checkpoint = arm_run.final_folder
    if not checkpoint.exists():
        raise RunFolderError(
            f"{checkpoint}: not trained yet. Run `prealign pretrain` first, with the same recipe and options."
        )
    if damaged := damage(checkpoint, read=None):
        raise RunFolderError(f"damaged: {damaged}. Run `prealign pretrain` again, with the same recipe and options.")
    if not finished(checkpoint, arm_run.marks()[checkpoint.name]):
        warn("the model was trained with other settings, or on several devices")
    place, record = written_harness(arm_run.run, arm_run.prepared, warn)
    tasks = (
        f"{some(record['items'], 'item')} in {some(record['tasks'], 'task')}"
        if record["tasks"]
        else "no `knowledge`, so no tasks"
    )
    console.print(f"{tasks}; the tokenizer for lm-eval → {place}", soft_wrap=True)
    if number := record["otherwise"]:
        warn(f"lm-eval splits {some(number, 'item')} into other tokens than `prealign evaluate`")
    typer.echo(shlex.join(harness_command(place, record, checkpoint, arm_run.recipe)))


@command
def accelerate_config(
    name: Annotated[str, typer.Argument(help="Configuration: ddp, fsdp2 or deepspeed_zero2.", metavar="NAME")],
) -> None:
    """Print the path of a configuration: accelerate launch --config_file "$(prealign accelerate-config ddp)" …"""
    from prealign.recipe.validate import did_you_mean

    folder = Path(__file__).parents[1] / "training" / "accelerate"
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in known:
        raise RecipeError(f"there is no configuration {name!r}{did_you_mean(name, known)}")
    typer.echo(folder / f"{name}.yaml")
