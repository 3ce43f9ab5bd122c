"""Results of one recipe that were made in several places: other seeds on other machines, arms that were added later.

1. Their recipes must be one, but for arms, seeds and what no number depends on; so must be version, number of devices and
   precision, and the text that was read, as far as the files tell: its sizes, and the lexicon's size and coverage.
2. An arm and seed that several have must have the same scores in all: it is taken once.
3. Rows are joined in the order of seeds and arms, and comparisons made anew, as if one command had made them all.
4. `parts` keeps who made what: command, time, version, environment, arms and seeds of each.
"""

from __future__ import annotations

import datetime
import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from prealign.evaluation.comparisons import NUMBER, OneSeed, compare
from prealign.evaluation.score import Unit
from prealign.evaluation.statistics import Difference
from prealign.recipe.sections import Recipe
from prealign.recipe.trainer import deciding
from prealign.report.formats import is_number
from prealign.report.results_file import Content, ResultsError, Row

_OF_RUNS = ("scores", "budget", "history", "dynamics", "switching", "mixture", "transfer", "new_rows")
"""Sections whose rows are of one arm and seed."""
_SHARED = ("corpus", "tokenizer", "knowledge", "tests")
"""Sections on what all arms and seeds share."""
_FREE = {"arms", "seeds", "jobs", "processes", "checkpoint", "variants", "trainer"}
"""Settings of the recipe in which parts may differ: variants if not those of one name, trainer in what decides nothing."""
_NEEDED = {"scores": (*NUMBER, "signature"), "comparisons": ("unit", *NUMBER)}
_ENVIRONMENT = ("devices", "precision")
"""What of the environment must be equal: batches are of one device."""

Part = tuple[Path, Content]
Run = tuple[str, int]


def merge_results(parts: Sequence[Part], command: str) -> Content:
    """Return one results.json of the parts, given with their paths. Arms keep the order in which the parts have them.

    command: the one that merges, for the provenance. Raises ResultsError, naming the files, for parts of different recipes,
    of different text, trained in different ways, with different scores of one arm and seed, or without any score.
    """
    first_path, first = parts[0]
    recipes = [_recipe(path, part) for path, part in parts]
    shared: dict[str, Any] = {}
    for (path, part), recipe in zip(parts, recipes, strict=True):
        _check_rows(path, part)
        _check_alike(first_path, _ways(first, recipes[0]), path, _ways(part, recipe))
        for section in _SHARED:
            if section in part and part[section] != shared.setdefault(section, part[section]):
                raise ResultsError(
                    f"{path}: its {section!r} is not that of the files before it: they read other text, so their numbers "
                    "do not compare. Run both on the same files."
                )
    arms = list(dict.fromkeys(arm for recipe in recipes for arm in recipe["arms"]))
    seeds = sorted({seed for recipe in recipes for seed in recipe["seeds"]})
    _check_same_scores(parts)
    joined = {
        section: [row for seed in seeds for arm in arms for row in _rows(parts, section, (arm, seed))]
        for section in _OF_RUNS
        if any(section in part for _, part in parts)
    }
    if not joined["scores"]:
        raise ResultsError(
            f"{first_path}: no arm and seed of it is finished, nor of the others: there is nothing to merge."
        )
    baseline = str(recipes[0]["baseline"])
    numbers = [row if is_number(row["value"]) else row | {"value": math.nan} for row in joined["scores"]]
    origins = _origins(parts)
    return {
        "schema": first["schema"],
        "name": first["name"],
        "version": first.get("version"),
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": command,
        "recipe": first["recipe"] | {"arms": arms, "seeds": seeds, "variants": _variants(parts, recipes)},
        "environment": common_facts([origin["environment"] for origin in origins]),
        "parts": origins,
        **joined,
        "comparisons": compare(arms, seeds, baseline, numbers, _as_before(parts, baseline)),
        "lexicon": _lexicon(parts, seeds[0]),
        **shared,
    }


def _recipe(path: Path, results: Content) -> dict[str, Any]:
    """The recipe with the defaults that were added since it was written."""
    try:
        return Recipe.model_validate(results["recipe"]).model_dump()
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        raise ResultsError(
            f"{path}: recipe: {place}: {error.errors()[0]['msg']}. It is of another version of prealign; run it again."
        ) from None


def _check_rows(path: Path, part: Content) -> None:
    for section, keys in _NEEDED.items():
        for i, row in enumerate(part.get(section, [])):
            missing = [key for key in keys if key not in row]
            if missing:
                raise ResultsError(
                    f"{path}: {section}[{i}]: `{missing[0]}` is missing. It is of another version of prealign; run it again."
                )


