"""Results of one recipe that were made in several places: other seeds on other machines, arms that were added later.

1. Their recipes must be one, but for arms, seeds, jobs and processes; and so must be the text that was read.
2. An arm and seed that several have must have the same scores in all: it is taken once.
3. Rows are joined in the order of seeds and arms, and comparisons made anew, as if one command had made them all.
4. `parts` keeps who made what: command, time, version and environment of each.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from prealign.evaluation.comparisons import OneSeed, compare
from prealign.evaluation.score import Unit
from prealign.evaluation.statistics import Difference
from prealign.recipe import Recipe
from prealign.report.results import Results, ResultsError, Row, select

_OF_RUNS = ("scores", "budget", "history", "dynamics", "switching", "mixture", "transfer", "new_rows")
"""Sections whose rows are of one arm and seed."""
_SHARED = ("corpus", "tokenizer", "knowledge", "tests")
"""Sections on what all arms and seeds share; `lexicon` counts the words that the first seed holds out."""
_FREE = {"arms", "seeds", "jobs", "processes"}
"""Settings in which parts may differ: no number depends on them."""
_ORIGIN = ("command", "created", "version", "environment")

Run = tuple[str, int]


def merge_results(parts: Sequence[tuple[Path, Results]], command: str) -> Results:
    """Return one results.json of the parts, given with their paths. Arms keep the order in which the parts have them.

    command: the one that merges, for the provenance. Raises ResultsError for parts of different recipes, of different
    text, or with different scores of one arm and seed, naming both files.
    """
    first_path, first = parts[0]
    recipe = _recipe(first_path, first)
    shared: dict[str, Any] = {}
    for path, part in parts:
        _check_recipe(first_path, recipe, path, _recipe(path, part))
        for section in _SHARED:
            if section in part and part[section] != shared.setdefault(section, part[section]):
                raise ResultsError(
                    f"{path}: its {section!r} is not that of the files before it: they read other text, so their numbers "
                    "do not compare. Run both on the same files."
                )
    owners = _owners(parts)
    runs = sorted(owners, key=lambda run: run[1])
    arms = list(dict.fromkeys(arm for arm, _ in owners))
    seeds = list(dict.fromkeys(seed for _, seed in runs))
    joined = {
        section: [row for arm, seed in runs for row in select(owners[arm, seed].get(section, []), arm=arm, seed=seed)]
        for section in _OF_RUNS
        if any(section in part for _, part in parts)
    }
    baseline = str(recipe["baseline"])
    comparisons = compare(arms, seeds, baseline, joined["scores"], _as_before(parts, baseline))
    lexicon = next(part for run, part in owners.items() if run[1] == seeds[0])["lexicon"]
    return {
        **{key: first[key] for key in ("schema", "name", "version")},
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": command,
        "recipe": first["recipe"] | {"arms": arms, "seeds": seeds},
        "environment": _common([origin["environment"] for origin in _origins(parts)]),
        "parts": _origins(parts),
        **joined,
        "comparisons": comparisons,
        "lexicon": lexicon,
        **shared,
    }


def _recipe(path: Path, results: Results) -> dict[str, Any]:
    """The recipe with the defaults that were added since it was written."""
    try:
        return Recipe.model_validate(results["recipe"]).model_dump()
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        raise ResultsError(
            f"{path}: recipe: {place}: {error.errors()[0]['msg']}. It is of another version of prealign; run it again."
        ) from None


def _check_recipe(first_path: Path, first: dict[str, Any], path: Path, recipe: dict[str, Any]) -> None:
    differing = sorted(key for key in first.keys() - _FREE if recipe[key] != first[key])
    if differing:
        raise ResultsError(
            f"{path}: its recipe is not that of {first_path}: `{'`, `'.join(differing)}` differ, so their numbers do not "
            "compare. Merge results of one recipe; arms and seeds may differ."
        )


def _owners(parts: Sequence[tuple[Path, Results]]) -> dict[Run, Results]:
    """The part that each arm and seed is taken from, in the order of the parts."""
    owners: dict[Run, tuple[Path, Results]] = {}
    for path, part in parts:
        for run in dict.fromkeys((row["arm"], row["seed"]) for row in part["scores"]):
            other_path, other = owners.setdefault(run, (path, part))
            arm, seed = run
            if select(other["scores"], arm=arm, seed=seed) != select(part["scores"], arm=arm, seed=seed):
                raise ResultsError(
                    f"{path}: its scores of {arm} with seed {seed} are not those of {other_path}. Which are right, the "
                    "files cannot tell: leave one out, or run that arm again."
                )
    return {run: part for run, (_, part) in owners.items()}


def _as_before(parts: Sequence[tuple[Path, Results]], baseline: str) -> OneSeed:
    """Comparisons of a single seed: results.json has no items, so what a part found on its own is kept."""
    known: dict[tuple[str, int], list[Row]] = {}
    for _, part in parts:
        seeds: dict[str, set[int]] = {}
        for score in part["scores"]:
            seeds.setdefault(score["arm"], set()).add(score["seed"])
        for row in select(part.get("comparisons", []), baseline=baseline):
            common = seeds.get(row["arm"], set()) & seeds.get(baseline, set())
            if row["unit"] != "seeds" and len(common) == 1:
                known.setdefault((row["arm"], common.pop()), []).append(row)

    def compared(arm: str, seed: int, number: dict[str, Any]) -> tuple[Difference, Unit] | None:
        found = select(known.get((arm, seed), []), **number)
        return (Difference(*(found[0][key] for key in Difference._fields)), found[0]["unit"]) if found else None

    return compared


def _origins(parts: Sequence[tuple[Path, Results]]) -> list[dict[str, Any]]:
    return [origin for _, part in parts for origin in part.get("parts", [{key: part[key] for key in _ORIGIN}])]


def _common(environments: list[dict[str, Any]]) -> dict[str, Any]:
    """What holds for all parts."""
    first, *others = environments
    return {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}
