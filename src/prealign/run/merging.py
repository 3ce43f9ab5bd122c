"""Join results of one recipe that were made in several places: other seeds on other machines, arms that were added later.

1. The parts must agree in recipe (except arms, seeds and settings that change no number), version, devices, precision, and
   text: its sizes, and the size and coverage of the lexicon. Facts that a file does not have are not compared.
2. An arm and seed that several parts have must have equal scores in all; it is taken once.
3. Rows are joined in the order of seeds and arms, and comparisons are made again, as if one command had made all.
4. `parts` records the origin of each part: command, time, version, environment, arms and seeds.
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

from prealign.errors import ResultsError
from prealign.evaluation.comparisons import NUMBER, OneSeed, compare
from prealign.evaluation.score import Unit
from prealign.evaluation.statistics import Difference
from prealign.recipe.sections import Recipe
from prealign.recipe.trainer import deciding

_RUN_SECTIONS = ("scores", "budget", "history", "dynamics", "switching", "mixture", "transfer", "new_rows")
"""Sections with rows of one arm and seed."""
_SHARED_SECTIONS = ("corpus", "tokenizer", "knowledge", "tests")
"""Sections that all arms and seeds share."""
_MAY_DIFFER = {"arms", "seeds", "jobs", "processes", "checkpoint", "variants", "trainer"}
"""Recipe keys in which parts may differ: variants if their names differ, trainer in settings that change no number."""
_REQUIRED_KEYS = {"scores": (*NUMBER, "signature"), "comparisons": ("unit", *NUMBER)}

Row = dict[str, Any]
Content = dict[str, Any]
"""The content of a results.json."""
Part = tuple[Path, Content]
Run = tuple[str, int]


def merge_results(parts: Sequence[Part], command: str) -> Content:
    """Return one results.json of the parts, given with their paths. Arms keep the order in which the parts have them.

    command: the one that merges, for the provenance. Raises ResultsError, naming the files, for parts of different recipes,
    of different text, trained in different ways, with different scores of one arm and seed, or without any score.
    """
    first_path, first = parts[0]
    recipes = [_recipe(path, part) for path, part in parts]
    shared, variants = _checked(parts, recipes)
    arms = list(dict.fromkeys(arm for recipe in recipes for arm in recipe["arms"]))
    seeds = sorted({seed for recipe in recipes for seed in recipe["seeds"]})
    joined = {
        section: [row for seed in seeds for arm in arms for row in _rows(parts, section, (arm, seed))]
        for section in _RUN_SECTIONS
        if any(section in part for _, part in parts)
    }
    if not joined["scores"]:
        raise ResultsError(
            f"{first_path}: no arm and seed of it is finished, nor of the others: there is nothing to merge."
        )
    baseline = str(recipes[0]["baseline"])
    numbers = [row | {"value": math.nan} if row["value"] is None else row for row in joined["scores"]]
    origins = [origin for _, part in parts for origin in part.get("parts", [_origin(part)])]
    about = {arm: found for _, part in reversed(parts) for arm, found in part.get("arms", {}).items()}
    return {
        "schema": first["schema"],
        "name": first["name"],
        "version": first.get("version"),
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": command,
        "recipe": first["recipe"] | {"arms": arms, "seeds": seeds, "variants": variants},
        "environment": common_facts([origin["environment"] for origin in origins]),
        "parts": origins,
        **({"arms": about} if about else {}),
        **joined,
        "comparisons": compare(arms, seeds, baseline, numbers, _one_seed(parts, baseline)),
        "lexicon": _lexicon(parts, seeds[0]),
        **shared,
    }


def _recipe(path: Path, content: Content) -> dict[str, Any]:
    """The recipe with the defaults that were added since it was written."""
    try:
        return Recipe.model_validate(content["recipe"]).model_dump()
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        raise ResultsError(
            f"{path}: recipe: {place}: {error.errors()[0]['msg']}. It is of another version of prealign; run it again."
        ) from None


def _checked(parts: Sequence[Part], recipes: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Check that all parts compare; return their shared sections and all variants."""
    shared: dict[str, Any] = {}
    variants: dict[str, Any] = {}
    scores: dict[Run, tuple[Path, Counter[str]]] = {}
    (first_path, first), first_recipe = parts[0], recipes[0]
    for (path, part), recipe in zip(parts, recipes, strict=True):
        _check_keys(path, part)
        ours, theirs = _conditions(first, first_recipe), _conditions(part, recipe)
        if differing := sorted(key for key in ours.keys() & theirs.keys() if ours[key] != theirs[key]):
            raise ResultsError(
                f"{path}: it was not made as {first_path} was: `{'`, `'.join(differing)}` differ, so their numbers do not "
                "compare. Merge results of one recipe; arms and seeds may differ."
            )
        for section in _SHARED_SECTIONS:
            if section in part and part[section] != shared.setdefault(section, part[section]):
                raise ResultsError(
                    f"{path}: its {section!r} is not that of the files before it: they read other text, so their numbers "
                    "do not compare. Run both on the same files."
                )
        for name, variant in recipe["variants"].items():
            if variants.setdefault(name, variant) != variant:
                raise ResultsError(
                    f"{path}: its variant {name!r} is not that of the files before it. Rename one of them."
                )
        for arm, seed in dict.fromkeys((row["arm"], row["seed"]) for row in part["scores"]):
            rows = _rows([(path, part)], "scores", (arm, seed))
            own = Counter(json.dumps(row, sort_keys=True) for row in rows)
            other_path, other = scores.setdefault((arm, seed), (path, own))
            if own != other:
                raise ResultsError(
                    f"{path}: its scores of {arm} with seed {seed} are not those of {other_path}. Which are right, the "
                    "files cannot tell: leave one out, or run that arm again."
                )
    return shared, variants


