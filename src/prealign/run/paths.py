"""The files, folders and packages that a recipe names: whether they are here, all at once and before any work.

1. Text: each entry of `text` is resolved as by a run, without reading it.
2. Single files: dictionaries, parallel text, test sets, templates.
3. Models and tokenizers: a folder with its config, or a name that the Hugging Face Hub can have. The hub is not asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from prealign.errors import CorpusError
from prealign.recipe.sections import Recipe
from prealign.recipe.validate import Key, Problem
from prealign.text.sources import source_files

_HUB_NAME = re.compile(r"(?!\.)[\w.-]+(/[\w.-]+)?")


def path_problems(recipe: Recipe) -> Iterator[Problem]:
    """Yield a problem for everything that the recipe names and that is not here."""
    texts: list[tuple[Key, list[str]]] = [(("source", "text"), recipe.source.text)]
    texts += [(("targets", i, "text"), target.text) for i, target in enumerate(recipe.targets)]
    for key, sources in texts:
        for i, source in enumerate(sources):
            try:
                source_files([source])
            except CorpusError as error:
                yield (*key, i), str(error)
    for key, path in _single_files(recipe):
        if path is not None and not _is_here(path):
            yield key, f"there is no file {path!r}: paths are relative to the folder of the command"
    for key, name in _models(recipe):
        if not _is_here(name) and not _HUB_NAME.fullmatch(name):
            yield key, f"there is no folder {name!r} here, and the hub has no such names"
        elif key[0] == "model" and Path(name).is_dir() and not (Path(name) / "config.json").is_file():
            yield key, f"the folder {name!r} has no config.json: name one that `save_pretrained` wrote"


def hub_notes(recipe: Recipe) -> list[str]:
    """Return a note for each model and tokenizer that is not here, so that the hub will be asked for it."""
    return [
        f"{'.'.join(map(str, key))}: there is no folder {name!r} here, so a run asks the Hugging Face Hub for it"
        for key, name in _models(recipe)
        if not _is_here(name)
    ]


def _single_files(recipe: Recipe) -> Iterator[tuple[Key, str | None]]:
    for i, file in enumerate(recipe.lexicon.files):
        yield ("lexicon", "files", i, "path"), file.path
        yield ("lexicon", "files", i, "reverse"), file.reverse
    for i, pairs in enumerate(recipe.bitext.files if recipe.bitext else ()):
        for name in ("path", "source_file", "target_file"):
            yield ("bitext", "files", i, name), getattr(pairs, name)
    for i, test in enumerate(recipe.evaluate.dictionaries):
        yield ("evaluate", "dictionaries", i, "path"), test.path
    for i, sentences in enumerate(recipe.evaluate.sentences):
        for language, path in sentences.files.items():
            yield ("evaluate", "sentences", i, "files", language), path
    for i, task in enumerate(recipe.transfer):
        yield ("transfer", i, "train"), task.train
        for language, path in task.tests.items():
            yield ("transfer", i, "tests", language), path
    if recipe.knowledge:
        yield ("knowledge", "templates"), recipe.knowledge.templates


def _models(recipe: Recipe) -> Iterator[tuple[Key, str]]:
    model = recipe.model
    for key, name in (
        (("model", "config"), model.config),
        (("model", "pretrained"), model.pretrained),
        (("tokenizer", "path"), recipe.tokenizer.path),
    ):
        if name is not None:
            yield key, name


def _is_here(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # a name that no file can have
        return False
