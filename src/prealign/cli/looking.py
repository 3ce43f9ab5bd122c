"""The verbs that look at a trained model: sample text from it, and show the nearest words of a word."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from prealign.cli.app import Arm, Json, Seed, command
from prealign.cli.terminal import console, say
from prealign.languages import language_name

Run = Annotated[Path, typer.Argument(help="Run folder, such as runs/demo.", metavar="RUN")]
Language = Annotated[str | None, typer.Option("--language", help="Language of the prompt or word, as a tag.")]


@command
def generate(
    run: Run,
    prompt: Annotated[str, typer.Argument(help="Beginning of the text.", metavar="PROMPT")] = "",
    arm: Arm = "prealign",
    seed: Seed = None,
    language: Language = None,
    tokens: Annotated[int, typer.Option("--tokens", min=1, help="Most tokens to write.")] = 40,
    temperature: Annotated[
        float, typer.Option("--temperature", min=0, help="Of the draws; 0 takes the most probable token each time.")
    ] = 0.8,
    number: Annotated[int, typer.Option("--samples", min=1, help="How many texts to write.")] = 3,
    as_json: Json = False,
) -> list[str]:
    """Sample text from a trained arm: continue a prompt in any language of the run."""
    from prealign.run.folder import RunFolder
    from prealign.run.looking import open_trained, sample

    trained = open_trained(RunFolder(run), arm, seed)
    chosen = language or trained.languages[0]
    texts = sample(trained, prompt, chosen, tokens=tokens, temperature=temperature, number=number)
    for text in texts:
        say(f"{text}\n")
    return texts


@command
def neighbours(
    run: Run,
    word: Annotated[str, typer.Argument(help="A word of any language of the run.", metavar="WORD")],
    arm: Arm = "prealign",
    seed: Seed = None,
    language: Language = None,
    layer: Annotated[int, typer.Option("--layer", help="0: input embedding; 1, 2, …: blocks; the last: output.")] = 1,
    number: Annotated[int, typer.Option("--number", min=1, help="Words to show of each language.")] = 8,
    as_json: Json = False,
) -> dict[str, Any]:
    """Show the words of the lexicon that are nearest to a word in a trained arm, at one layer; * marks translations."""
    from prealign.run.folder import RunFolder
    from prealign.run.looking import neighbours as nearest
    from prealign.run.looking import open_trained

    found = nearest(open_trained(RunFolder(run), arm, seed), word, language, layer, number)
    for tag, near in found.items():
        console.print(language_name(tag))
        for one in near:
            say(f"  {one.cosine:.3f}  {one.word}{' *' if one.translation else ''}")
    return {tag: [asdict(one) for one in near] for tag, near in found.items()}
