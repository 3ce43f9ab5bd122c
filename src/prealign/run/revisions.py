"""Commits of what a recipe names on the Hugging Face Hub: a run stays with the versions that it began with.

1. Collect the hub ids of a recipe: `hub:` texts, `tokenizer.path`, and the models of the recipe and its variants.
2. Resolve the revision of each (default: main) to a commit. Without a network, take the commit in the local cache.
3. Record it in `RUN/hub.json`. Later commands use the record. If a branch has moved since, tell it.
4. `pinned` puts the commits into the recipe, so they are part of fingerprints, results.json, and every loading.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, snapshot_download

from prealign.errors import RecipeError, RunFolderError
from prealign.files import read_json, write_json
from prealign.recipe.sections import ModelSection, Recipe, SourceText, TargetText, TokenizerSection
from prealign.run.folder import RunFolder, Tell
from prealign.text.hub import PREFIX, HubText

Commits = dict[str, str]
""" "KIND NAME@REVISION" -> commit; KIND is model or dataset."""

_MAIN = "main"
_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PATIENCE = 10.0  # seconds that the hub may take to answer
_MODEL_KEYS = ("model.pretrained", "model.config")


def pin(recipe: Recipe, run: RunFolder, tell: Tell) -> Recipe:
    """Return the recipe with commits in place of revisions. Records new ones in `RUN/hub.json`.

    tell: gets a note for each branch that has moved since. Raises RecipeError for an id or a revision that neither the
    hub nor the cache has.
    """
    commits: Commits = recorded_commits(run)
    new = dict(commits)
    for name in _named(recipe):
        found = _resolve(name, needed=name not in commits)
        if name not in commits:
            new[name] = str(found)
        elif found not in (None, commits[name]):
            tell(
                f"{name} has moved on the hub: it is {found} now. This run stays with {commits[name]}. For the new one, "
                f"name it as revision, or remove {run.hub}"
            )
    if new != commits:
        write_json(run.hub, new)
    return pinned(recipe, new)


def recorded_commits(run: RunFolder) -> Commits:
    """Return the commits that a run folder has recorded. RunFolderError if the record is damaged."""
    found: Commits = read_json(run.hub) if run.hub.exists() else {}
    if not isinstance(found, dict) or not all(
        isinstance(one, str) and _COMMIT.fullmatch(one) for one in found.values()
    ):
        raise RunFolderError(f"{run.hub}: damaged (not a commit by name). Remove it and run again.")
    return found


def pinned(recipe: Recipe, commits: Commits) -> Recipe:
    """Return the recipe with the commits that are known in place of revisions."""

    def text(source: str) -> str:
        name = _dataset(source)
        if name not in commits:
            return source
        path, _, query = source.partition("?")
        options = [part for part in query.split("&") if part and not part.startswith("revision=")]
        return f"{path}?{'&'.join([*options, f'revision={commits[name]}'])}"

    def section(part: Any) -> Any:
        name = _hub_model(_path(part), part.revision)
        return part.model_copy(update={"revision": commits[name]}) if name in commits else part

    def variant(part: Any) -> Any:
        path = next((str(part.set[key]) for key in _MODEL_KEYS if part.set.get(key)), None)
        if path is None:
            return part
        own = part.set.get("model.revision")
        # Without it, the variant would take the commit of the recipe's model for its own.
        return part.model_copy(
            update={"set": part.set | {"model.revision": commits.get(_hub_model(path, own) or "", own)}}
        )

    texts = [part.model_copy(update={"text": [text(one) for one in part.text]}) for part in _texts(recipe)]
    parts = {"source": texts[0], "targets": texts[1:], "tokenizer": section(recipe.tokenizer)}
    variants = {name: variant(part) for name, part in recipe.variants.items()}
    return (
        recipe.model_copy(update={**parts, "model": section(recipe.model), "variants": variants}) if commits else recipe
    )


def _named(recipe: Recipe) -> Iterator[str]:
    sources = [source for part in _texts(recipe) for source in part.text]
    models = [(_path(part), part.revision) for part in (recipe.tokenizer, recipe.model)]
    for part in recipe.variants.values():
        models += [(str(part.set[key]), part.set.get("model.revision")) for key in _MODEL_KEYS if part.set.get(key)]
    found = [*map(_dataset, sources), *(_hub_model(path, revision) for path, revision in models)]
    yield from dict.fromkeys(name for name in found if name)


def _texts(recipe: Recipe) -> list[SourceText | TargetText]:
    return [recipe.source, *recipe.targets]


def _path(part: TokenizerSection | ModelSection) -> str | None:
    return part.path if isinstance(part, TokenizerSection) else part.pretrained or part.config


def _dataset(source: str) -> str | None:
    if not source.startswith(PREFIX):
        return None
    hub = HubText.of(source)
    return _name("dataset", hub.path, hub.revision)


def _hub_model(path: str | None, revision: str | None) -> str | None:
    return _name("model", path, revision)


def _name(kind: str, path: str | None, revision: str | None) -> str | None:
    """Return the key of a hub id; None for a local folder, and for what is a commit already."""
    if not path or not _ID.fullmatch(path) or Path(path).exists() or _COMMIT.fullmatch(revision or ""):
        return None
    return f"{kind} {path}@{revision or _MAIN}"


def _resolve(name: str, *, needed: bool) -> str | None:
    """Return the commit of a key of `Commits`: from the hub, or else, if it is needed, from the local cache."""
    kind, _, rest = name.partition(" ")
    path, _, revision = rest.rpartition("@")
    try:
        return str(HfApi().repo_info(path, revision=revision, repo_type=kind, timeout=_PATIENCE).sha)
    except Exception as error:  # network, hub and HTTP client raise errors without a common class
        if not needed:
            return None
        said = (str(error).splitlines() or [""])[0]
    try:
        return Path(snapshot_download(path, revision=revision, repo_type=kind, local_files_only=True)).name
    except Exception:
        raise RecipeError(
            f"{kind} {path!r}, revision {revision!r}: there is no such folder, the local cache of the hub has none, and the "
            f"hub does not give it ({said}). Is the name right, and a network there?"
        ) from None