def _ways(part: Content, recipe: dict[str, Any]) -> dict[str, Any]:
    """What must be equal in all parts, by how it is called; what a file does not tell is left out."""
    environment = part.get("environment") or {}
    lexicon = {key: own for key, own in (part.get("lexicon") or {}).items() if key in ("groups", "coverage")}
    return {
        **{f"recipe: {key}": own for key, own in recipe.items() if key not in _FREE},
        "recipe: trainer": deciding(recipe["trainer"]),
        **({"version": part["version"]} if "version" in part else {}),
        **{key: environment[key] for key in _ENVIRONMENT if key in environment},
        **({"lexicon": lexicon} if lexicon else {}),
    }


def _check_alike(first_path: Path, first: dict[str, Any], path: Path, own: dict[str, Any]) -> None:
    differing = sorted(key for key in first.keys() & own.keys() if first[key] != own[key])
    if differing:
        raise ResultsError(
            f"{path}: it was not made as {first_path} was: `{'`, `'.join(differing)}` differ, so their numbers do not "
            "compare. Merge results of one recipe; arms and seeds may differ."
        )


def _check_same_scores(parts: Sequence[Part]) -> None:
    owners: dict[Run, tuple[Path, Counter[str]]] = {}
    for path, part in parts:
        for run in dict.fromkeys((row["arm"], row["seed"]) for row in part["scores"]):
            own = Counter(json.dumps(row, sort_keys=True) for row in _rows([(path, part)], "scores", run))
            other_path, other = owners.setdefault(run, (path, own))
            if own != other:
                raise ResultsError(
                    f"{path}: its scores of {run[0]} with seed {run[1]} are not those of {other_path}. Which are right, the "
                    "files cannot tell: leave one out, or run that arm again."
                )


def _rows(parts: Sequence[Part], section: str, run: Run) -> list[Row]:
    """The rows of an arm and seed, of the first part that has some."""
    found = ([row for row in part.get(section, []) if (row["arm"], row["seed"]) == run] for _, part in parts)
    return next((rows for rows in found if rows), [])


def _variants(parts: Sequence[Part], recipes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    joined: dict[str, Any] = {}
    for (path, _), recipe in zip(parts, recipes, strict=True):
        for name, variant in recipe["variants"].items():
            if joined.setdefault(name, variant) != variant:
                raise ResultsError(
                    f"{path}: its variant {name!r} is not that of the files before it. Rename one of them."
                )
    return joined


def _as_before(parts: Sequence[Part], baseline: str) -> OneSeed:
    """Comparisons of a single seed: results.json has no items, so what a part found on its own is kept."""
    known: dict[Run, list[Row]] = {}
    for _, part in parts:
        seeds: dict[str, set[int]] = {}
        for score in part["scores"]:
            seeds.setdefault(score["arm"], set()).add(score["seed"])
        for row in part.get("comparisons", []):
            common = seeds.get(row["arm"], set()) & seeds.get(baseline, set())
            if row["baseline"] == baseline and row["unit"] != "seeds" and len(common) == 1:
                known.setdefault((row["arm"], common.pop()), []).append(row)

    def compared(arm: str, seed: int, number: dict[str, Any]) -> tuple[Difference, Unit] | None:
        found = [row for row in known.get((arm, seed), []) if number.items() <= row.items()]
        return (Difference(*(found[0][key] for key in Difference._fields)), found[0]["unit"]) if found else None

    return compared


def _lexicon(parts: Sequence[Part], seed: int) -> dict[str, Any]:
    """That of a part that begins with the first seed, as the words held out are counted for that; else without them."""
    own = [part["lexicon"] for _, part in parts if part.get("lexicon") and part["recipe"]["seeds"][0] == seed]
    rest = [part["lexicon"] for _, part in parts if part.get("lexicon")]
    return own[0] if own else {key: value for told in rest[:1] for key, value in told.items() if key != "held_out"}


def _origins(parts: Sequence[Part]) -> list[dict[str, Any]]:
    return [origin for _, part in parts for origin in part.get("parts", [_origin(part)])]


def _origin(part: Content) -> dict[str, Any]:
    done = [(row["arm"], row["seed"]) for row in part["scores"]]
    return {
        "arms": list(dict.fromkeys(arm for arm, _ in done)),
        "seeds": sorted({seed for _, seed in done}),
        **{key: part.get(key) for key in ("command", "created", "version")},
        "environment": part.get("environment") or {},
    }


def common_facts(environments: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what holds in all environments, one or more."""
    first, *others = environments
    return {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}
