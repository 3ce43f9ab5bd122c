"""Reading results.json and asking it questions; every number of the report comes through here.

1. `read_results` reads the file and checks its shape; all that is wrong is told in one message.
2. `select` and `group` pick rows by their keys.
3. `estimate` turns the rows of one cell (one row a seed) into a mean with its 95 % interval.
4. `by_seed`, `gap_closed`, `comparison`, `budget_ratio` are the derived numbers; `unfinished_runs` says what lacks.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prealign.errors import PrealignError
from prealign.evaluation.statistics import seed_interval
from prealign.languages import language_name
from prealign.recipe.arms import ARMS
from prealign.recipe.sweeps import sweeps

Row = dict[str, Any]
Results = dict[str, Any]

SCHEMA = 1
STAGES = {"init": "at start", "align": "after stage 1", "pretrain": "after stage 2"}
SPLITS = {"seen": "seen", "held_out": "held-out"}
REFERENCES = ("merged_ids", "target_only")
"""For comparison, no methods: never the subject of the finding."""

_LABELS = {
    "joint": "Joint training",
    "joint_vanilla_cs": "Joint + vanilla switching",
    "joint_input_cs": "Joint + input-only switching",
    "prealign": "PreAlign",
    "prealign_no_cs": "PreAlign, no switching",
    "prealign_no_lm": "PreAlign, no LM loss",
    "prealign_embedding": "PreAlign, embedding only",
    "prealign_output": "PreAlign, output only",
    "prealign_vanilla_cs": "PreAlign, vanilla switching",
    "prealign_sustained": "PreAlign, sustained",
    "prealign_anchored": "PreAlign, anchored",
    "anchored": "Anchored vocabulary",
    "prealign_sustained_anchored": "PreAlign, sustained + anchored",
    "merged_ids": "Merged ids (upper bound)",
    "target_only": "Target text alone",
}

_KEYS: dict[str, tuple[str, ...]] = {
    "scores": ("arm", "seed", "task", "language", "metric", "value"),
    "budget": ("arm", "seed", "stage", "tokens", "flops", "seconds"),
    "comparisons": ("arm", "baseline", "task", "language", "metric", "difference", "low", "high", "p"),
    "history": ("arm", "seed", "stage", "points"),
    "switching": ("arm", "seed", "ratio", "mode", "coverage", "expected", "realised"),
    "transfer": ("arm", "seed", "task"),
}
_IDENTITY = ("arm", "seed", "task", "language", "metric", "condition", "layer", "stage", "split")


class ResultsError(PrealignError):
    """A results.json that is missing, unreadable, or not what this version writes."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its 95 % t-interval, or one seed's value with its interval over items."""

    value: float
    low: float | None
    high: float | None
    seeds: int


def read_results(path: Path) -> Results:
    """Read and check a results.json.

    Raises ResultsError, naming the file, when it is missing, not JSON, of another schema, or lacks keys.
    """
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ResultsError(f"{path}: cannot be read ({error.strerror}); `prealign run` writes it") from error
    except UnicodeDecodeError as error:
        raise ResultsError(f"{path}: not UTF-8 text (byte {error.start}); is it a results.json?") from error
    except json.JSONDecodeError as error:
        raise ResultsError(f"{path}:{error.lineno}: not JSON ({error.msg}); run `prealign run` again") from error
    problems = _problems(results)
    if problems:
        more = f"\n  and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise ResultsError(f"{path}: not a results.json of schema {SCHEMA}:\n  " + "\n  ".join(problems[:5]) + more)
    return results


def _problems(results: object) -> list[str]:
    if not isinstance(results, dict):
        return [f"a JSON object is expected, this is a {type(results).__name__}"]
    if results.get("schema") != SCHEMA:
        return [f"`schema` is {results.get('schema')!r}; write it again with this version of prealign"]
    found = [f"`{key}` is missing" for key in ("name", "recipe", "scores") if key not in results]
    for section, keys in _KEYS.items():
        rows = results.get(section, [])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            found.append(f"`{section}` is not a list of objects")
            continue
        found += [f"{section}[{i}]: `{key}` is missing" for i, row in enumerate(rows) for key in keys if key not in row]
    return found or _duplicates(results["scores"])


def _duplicates(scores: Sequence[Row]) -> list[str]:
    counts = Counter(tuple(row.get(key) for key in _IDENTITY) for row in scores)
    return [f"{count} scores for {identity}" for identity, count in counts.items() if count > 1]


