"""Join several results of one recipe: seeds from other machines, arms that were added later.

1. Check that the parts agree in recipe (except arms, seeds and settings that change no number), version, devices,
   precision, text sizes, and size and coverage of the lexicon. Facts that a file lacks are not compared.
2. If several parts have the same arm and seed, check that their scores are equal, and take them once.
3. Join the rows in the order of seeds and arms, and compute the comparisons again. Seeds of the same arms give the result of
   one command. Arms outside the family of the first part are corrected apart, so the p of its arms stay.
4. Record the origin of each part in `parts`: command, time, version, environment, arms and seeds.
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
from prealign.evaluation.statistics import Interval
from prealign.recipe.sections import Recipe
from prealign.recipe.trainer import deciding
from prealign.run.provenance import common_facts
from prealign.run.results import design_of, disjoint

_RUN_SECTIONS = (
    "scores",
    "budget",
    "history",
    "dynamics",
    "alignment",
    "switching",
    "mixture",
    "transfer",
    "new_rows",
    "initialisations",
    "bitext",
)
"""Sections with rows of one arm and seed."""
_UNFINISHED = "unfinished"
"""Section with the reasons of runs that ended early. A run that another part has finished is not unfinished."""
_SHARED_SECTIONS = ("corpus", "tokenizer", "knowledge", "tests")
"""Sections that all arms and seeds share."""
_MAY_DIFFER = {"arms", "family", "seeds", "jobs", "processes", "checkpoint", "variants", "trainer"}
"""Recipe keys in which parts may differ: variants if their names differ, trainer in settings that change no number."""
_REQUIRED_KEYS = {"scores": (*NUMBER, "signature"), "comparisons": ("unit", *NUMBER)}

Row = dict[str, Any]
Content = dict[str, Any]
"""The content of a results.json."""
Part = tuple[Path, Content]
Run = tuple[str, int]


def merge_results(parts: Sequence[Part], command: str) -> Content:
    """Return the content of one results.json for all parts (path, content). Arms keep the order of the parts.

    command: the command line of the merge, for the provenance. Raises ResultsError, with the paths, if the parts differ
    in recipe, text or training, if scores of one arm and seed differ, or if there are no scores.
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
            f"{first_path}: neither this file nor the others have a finished arm and seed: there is nothing to merge."
        )
    finished = {(row["arm"], row["seed"]) for row in joined["scores"]}
    others = [(arm, seed) for seed in seeds for arm in arms if (arm, seed) not in finished]
    unfinished = [row for run in others for row in _rows(parts, _UNFINISHED, run)]
    baseline = str(recipes[0]["baseline"])
    families = disjoint(family for _, part in parts for family in part["families"])
    design = design_of(Recipe.model_validate(recipes[0] | {"arms": arms, "variants": variants}), families)
    numbers = [row | {"value": math.nan} if row["value"] is None else row for row in joined["scores"]]
    origins = [origin for _, part in parts for origin in part.get("parts", [_origin(part)])]
    about = {arm: card for _, part in reversed(parts) for arm, card in part.get("arms", {}).items()}
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
        "families": families,
        "comparisons": compare(design, seeds, numbers, _one_seed(parts, baseline)),
        "lexicon": _lexicon(parts, recipes, seeds[0]),
        **shared,
        **({_UNFINISHED: unfinished} if unfinished else {}),
    }


def _recipe(path: Path, content: Content) -> dict[str, Any]:
    """Return the recipe of a part, with defaults for settings that did not exist when it was written."""
    try:
        return Recipe.model_validate(content["recipe"]).model_dump()
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        raise ResultsError(
            f"{path}: recipe: {place}: {error.errors()[0]['msg']}. It is of another version of prealign; run it again."
        ) from None


def _checked(parts: Sequence[Part], recipes: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Check that all parts are comparable. Returns their shared sections and all variants."""
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
            counted = Counter(json.dumps(row, sort_keys=True) for row in rows)
            other_path, other = scores.setdefault((arm, seed), (path, counted))
            if counted != other:
                raise ResultsError(
                    f"{path}: its scores of {arm} with seed {seed} are not those of {other_path}. Which are right, the "
                    "files cannot tell: leave one out, or run that arm again."
                )
    return shared, variants


def _check_keys(path: Path, part: Content) -> None:
    if "families" not in part:
        raise ResultsError(f"{path}: `families` is missing. It is of another version of prealign; run it again.")
    for section, keys in _REQUIRED_KEYS.items():
        for i, row in enumerate(part.get(section, [])):
            if missing := [key for key in keys if key not in row]:
                raise ResultsError(
                    f"{path}: {section}[{i}]: `{missing[0]}` is missing. It is of another version of prealign; run it again."
                )


def _conditions(part: Content, recipe: dict[str, Any]) -> dict[str, Any]:
    """Return the facts that must be equal in all parts, by name. Facts that the file lacks are left out."""
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
    """Return the rows of an arm and seed, from the first part that has any."""
    by_part = ([row for row in part.get(section, []) if (row["arm"], row["seed"]) == run] for _, part in parts)
    return next((rows for rows in by_part if rows), [])


def _one_seed(parts: Sequence[Part], baseline: str) -> OneSeed:
    """Return a function that gives comparisons over test items of one seed.

    results.json holds no items, so they are taken from the comparisons of the parts.
    """
    known: dict[Run, list[Row]] = {}
    for _, part in parts:
        seeds: dict[str, set[int]] = {}
        for score in part["scores"]:
            seeds.setdefault(score["arm"], set()).add(score["seed"])
        for row in part.get("comparisons", []):
            common = seeds.get(row["arm"], set()) & seeds.get(baseline, set())
            if row["baseline"] == baseline and row["unit"] != "seeds" and len(common) == 1:
                known.setdefault((row["arm"], common.pop()), []).append(row)

    def compared(arm: str, seed: int, number: dict[str, Any]) -> tuple[Interval, Unit] | None:
        for row in known.get((arm, seed), []):
            if number.items() <= row.items():
                return Interval(*(row[key] for key in ("difference", "low", "high"))), row["unit"]
        return None

    return compared


def _lexicon(parts: Sequence[Part], recipes: Sequence[dict[str, Any]], seed: int) -> dict[str, Any]:
    """Return the lexicon of a part whose first seed is `seed`; else any lexicon, without the count of held-out words."""
    own = zip(parts, recipes, strict=True)
    lexicons = [(recipe["seeds"][0], part["lexicon"]) for (_, part), recipe in own if part.get("lexicon")]
    for first_seed, lexicon in lexicons:
        if first_seed == seed:
            return dict(lexicon)
    return {key: value for _, lexicon in lexicons[:1] for key, value in lexicon.items() if key != "held_out"}


def _origin(part: Content) -> dict[str, Any]:
    done = [(row["arm"], row["seed"]) for row in part["scores"]]
    return {
        "arms": list(dict.fromkeys(arm for arm, _ in done)),
        "seeds": sorted({seed for _, seed in done}),
        **{key: part.get(key) for key in ("command", "created", "version")},
        "environment": part.get("environment") or {},
    }
