"""The finding: one sentence on what the main arm does to perplexity, and the details that support or limit it.

1. The subject is the main arm (`Results.main_arm`), fixed before the numbers are seen, against the baseline.
2. A language counts as better or worse only if the 95 % interval of the difference, paired over seeds, excludes 0. One seed
   tests nothing. The p of other comparisons than the primary one are corrected (Holm).
3. Details follow: the ratios, the language-specific gain, the gap closed, the best method, transfer and knowledge, and the
   limits of the results; for one seed, the command that adds two.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from prealign.report.estimates import Estimate, estimates
from prealign.report.formats import (
    duration,
    interval,
    is_number,
    number,
    p_value,
    ratio,
    ratio_of,
    times,
    with_interval,
)
from prealign.report.results import REFERENCES, Results, language_label, select
from prealign.report.tables.established import not_established
from prealign.report.tables.table import exponential
from prealign.report.tables.tasks import knowledge_scores, most_taught, transfer_tasks

Verdict = Literal["better", "worse", "unclear", "untested"]

_LEVEL = 0.05
"""Level of Holm's p below which a comparison that is not primary counts."""
_SHOWN_TASKS = ("lm", "retrieval", "sentence_retrieval", "transfer", "knowledge")
_WORDS: dict[Verdict, str] = {
    "better": "better", "worse": "worse", "unclear": "no clear difference", "untested": "not tested",
}  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """The headline sentence, its details, and the verdict on the first target language."""

    headline: str
    details: tuple[str, ...]
    verdict: Verdict


def finding(results: Results) -> Finding:
    """Say in words what the main arm does to perplexity in every language."""
    arm, base = results.main_arm, results.baseline
    limits = tuple(_limits(results))
    tags = [tag for tag in results.languages if tag in set(select(results.scores, task="lm")["language"])]
    if not tags:
        return Finding("There are no language-modelling scores: no finding on perplexity.", limits, "untested")
    both = [tag for tag in tags if arm and results.perplexity(arm, tag) and results.perplexity(base, tag)]
    if arm is None or not both:
        return Finding(_nothing_to_compare(results, tags), limits, "untested")
    rows = {tag: _row(results, arm, tag) for tag in both}
    verdicts = {tag: _verdict(row, lower_is_better=True) for tag, row in rows.items()}
    clauses = [_clause(results, tag, verdicts, _change(results, arm, tag, rows[tag])) for tag in both]
    ratio = results.budget_ratio(arm)
    clauses[0] += f" against {results.label(base)}"
    clauses[0] += f" at {times(ratio)} its training FLOPs" if is_number(ratio) else ""
    details = (
        *(f"{language_label(tag)}: {_difference(row)}." for tag, row in rows.items() if row),
        *_specific(results, arm, both),
        *_gaps(results, arm, both),
        *_best(results, arm, both[0]),
        *_tasks(results, arm),
        *limits,
    )
    return Finding(f"{results.label(arm)} {'; '.join(clauses)}.", details, verdicts[both[0]])


def _row(results: Results, arm: str, language: str, **keys: Any) -> Mapping[str, Any]:
    """The comparison of an arm with the baseline in one language; {} if there is none."""
    rows = results.compared(**keys)
    return rows.loc[(language, arm)].to_dict() if (language, arm) in rows.index else {}


def _verdict(row: Mapping[str, Any], *, lower_is_better: bool) -> Verdict:
    if row.get("unit") != "seeds" or not (is_number(row.get("low")) and is_number(row.get("high"))):
        return "untested"
    if (
        is_number(row.get("p_holm")) and row["p_holm"] >= _LEVEL
    ):  # the interval alone is not corrected for many comparisons
        return "unclear"
    below: Verdict = "better" if lower_is_better else "worse"
    above: Verdict = "worse" if lower_is_better else "better"
    return below if row["high"] < 0 else above if row["low"] > 0 else "unclear"


def _nothing_to_compare(results: Results, tags: list[str]) -> str:
    cells = [
        f"{results.label(arm)} has {language_label(tag)} perplexity {number(found.value)}"
        for arm in results.arms
        for tag in tags
        if (found := results.perplexity(arm, tag))
    ]
    numbers = "; ".join(cells) or "no run finished"
    return f"There is no pair of a method and {results.label(results.baseline)} to compare: {numbers}."


def _change(results: Results, arm: str, language: str, row: Mapping[str, Any]) -> tuple[str, str, str]:
    """(change in percent without sign, `408.7 → 333.7`, what to say without a test); both arms have a perplexity."""
    before, after = (results.lm["perplexity", language, name].value for name in (results.baseline, arm))
    ratio = row["ratio"] if is_number(row.get("ratio")) else after / before
    way = "lower" if ratio < 1 else "higher"
    several = results.scores["seed"].nunique() > 1
    why = f"{way}, with no interval to test it" if several else f"{way} in one seed"
    return f"{100 * abs(ratio - 1):.1f} %", f"{number(before)} → {number(after)}", why


