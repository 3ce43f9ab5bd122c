"""The application: its options, how errors become messages and exit codes, and how verbs open a recipe and an arm.

Exit codes: 0 fine, 2 an error that the user can fix (one message), 1 a bug, 130 interrupted.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from prealign import __version__
from prealign.cli import interrupts
from prealign.cli.terminal import Watch, console, json_output, plain_console, print_json
from prealign.errors import DivergedError, PrealignError, RecipeError
from prealign.faults import told
from prealign.training import launch

app = typer.Typer(
    name="prealign",
    help="Early cross-lingual alignment: align words before pretraining, keep them aligned by input-only code-switching.",
    epilog="--debug at any place shows the traceback of an error. Exit codes: 0 fine, 2 an error that you can fix, 1 a bug.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


RecipePath = Annotated[Path, typer.Argument(help="Recipe of the experiment, a YAML file.", metavar="RECIPE")]


Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Settings that replace those of the recipe, such as pretrain.steps=500.", metavar="KEY=VALUE"),
]


Out = Annotated[Path | None, typer.Option("--out", help="Run folder. Default: runs/NAME, with the recipe's name.")]


Force = Annotated[bool, typer.Option("--force", help="Run stages again even if their inputs are unchanged.")]


Arm = Annotated[str, typer.Option("--arm", help="Name of an arm or variant.")]


Seed = Annotated[int | None, typer.Option("--seed", help="Seed of the arm. Default: the first seed of the recipe.")]


Json = Annotated[
    bool, typer.Option("--json", help="Print the results as JSON to standard output, all else to standard error.")
]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"prealign {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Hold the options of `prealign` itself; its help is that of `app`."""


def debugging() -> bool:
    """Whether errors show their traceback: `--debug` stands anywhere in the command."""
    return "--debug" in sys.argv


def command_line() -> str:
    """Return the command line, for the provenance of what it makes."""
    return shlex.join(["prealign", *sys.argv[1:]])


def command(verb: Callable[..., Any]) -> Callable[..., None]:
    """Register a function as a verb of the command line. Its errors become messages and exit codes."""
    return app.command()(guard(verb))


def guard(verb: Callable[..., Any]) -> Callable[..., None]:
    """Turn the errors of a verb into messages and exit codes. A verb with `as_json` returns what it then prints."""

    @wraps(verb)
    def guarded(*args: Any, **kwargs: Any) -> None:
        complain = plain_console(stderr=True, quiet=not launch.is_first()).print
        try:
            if kwargs.get("as_json"):
                with json_output():
                    results = verb(*args, **kwargs)
                print_json(results)
            else:
                verb(*args, **kwargs)
            if launch.count() > 1:
                from prealign.training import ranks

                ranks.leave()
        except PrealignError as error:
            if debugging():
                raise
            complain("error:", str(error), style="red", soft_wrap=True)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            interrupts.ignore()
            complain("interrupted: finished stages and checkpoints are kept; run the same command to go on")
            raise typer.Exit(130) from None
        except Exception as error:
            message = None if debugging() else told(error)
            if message:
                complain("error:", message, style="red", soft_wrap=True)
                raise typer.Exit(2) from None
            if launch.count() == 1 or debugging():
                raise
            from prealign.training.ranks import lost

            if not lost(error):
                raise
            complain = plain_console(stderr=True).print  # in every process: the first one may be gone
            complain(
                f"error: process {launch.rank()}: another process of this run is gone. What is finished is kept, and the "
                f"checkpoints; run the same command to go on. {what_it_saw(error)}",
                style="red",
                soft_wrap=True,
            )
            raise typer.Exit(1) from None

    return guarded


def what_it_saw(error: Exception) -> str:
    """Return the first line of an error, with advice if it is a timeout."""
    first_line = (str(error).splitlines() or [type(error).__name__])[0]
    late = any(word in str(error).lower() for word in ("timeout", "timed out"))
    advice = " (if all processes are alive but slow, raise trainer.ddp_timeout)" if late else ""
    return f"It saw: {first_line}{advice}"


def run_one_arm(
    path: Path, overrides: list[str] | None, arm: str, seed: int | None, out: Path | None, last: str | None
) -> Any:
    """Run the stages of one arm up to `last` (None: all), with progress. Returns the `ArmRun`."""
    from prealign.events import Event
    from prealign.run.execution import run_arm

    arm_run = open_arm(path, overrides, arm, seed, out)
    if last == "pretrain":
        last = arm_run.trained_stages[-1]  # a method may have phases after its main phase
    with Watch(console) as watch:
        if last is not None and last not in arm_run.marks():
            raise RecipeError(f"the arm {arm!r} has no stage {last!r}: its align.steps is 0.")
        try:
            stages = run_arm(arm_run, watch.show, last=last)
        except DivergedError as error:
            raise DivergedError(f"{arm} seed {arm_run.seed}: {error}") from None
        watch.show(Event(arm, arm_run.seed, stages=stages))
    console.print(f"→ {arm_run.folder(last or 'evaluate')}")
    return arm_run


def open_arm(path: Path, overrides: list[str] | None, arm: str, seed: int | None, out: Path | None) -> Any:
    """Load a recipe, prepare its data and return the `ArmRun` of an arm and seed."""
    from prealign.events import silent
    from prealign.recipe.arms import resolve_arm
    from prealign.run.stages import ArmRun

    settings = load(path, overrides)
    resolve_arm(settings, arm)  # an unknown name must fail before any work
    settings, prepared, folder = prepare_data(settings, out)
    chosen = settings.seeds[0] if seed is None else seed
    common: dict[str, Any] = {"devices": launch.count(), "command": command_line()}
    return ArmRun(arm, chosen, settings, prepared, folder, silent, **common)


def prepare_data(settings: Any, out: Path | None) -> tuple[Any, Any, Any]:
    """Prepare the data of a recipe, with progress. Returns the recipe with the commits of hub ids, `Prepared` and the
    `RunFolder`.
    """
    from prealign.run.experiment import open_run
    from prealign.run.folder import RunFolder

    folder = RunFolder(out or Path("runs") / settings.name)
    with Watch(console) as watch:
        return *open_run(settings, folder, watch.show, command_line()), folder


def warn(text: str) -> None:
    """Print a warning."""
    console.print(Text.assemble(("warning", "yellow"), f" {text}"), soft_wrap=True)


def load(path: Path, overrides: list[str] | None, tell: Callable[[str], None] = warn, *, files: bool = True) -> Any:
    """Return the recipe of a file, and tell of settings without effect. files: what it names must be here."""
    from prealign.recipe.effects import ineffective
    from prealign.recipe.file import load_recipe
    from prealign.run.paths import path_problems

    settings = load_recipe(path, overrides or (), path_problems if files else lambda _: ())
    for warning in ineffective(settings):
        tell(warning)
    return settings