def select(rows: Iterable[Row], **keys: Any) -> list[Row]:
    """Rows whose values equal all `keys`; a row without such a key has None there."""
    return [row for row in rows if all(row.get(key) == value for key, value in keys.items())]


def group(rows: Iterable[Row], *keys: str) -> dict[tuple[Any, ...], list[Row]]:
    """Rows by the values of `keys`, in order of first appearance."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.get(key) for key in keys), []).append(row)
    return groups


def finite(value: object) -> bool:
    """Whether a value is a number that can be averaged; a diverged run leaves NaN or null."""
    return isinstance(value, (int, float)) and math.isfinite(value)


def estimate(rows: Iterable[Row]) -> Estimate | None:
    """Mean and 95 % interval of rows that differ in seed alone; None without a finite value.

    Several seeds: Student's t-interval of the mean. One seed: its row's own interval, over items.
    """
    usable = [row for row in rows if finite(row["value"])]
    if len(usable) == 1:
        row = usable[0]
        return Estimate(row["value"], row.get("low"), row.get("high"), 1)
    return over_seeds([row["value"] for row in usable])


def by_layer(rows: Iterable[Row]) -> dict[int, Estimate]:
    """Estimates by layer, in order; a layer without one is left out."""
    found = {layer: estimate(own) for (layer,), own in sorted(group(rows, "layer").items())}
    return {layer: own for layer, own in found.items() if own}


def over_seeds(values: Sequence[float]) -> Estimate | None:
    """Mean and 95 % t-interval of one value a seed; a single value has no interval."""
    return Estimate(*seed_interval(values), len(values)) if values else None


def mean(values: Sequence[float]) -> float | None:
    """The arithmetic mean; None of nothing."""
    return math.fsum(values) / len(values) if values else None


def arm_order(results: Results) -> list[str]:
    """The arms of tables and figures: all but variants that are points of a sweep, which have a curve of their own.

    Where nothing but a sweep was run, its variants stay.
    """
    named = [arm for arm in all_arms(results) if arm not in swept(results)]
    return named if set(named) - {baseline(results), *REFERENCES} else all_arms(results)


def swept(results: Results) -> set[str]:
    """Variants that are points of a sweep."""
    return {name for sweep in sweeps(results["recipe"]) for name in sweep.variants}


def all_arms(results: Results) -> list[str]:
    """Arms in the recipe's order, then others with scores or a budget; arms with neither are left out."""
    present = {row["arm"]: None for section in ("scores", "budget") for row in results.get(section, [])}
    planned = [arm for arm in results["recipe"].get("arms", []) if arm in present]
    return list(dict.fromkeys([*planned, *present]))


def arm_label(arm: str) -> str:
    """A short human name; a variant of one's own keeps the name its recipe gives it."""
    return _LABELS.get(arm, arm)


def arm_description(arm: str, results: Results) -> str:
    """One line on what the arm is; a variant is described by what it changes."""
    if arm in ARMS:
        return ARMS[arm].description
    variant = results["recipe"].get("variants", {}).get(arm)
    if variant is None:
        return arm
    changes = ", ".join(f"{key} = {value}" for key, value in variant["set"].items())
    return f"{arm_label(variant['extends'])} with {changes}"


def language_label(tag: str) -> str:
    """`en` -> English, `en-clone` -> English-Clone, `en>de` -> English > German; an unknown language's tag stays."""
    if ">" in tag:
        return " > ".join(map(language_label, tag.split(">")))
    base, clone, _ = tag.partition("-clone")
    return language_name(base) + ("-Clone" if clone else "")


def baseline(results: Results) -> str:
    """The arm that others are compared to."""
    return str(results["recipe"].get("baseline", "joint"))


def languages(results: Results) -> list[str]:
    """Languages with scores: targets first (they are the question), then the source."""
    tags = list(dict.fromkeys(row["language"] for row in results["scores"]))
    source = source_language(results)
    return [tag for tag in tags if tag != source] + [tag for tag in tags if tag == source]


def target_languages(results: Results) -> list[str]:
    """Languages with scores that are neither the source nor a mix of two."""
    return [tag for tag in languages(results) if tag != source_language(results) and ">" not in tag]


def source_language(results: Results) -> str:
    """Tag of the source language."""
    return str(results["recipe"].get("source", {}).get("language", "en"))


def main_arm(results: Results) -> str | None:
    """The arm the finding is about: prealign, else the recipe's first that is neither baseline nor a bound.

    It is not the best arm: picking that after the fact would flatter it.
    """
    candidates = [arm for arm in arm_order(results) if arm not in (baseline(results), *REFERENCES)]
    return "prealign" if "prealign" in candidates else next(iter(candidates), None)