def _clause(results: Results, language: str, verdicts: Mapping[str, Verdict], change: tuple[str, str, str]) -> str:
    by, values, why = change
    name, verdict = language_label(language), verdicts[language]
    if language == results.source:
        too = "too, " if any(other == "better" for tag, other in verdicts.items() if tag != language) else ""
        return {
            "better": f"{name} perplexity falls {too}by {by} ({values})",
            "worse": f"{name} pays for it: perplexity rises by {by} ({values})",
            "unclear": f"{name} shows no clear change ({values})",
            "untested": f"{name} perplexity is {by} {why} ({values})",
        }[verdict]
    return {
        "better": f"lowers {name} perplexity by {by} ({values})",
        "worse": f"does not help: it raises {name} perplexity by {by} ({values})",
        "unclear": f"makes no clear difference to {name} perplexity ({values}; the 95 % interval includes 0)",
        "untested": f"has {name} perplexity {by} {why} ({values})",
    }[verdict]


def _difference(row: Mapping[str, Any]) -> str:
    if row["scale"] == "log":
        size = f"ratio {ratio_of(*map(exponential, (row['difference'], row['low'], row['high'])))}"
    else:
        size = f"difference {number(row['difference'])}{interval(row['low'], row['high'])}"
    if not is_number(row["p"]):
        return f"{size}, one seed, interval over {row['unit']}" if row["unit"] != "seeds" else size
    which, tested = "the primary comparison, p", row["p"]
    if row["primary"] is not True:
        which, tested = ("Holm p", row["p_holm"]) if is_number(row["p_holm"]) else ("p", tested)
    p = p_value(tested)
    return f"{size}, {which} {p if p.startswith('<') else f'= {p}'}, paired over {row['unit']}"


def _specific(results: Results, arm: str, tags: list[str]) -> list[str]:
    found = {tag: results.specific_gain(arm, tag) for tag in tags}
    return [
        f"{language_label(tag)}: language-specific gain {ratio(gain)}, the ratio beyond that of the source."
        for tag, gain in found.items()
        if gain
    ]


def _gaps(results: Results, arm: str, tags: list[str]) -> list[str]:
    found = {tag: results.gap_closed(arm, tag) for tag in tags}
    return [
        f"{language_label(tag)}: {with_interval(gap)} of the gap from joint training to merged ids is closed."
        for tag, gap in found.items()
        if gap
    ]


def _best(results: Results, arm: str, language: str) -> list[str]:
    methods = [name for name in results.arms if name not in REFERENCES]
    values = {name: found.value for name in methods if (found := results.perplexity(name, language))}
    best = min(values, key=lambda name: values[name])
    if best == arm and len(values) < 3:
        return []
    lead = f"Lowest {language_label(language)} perplexity of the {len(values)} methods"
    gap = results.gap_closed(best, language)
    closed = f"; it closes {with_interval(gap)} of the gap" if gap else ""
    return [f"{lead}: {results.label(best)}, {number(values[best])}{closed}."]


def _tasks(results: Results, arm: str) -> Iterator[str]:
    """Transfer and knowledge of the main arm in each target language, a line for each data set."""
    tested = [("transfer", task, f"Zero-shot transfer, {task}") for task, _ in transfer_tasks(results)]
    for names, rows in sorted(knowledge_scores(results), key=lambda kind: str(kind[0])):
        of = f" (names: {names})" if names else ""
        largest = most_taught(rows)[["condition", "taught"]].drop_duplicates().itertuples(index=False)
        tested += [("knowledge", condition, f"Knowledge at {taught}{of}") for condition, taught in largest]
    for task, condition, title in tested:
        keys = {"task": task, "metric": "accuracy", "condition": condition}
        found = estimates(select(results.scores, **keys), "arm", "language")
        for tag in results.targets:
            before, after = (found.get((name, tag)) for name in (results.baseline, arm))
            if isinstance(before, Estimate) and isinstance(after, Estimate):
                row = _row(results, arm, tag, **keys)
                verdict = _WORDS[_verdict(row, lower_is_better=False)]
                size = f": {_difference(row)}" if row else ""
                values = f"accuracy {number(before.value)} → {number(after.value)}"
                yield f"{title}, {language_label(tag)}: {values}, {verdict}{size}."


def _limits(results: Results) -> Iterator[str]:
    """What limits the conclusions: no alignment, one seed, unfinished runs, scores that the page does not show."""
    yield from not_established(results)
    if results.unfinished_runs:
        runs = ", ".join(f"{results.label(arm)} (seed {seed})" for arm, seed in results.unfinished_runs)
        yield f"Runs without a complete set of finite scores: {runs}. The numbers are over the other runs."
    other = Counter(task for task in results.scores["task"] if task not in _SHOWN_TASKS)
    if other:
        tasks = ", ".join(f"{task} ({count} scores)" for task, count in other.items())
        yield f"In results.json but not on this page: {tasks}."
    if results.scores["seed"].nunique() == 1:
        yield from _more_seeds(results)


def _more_seeds(results: Results) -> Iterator[str]:
    """Say that there is one seed, and the command that adds two with the minutes of their training."""
    said = "One seed: intervals are over test items, and another seed may give another result."
    command = results.content.get("command")
    words = shlex.split(command) if isinstance(command, str) else []
    if words[:2] != ["prealign", "run"]:
        yield said
        return
    seed = int(results.scores["seed"].iloc[0])
    kept = [word for word in words if not word.startswith("seeds=") and word != "--force"]
    seconds = 2 * sum(row["seconds"] for row in results.section("budget"))
    more = shlex.join([*kept, f"seeds=[{seed},{seed + 1},{seed + 2}]"])
    yield f"{said} `{more}` adds two, {duration(seconds)} of training here."
