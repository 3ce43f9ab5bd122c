"""The verbs that begin an experiment: list the packaged recipes, run the demo, write a recipe.

`prealign.cli.main` registers them.
"""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from prealign.cli.app import Force, Json, Out, Overrides, command, load, warn
from prealign.cli.running import run_recipe
from prealign.cli.terminal import console, say
from prealign.errors import RecipeError
from prealign.files import write_text
from prealign.recipe.packaged import packaged_path, packaged_recipes
from prealign.recipe.section import tag_fault
from prealign.wording import some


@command
def recipes(as_json: Json = False) -> list[dict[str, Any]]:
    """List the recipes that come with the package: what each shows, its time, and its data."""
    known = packaged_recipes()
    width = max(len(one.name) for one in known) + 2
    for one in known:
        for label, text in ((one.name, one.shows), ("", f"time: {one.time}"), ("", f"data: {one.data}")):
            console.print(textwrap.fill(text, 80, initial_indent=label.ljust(width), subsequent_indent=" " * width))
    console.print("\n`prealign demo` runs the demo. `prealign init NAME` copies a recipe, to change it.")
    return [asdict(one) for one in known]


@command
def demo(overrides: Overrides = None, out: Out = None, force: Force = False) -> None:
    """Run the packaged recipe `demo`: joint training and PreAlign on real text, about five minutes on two CPU cores."""
    run_recipe(packaged_path("demo"), overrides, out, force)


_Files = Annotated[
    list[str] | None, typer.Option(help="Text of the language: files, folders, globs or package:NAME. Can be repeated.")
]


@command
def init(
    name: Annotated[
        str | None, typer.Argument(help="A packaged recipe to copy; without it, a recipe for your files is written.")
    ] = None,
    source: Annotated[str, typer.Option("--source", help="Source language, as a tag such as en.")] = "en",
    target: Annotated[str | None, typer.Option("--target", help="Target language, as a tag such as de.")] = None,
    lexicon: Annotated[
        list[Path] | None, typer.Option("--lexicon", help="Dictionary from source to target. Can be repeated.")
    ] = None,
    text_source: _Files = None,
    text_target: _Files = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Recipe to write. Default: NAME.yaml, or SOURCE-TARGET.yaml.")
    ] = None,
) -> None:
    """Write a recipe: a copy of a packaged one, or one for your own text and dictionary, with every line explained."""
    if name is not None and not (target or lexicon or text_source or text_target):
        content, path = packaged_path(name).read_text(encoding="utf-8"), out or Path(f"{name}.yaml")
        _refuse_existing(path)
        write_text(path, content)
        say(f"{path}: a copy of the packaged recipe. Next: prealign run {path}")
        return
    if name is not None or not (target and lexicon and text_source and text_target):
        raise RecipeError(
            "give either the name of a packaged recipe (`prealign recipes` lists them), or all of --target, --lexicon, "
            "--text-source and --text-target."
        )
    for tag in (source, target):
        if problem := tag_fault(tag):
            raise RecipeError(problem)
    path = out or Path(f"{source}-{target}.yaml")
    _refuse_existing(path)
    _write_for_files(path, source, target, lexicon, text_source, text_target)


def _refuse_existing(path: Path) -> None:
    if path.exists():
        raise RecipeError(f"{path} exists already. Remove it, or write to another file with --out.")


def _write_for_files(
    path: Path, source: str, target: str, lexicon: list[Path], text_source: list[str], text_target: list[str]
) -> None:
    from prealign.run.starter import guess, problems, recipe_text
    from prealign.run.survey import mixed, survey_lexicon, survey_text

    first, second = survey_text(text_source, source, say), survey_text(text_target, target, say)
    for text in (first, second):
        size = f"{some(text.number, 'document')} ({text.documents} each), about {text.tokens:,} tokens"
        say(f"text {text.language}: {size}")
    words = survey_lexicon(lexicon, first, second)
    say(
        f"lexicon: {some(words.words, 'word')}, {words.usable:,} of them in the text; they are {words.coverage:.1%} of its "
        "running words"
    )
    sizes = guess(first, second)
    for problem in problems(first, second, words, mixed(first, second), sizes):
        warn(problem)
    write_text(path, recipe_text(f"{source}-{target}", path, first, second, words, sizes))
    load(path, None)
    say(f"recipe  {path}\nNext: prealign run {path}")