def perplexity(results: Results, arm: str, language: str, metric: str = "perplexity") -> Estimate | None:
    """Test perplexity of an arm, or another metric of its language modelling."""
    rows = select(results["scores"], task="lm", metric=metric, condition=None, arm=arm, language=language)
    return estimate(rows)


def perplexity_languages(results: Results, arm: str) -> list[str]:
    """Languages in which an arm has a finite perplexity."""
    return [language for language in languages(results) if perplexity(results, arm, language)]


def comparison(results: Results, arm: str, language: str, **keys: Any) -> Row | None:
    """The row that compares a number of an arm (unless `keys` say otherwise, its perplexity) with the baseline's."""
    wanted = {"task": "lm", "metric": "perplexity", "condition": None, **keys}
    rows = select(results.get("comparisons", []), arm=arm, baseline=baseline(results), language=language, **wanted)
    return next((row for row in rows if finite(row["difference"])), None)


def by_seed(rows: Sequence[Row], arms: Sequence[str], combine: Callable[..., float | None]) -> Estimate | None:
    """Mean over seeds of combine(value of each arm), seeds paired; None where some seed gives None or none has all."""
    value = {(row["arm"], row["seed"]): row["value"] for row in rows if finite(row["value"])}
    seeds = [s for s in dict.fromkeys(row["seed"] for row in rows) if all((arm, s) in value for arm in arms)]
    combined = [combine(*(value[arm, seed] for arm in arms)) for seed in seeds]
    known = [number for number in combined if number is not None]
    return over_seeds(known) if len(known) == len(combined) else None


def gap_closed(results: Results, arm: str, language: str) -> Estimate | None:
    """(log ppl joint − log ppl arm) / (log ppl joint − log ppl merged_ids), paired by seed (docs/method.md).

    None in the source language, where the bounds are missing, or where merged ids are not better than joint training.
    """
    if language == source_language(results):
        return None

    def closed(joint: float, own: float, merged: float) -> float | None:
        return math.log(joint / own) / math.log(joint / merged) if joint > merged else None

    rows = select(results["scores"], task="lm", metric="perplexity", condition=None, language=language)
    return by_seed(rows, ("joint", arm, "merged_ids"), closed)


def tokens_before(results: Results, run: Row) -> float:
    """Tokens that a run of `history` or `dynamics` had read before its stage."""
    if run["stage"] == "align":
        return 0.0
    before = select(results.get("budget", []), arm=run["arm"], seed=run["seed"], stage="align")
    return float(sum(row["tokens"] for row in before))


def mean_p_at_1(results: Results, arm: str, language: str, stage: str, split: str) -> float | None:
    """P@1 of word retrieval, mean over layers (and over seeds in each)."""
    rows = select(results["scores"], task="retrieval", metric="p_at_1", arm=arm, language=language, condition=None)
    layers = group(select(rows, stage=stage, split=split), "layer").values()
    return mean([found.value for own in layers if (found := estimate(own))])


def finished(results: Results, arm: str) -> list[Row]:
    """Budget rows of an arm's seeds that have every stage which any of its seeds has."""
    by_seed = group(select(results.get("budget", []), arm=arm), "seed").values()
    stages = max((len(rows) for rows in by_seed), default=0)
    return [row for rows in by_seed if len(rows) == stages for row in rows]


def total_flops(results: Results, arm: str) -> float | None:
    """Training FLOPs of all stages of an arm, mean over the seeds that finished every stage."""
    rows = finished(results, arm)
    return math.fsum(row["flops"] for row in rows) / len(group(rows, "seed")) if rows else None


def budget_ratio(results: Results, arm: str) -> float | None:
    """FLOPs of an arm over FLOPs of the baseline."""
    own, other = total_flops(results, arm), total_flops(results, baseline(results))
    return own / other if own is not None and other else None


def unfinished_runs(results: Results) -> list[tuple[str, int]]:
    """Planned (arm, seed) pairs that have no score, or one that is not a finite number."""
    values: dict[tuple[str, int], list[Any]] = {}
    for row in results["scores"]:
        values.setdefault((row["arm"], row["seed"]), []).append(row["value"])
    recipe = results["recipe"]
    planned = [(arm, seed) for arm in recipe.get("arms", []) for seed in recipe.get("seeds", [])]
    runs = dict.fromkeys([*planned, *values])
    return [run for run in runs if not all(map(finite, values.get(run, [None])))]