def _check_keys(path: Path, part: Content) -> None:
    for section, keys in _REQUIRED_KEYS.items():
        for i, row in enumerate(part.get(section, [])):
            if missing := [key for key in keys if key not in row]:
                raise ResultsError(
                    f"{path}: {section}[{i}]: `{missing[0]}` is missing. It is of another version of prealign; run it again."
                )


def _conditions(part: Content, recipe: dict[str, Any]) -> dict[str, Any]:
    """What must be equal in all parts, by name; facts that the file does not have are left out."""
    environment = part.get("environment") or {}
    lexicon = {key: value for key, value in (part.get("lexicon") or {}).items() if key in ("groups", "coverage")}
    return {
        **{f"recipe: {key}": value for key, value in recipe.items() if key not in _MAY_DIFFER},
        "recipe: trainer": deciding(recipe["trainer"]),
        **{key: part[key] for key in ("version",) if key in part},
        **{key: environment[key] for key in ("devices", "precision") if key in environment},
        **({"lexicon": lexicon} if lexicon else {}),
    }


def _rows(parts: Sequence[Part], section: str, run: Run) -> list[Row]:
    """The rows of an arm and seed, of the first part that has some."""
    found = ([row for row in part.get(section, []) if (row["arm"], row["seed"]) == run] for _, part in parts)
    return next((rows for rows in found if rows), [])


def _one_seed(parts: Sequence[Part], baseline: str) -> OneSeed:
    """Comparisons over test items of a single seed: results.json has no items, so the parts' comparisons are kept."""
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
        for row in known.get((arm, seed), []):
            if number.items() <= row.items():
                return Difference(*(row[key] for key in Difference._fields)), row["unit"]
        return None

    return compared


def _lexicon(parts: Sequence[Part], seed: int) -> dict[str, Any]:
    """The lexicon of a part that begins with the first seed, whose held-out words are counted; else without that count."""
    found = [(part["recipe"]["seeds"][0], part["lexicon"]) for _, part in parts if part.get("lexicon")]
    for first_seed, lexicon in found:
        if first_seed == seed:
            return dict(lexicon)
    return {key: value for _, lexicon in found[:1] for key, value in lexicon.items() if key != "held_out"}


def _origin(part: Content) -> dict[str, Any]:
    done = [(row["arm"], row["seed"]) for row in part["scores"]]
    return {
        "arms": list(dict.fromkeys(arm for arm, _ in done)),
        "seeds": sorted({seed for _, seed in done}),
        **{key: part.get(key) for key in ("command", "created", "version")},
        "environment": part.get("environment") or {},
    }


def common_facts(environments: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the facts that all environments, one or more, share."""
    first, *others = environments
    return {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}
