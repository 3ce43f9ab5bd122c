"""The content of a results.json as tables (pandas), and the numbers that the report derives from them.

1. `Results` turns `scores`, `comparisons`, `budget` and `history` into DataFrames once. Arms, languages, stages and
   splits are ordered categories, so that every grouped table comes in the order of the page.
2. `select` picks rows; `estimates.estimates` averages them over seeds.
3. Derived numbers: perplexity, share of the gap that is closed, mean P@1, FLOPs relative to the baseline.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
from pandas import CategoricalDtype, DataFrame, Series, concat, json_normalize, to_numeric

from prealign.languages import language_name
from prealign.recipe.arms import ARMS
from prealign.recipe.sweeps import Sweep, sweeps
from prealign.report.estimates import Estimate, by_seed, estimates
from prealign.report.results_file import Content

STAGES = {"init": "at start", "align": "after stage 1", "pretrain": "after stage 2"}
SPLITS = {"seen": "seen", "held_out": "held-out"}
REFERENCES = ("merged_ids", "target_only")
"""Bounds for comparison, not methods: never the subject of the finding."""
AMOUNTS = ["steps", "tokens", "lm_tokens", "flops", "seconds"]
"""What a stage consumes: the number columns of `budget`."""

_NUMBERS = {
    "seed",
    "layer",
    "value",
    "low",
    "high",
    "n",
    "chance",
    "difference",
    "p",
    "p_holm",
    "ratio",
    "frozen",
    *AMOUNTS,
}
_KEYS = ["task", "metric", "condition", "arm", "language"]
_COLUMNS = {
    "scores": [*_KEYS, "seed", "stage", "split", "layer", "value", "low", "high", "n", "chance", "signature"],
    "comparisons": [
        *_KEYS,
        "baseline",
        "difference",
        "low",
        "high",
        "p",
        "p_holm",
        "unit",
        "ratio",
        "scale",
        "primary",
    ],
    "budget": ["arm", "seed", "stage", "frozen", *AMOUNTS],
}


def select(rows: DataFrame, **keys: Any) -> DataFrame:
    """Return the rows whose columns equal `keys`: None matches a missing value, a list any of its values."""
    keep = np.ones(len(rows), dtype=bool)
    for column, wanted in keys.items():
        values = rows[column]
        keep &= values.isna() if wanted is None else values.isin(wanted if isinstance(wanted, list) else [wanted])
    return rows[keep]


def language_label(tag: str) -> str:
    """`en` -> English, `en-clone` -> English-Clone, `en>de` -> English > German; an unknown language keeps its tag."""
    if ">" in tag:
        return " > ".join(map(language_label, tag.split(">")))
    base, clone, _ = tag.partition("-clone")
    return language_name(base) + ("-Clone" if clone else "")


class Results:
    """The checked content of a results.json, with its tables, names and derived numbers."""

    def __init__(self, content: Content) -> None:
        self.content = content
        self.recipe: dict[str, Any] = content["recipe"]
        self.baseline = str(self.recipe.get("baseline", "joint"))
        """The arm that others are compared to."""
        self.source = str(self.recipe.get("source", {}).get("language", "en"))
        """Tag of the source language."""
        self.scores = self._table("scores")
        self.comparisons = self._table("comparisons")

    def section(self, name: str) -> list[dict[str, Any]]:
        """The entries of a section, as in the file; [] without it."""
        return self.content.get(name, [])

    # --- names and their order ----------------------------------------------------------------------------

    @cached_property
    def all_arms(self) -> list[str]:
        """Arms with scores or a budget: in the recipe's order, then others."""
        present = dict.fromkeys(row["arm"] for name in ("scores", "budget") for row in self.section(name))
        planned = [arm for arm in self.recipe.get("arms", []) if arm in present]
        return list(dict.fromkeys([*planned, *present]))

    @cached_property
    def sweeps(self) -> list[Sweep]:
        """The recipe's sweeps."""
        return sweeps(self.recipe)

    @cached_property
    def arms(self) -> list[str]:
        """The arms of tables and figures: without the points of sweeps, which have curves instead.

        If only a sweep was run, its points stay.
        """
        swept = {name for sweep in self.sweeps for name in sweep.variants}
        named = [arm for arm in self.all_arms if arm not in swept]
        return named if set(named) - {self.baseline, *REFERENCES} else self.all_arms

    @cached_property
    def main_arm(self) -> str | None:
        """The arm of the finding: that of the primary comparison, else the first that is neither baseline nor bound.

        Not the best arm: choosing it after seeing the numbers would be biased.
        """
        candidates = [arm for arm in self.arms if arm not in (self.baseline, *REFERENCES)]
        primary = self.recipe.get("primary", {}).get("arm", "prealign")
        return primary if primary in candidates else next(iter(candidates), None)

    @cached_property
    def languages(self) -> list[str]:
        """Languages with scores: targets first, then the source."""
        tags = dict.fromkeys(row["language"] for row in self.section("scores"))
        return sorted(tags, key=lambda tag: tag == self.source)

    @cached_property
    def targets(self) -> list[str]:
        """Languages with scores that are neither the source nor a mix of two."""
        return [tag for tag in self.languages if tag != self.source and ">" not in tag]

    def label(self, arm: str) -> str:
        """A short name of the arm; a variant without a label keeps its name in the recipe."""
        return str(self._about(arm).get("label") or (ARMS[arm].label if arm in ARMS else arm))

    def description(self, arm: str) -> str:
        """One line on the arm; a variant is described by the settings that it changes."""
        if found := self._about(arm).get("description"):
            return str(found)
        if arm in ARMS:
            return ARMS[arm].description
        variant = self.recipe.get("variants", {}).get(arm)
        if variant is None:
            return arm
        changes = ", ".join(f"{key} = {value}" for key, value in variant["set"].items())
        return f"{self.label(variant['extends'])} with {changes}"

    def citation(self, arm: str) -> str:
        """The paper that describes the arm; empty if the file names none."""
        return str(self._about(arm).get("citation") or "")

    def _about(self, arm: str) -> dict[str, Any]:
        return self.content.get("arms", {}).get(arm, {})

    # --- tables -------------------------------------------------------------------------------------------

    def _table(self, section: str) -> DataFrame:
        return self.typed(DataFrame(self.section(section)).reindex(columns=_COLUMNS[section]))

    def typed(self, rows: DataFrame) -> DataFrame:
        """Rows with numbers as numbers, and arms, languages, stages and splits as ordered categories."""
        orders = {
            "arm": [*self.arms, *(arm for arm in self.all_arms if arm not in self.arms)],
            "language": self.languages,
            "stage": [*STAGES, *self._further_stages, "total"],
            "split": [*SPLITS, "test"],
        }
        numbers = {name: to_numeric(rows[name], errors="coerce") for name in rows.columns if name in _NUMBERS}
        categories = {
            name: rows[name].astype(CategoricalDtype(order, ordered=True))
            for name, order in orders.items()
            if name in rows.columns
        }
        return rows.assign(**numbers, **categories)

    @cached_property
    def _further_stages(self) -> list[str]:
        """The stages that methods have besides those of `STAGES`, in the order in which they are met."""
        met = dict.fromkeys(row.get("stage") for section in ("budget", "scores") for row in self.section(section))
        return [stage for stage in met if stage and stage not in STAGES]

    @cached_property
    def budget(self) -> DataFrame:
        """What each arm and seed consumed in each stage, and in total if it has as many stages as the arm ever has."""
        rows = self._table("budget")
        stages = rows.groupby(["arm", "seed"], observed=True)["tokens"].transform("size")
        complete = rows[stages == stages.groupby(rows["arm"], observed=True).transform("max")]
        totals = complete.groupby(["arm", "seed"], observed=True)[AMOUNTS].sum(min_count=1).reset_index()
        return self.typed(concat([rows.astype({"stage": str}), totals.assign(stage="total")]))

    @cached_property
    def history(self) -> DataFrame:
        """Points of training of the finished runs: arm, seed, stage, step, tokens since the start of training, and what
        was measured (`loss`, `lm_loss`, `align_loss`, `validation.LANGUAGE`, …).
        """
        points = json_normalize(self.section("history"), "points", ["arm", "seed", "stage"])
        points = points.reindex(columns=list(dict.fromkeys([*points, "arm", "seed", "stage", "step", "tokens"])))
        runs = list(zip(points["arm"], points["seed"], strict=True))
        finished = np.array([run not in self.unfinished_runs for run in runs], dtype=bool)
        start = self._tokens_before(zip(*(points[key] for key in ("arm", "seed", "stage")), strict=True))
        measured = [name for name in points if name.endswith("loss") or name.startswith("validation.")]
        numbers = {name: to_numeric(points[name], errors="coerce") for name in measured}
        return self.typed(points.assign(tokens=points["tokens"] + start, **numbers)[finished])

    def _tokens_before(self, runs: Iterable[tuple[Any, ...]]) -> np.ndarray:
        """Return the tokens that were read before the stage of each (arm, seed, stage)."""
        before: dict[tuple[Any, ...], float] = {}
        read: dict[tuple[Any, ...], float] = {}
        for row in self.section("budget"):
            run: tuple[Any, ...] = (row["arm"], row["seed"])
            before[run + (row["stage"],)] = read.get(run, 0.0)  # noqa: RUF005  Python 3.10 has no star in an index
            read[run] = read.get(run, 0.0) + row["tokens"]
        return np.array([before.get(run, read.get(run[:2], 0.0)) for run in runs], dtype=float)

    # --- derived numbers ----------------------------------------------------------------------------------

    @cached_property
    def unfinished_runs(self) -> list[tuple[str, int]]:
        """Planned (arm, seed) pairs that have no score, or one that is not a finite number."""
        finite = np.isfinite(self.scores["value"])
        finished = finite.groupby([self.scores["arm"], self.scores["seed"]], sort=False, observed=True).all().to_dict()
        planned = product(self.recipe.get("arms", []), self.recipe.get("seeds", []))
        return [run for run in dict.fromkeys([*planned, *finished]) if not finished.get(run, False)]

    @cached_property
    def lm(self) -> Series:
        """Estimates of language-modelling scores, indexed by metric, language and arm."""
        return estimates(select(self.scores, task="lm", condition=None, stage="pretrain"), "metric", "language", "arm")

    @cached_property
    def lm_before(self) -> Series:
        """Estimates of language-modelling scores of a pretrained model before training, indexed by metric and language."""
        rows = select(self.scores, task="lm", condition=None, stage="init", arm=self.baseline)
        return estimates(rows, "metric", "language")

    @cached_property
    def _final_perplexities(self) -> DataFrame:
        return select(self.scores, task="lm", metric="perplexity", condition=None, stage="pretrain")

    def lm_cells(self, *metrics: str) -> DataFrame:
        """Estimates of language-modelling metrics (columns) by language and arm (rows), without the points of sweeps."""
        index = self.lm.index
        shown = index.isin(metrics, level="metric") & index.isin(self.arms, level="arm")
        return self.lm[shown].unstack("metric").reindex(columns=list(metrics))

    def perplexity(self, arm: str, language: str, metric: str = "perplexity") -> Estimate | None:
        """Test perplexity of an arm, or another metric of its language modelling."""
        return self.lm.get((metric, language, arm))

    def perplexity_languages(self, arms: Sequence[str]) -> list[str]:
        """Languages in which one of the arms has a finite perplexity."""
        return [language for language in self.languages if any(self.perplexity(arm, language) for arm in arms)]

    def compared(self, **keys: Any) -> DataFrame:
        """Comparisons of a number (perplexity, unless `keys` say otherwise) with the baseline, by language and arm."""
        wanted = {"task": "lm", "metric": "perplexity", "condition": None, **keys}
        rows = select(self.comparisons, baseline=self.baseline, **wanted)
        rows = rows[np.isfinite(rows["difference"])].drop_duplicates(["language", "arm"])
        return rows.set_index(["language", "arm"])

    def gap_closed(self, arm: str, language: str) -> Estimate | None:
        """(log ppl joint − log ppl arm) / (log ppl joint − log ppl merged_ids), paired by seed (docs/method.md).

        None in the source language, where the bounds are missing, or where merged ids are not better than joint training.
        """
        if language == self.source:
            return None

        def closed(joint: float, own: float, merged: float) -> float | None:
            return math.log(joint / own) / math.log(joint / merged) if joint > merged else None

        rows = select(self._final_perplexities, language=language)
        return by_seed(rows, ("joint", arm, "merged_ids"), closed)

    def specific_gain(self, arm: str, language: str) -> Estimate | None:
        """Language-specific gain: how much the arm changes a target's perplexity beyond the source's, as a ratio paired by
        seed: (arm / baseline in the target) / (arm / baseline in the source). Below 1 the target gained more.

        None in the source language, of the baseline, and without both perplexities of both arms in some seed.
        """
        if language == self.source or arm == self.baseline:
            return None
        rows = select(self._final_perplexities, arm=[arm, self.baseline])
        rows = select(rows, language=[language, self.source])
        names = rows["arm"].astype(str) + "/" + rows["language"].astype(str)
        order = [f"{name}/{tag}" for tag in (language, self.source) for name in (arm, self.baseline)]
        return by_seed(
            rows.assign(arm=names), order, lambda own, base, src, src_base: own * src_base / (base * src), log=True
        )

    def consumed(self, arms: Sequence[str]) -> dict[str, list[float]]:
        """Updates and tokens of text of each arm over all its stages, means over seeds; NaN if unknown."""
        totals = select(self.budget, stage="total").groupby("arm", observed=True)[["steps", "lm_tokens"]].mean()
        found = totals.reindex(list(arms))
        return {"Updates": [*found["steps"]], "LM tokens": [*found["lm_tokens"]]}

    def mean_p_at_1(self, arm: str, language: str, stage: str, split: str) -> float | None:
        """P@1 of word retrieval, mean over layers (and over seeds in each layer)."""
        keys = {"arm": arm, "language": language, "stage": stage, "split": split}
        rows = select(self.scores, task="retrieval", metric="p_at_1", condition=None, **keys)
        mean = rows[np.isfinite(rows["value"])].groupby("layer")["value"].mean().mean()
        return None if math.isnan(mean) else float(mean)

    def budget_ratio(self, arm: str) -> float:
        """Training FLOPs of an arm over those of the baseline; NaN if unknown.

        Both are means over the seeds that finished every stage.
        """
        totals = select(self.budget, stage="total").groupby("arm", observed=True)["flops"].mean()
        return float(totals.get(arm, math.nan) / (totals.get(self.baseline) or math.nan))
