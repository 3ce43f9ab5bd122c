"""The recipes that come with the package.

They are the files of `recipes/` in a checkout, which the build copies into the package. The comment at the head of each
file says what the recipe shows; its lines `# Time: …` and `# Data: …` say what it takes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from prealign.errors import RecipeError
from prealign.recipe.validate import did_you_mean


@dataclass(frozen=True)
class PackagedRecipe:
    """A recipe of the package. shows: one sentence. time, data: what it takes."""

    name: str
    shows: str
    time: str
    data: str


def packaged_recipes() -> list[PackagedRecipe]:
    """Return all recipes of the package, sorted by name."""
    return [_described(path) for path in sorted(_folder().glob("*.yaml"), key=lambda path: path.stem)]


def packaged_path(name: str) -> Path:
    """Return the file of a packaged recipe. Raises RecipeError for an unknown name."""
    known = sorted(path.stem for path in _folder().glob("*.yaml"))
    if name not in known:
        raise RecipeError(
            f"there is no recipe {name!r} in the package{did_you_mean(name, known)}. `prealign recipes` lists them."
        )
    return _folder() / f"{name}.yaml"


def _folder() -> Path:
    package = Path(str(files("prealign")))
    built = package / "recipes"
    return built if built.is_dir() else package.parents[1] / "recipes"  # a checkout: recipes/ beside src/


def _described(path: Path) -> PackagedRecipe:
    lines = path.read_text(encoding="utf-8").splitlines()
    comment = [line.removeprefix("#").strip() for line in lines[: lines.index(f"name: {path.stem}")]]
    marked = dict(line.split(": ", 1) for line in comment if re.match(r"(Time|Data): ", line))
    (sentence, *_) = re.split(r"(?<=\.)\s", " ".join(comment), maxsplit=1)
    return PackagedRecipe(
        path.stem, sentence, marked.get("Time", "see the recipe"), marked.get("Data", "see the recipe")
    )
