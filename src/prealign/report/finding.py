"""The finding: what the numbers say, in one sentence, whichever way they fall.

1. The subject is the main arm (`results.main_arm`), fixed before the numbers are seen, against the baseline.
2. A language counts as better or worse only if the 95 % interval of the paired difference leaves out 0.
3. Details follow: the differences, the gap closed, the best method, and all that limits what can be said.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from prealign.report import results as ask
from prealign.report.formats import interval, number, p_value, times, with_interval
from prealign.report.results import Results, Row
from prealign.report.tables.tasks import most_taught, split_condition

Verdict = Literal["better", "worse", "unclear", "untested"]

_SHOWN_TASKS = ("lm", "retrieval", "sentence_retrieval", "transfer", "knowledge")


@dataclass(frozen=True)
class Finding:
    """The headline sentence, its support and limits, and the verdict on the first target language."""

    headline: str
    details: tuple[str, ...]
    verdict: Verdict


def finding(results: Results) -> Finding:
    """Say in words what the main arm does to perplexity in every language."""
    tags = [tag for tag in ask.languages(results) if ask.select(results["scores"], task="lm", language=tag)]
    arm, base = ask.main_arm(results), ask.baseline(results)
    limits = _limits(results)
    if not tags:
        return Finding("There are no language-modelling scores: no finding on perplexity.", tuple(limits), "untested")
    both = [tag for tag in tags if arm and all(ask.perplexity(results, name, tag) for name in (arm, base))]
    if arm is None or not both:
        return Finding(_nothing_to_compare(results, tags), tuple(limits), "untested")
    clauses = [
        _source_clause(results, arm, tag) if tag == ask.source_language(results) else _target_clause(results, arm, tag)
        for tag in both
    ]
    ratio = ask.budget_ratio(results, arm)
    cost = f" at {times(ratio)} its training FLOPs" if ratio is not None else ""
    clauses[0] += f" against {ask.arm_label(base)}{cost}"
    headline = f"{ask.arm_label(arm)} {'; '.join(clauses)}."
    details = [
        *_differences(results, arm, both),
        *_gaps(results, arm, both),
        *_best(results, arm, both[0]),
        *_applied(results, arm),
        *limits,
    ]
    return Finding(headline, tuple(details), verdict(results, arm, both[0]))


def verdict(results: Results, arm: str, language: str) -> Verdict:
    """Better or worse if the interval of the difference in perplexity to the baseline leaves out 0."""
    return _verdict(ask.comparison(results, arm, language), lower_is_better=True)


def _verdict(row: Row | None, *, lower_is_better: bool) -> Verdict:
    if row is None or row["low"] is None or row["high"] is None:
        return "untested"
    below: Verdict = "better" if lower_is_better else "worse"
    above: Verdict = "worse" if lower_is_better else "better"
    return below if row["high"] < 0 else above if row["low"] > 0 else "unclear"


def _nothing_to_compare(results: Results, tags: list[str]) -> str:
    cells = [
        f"{ask.arm_label(arm)} has {ask.language_label(tag)} perplexity {number(found.value)}"
        for arm in ask.arm_order(results)
        for tag in tags
        if (found := ask.perplexity(results, arm, tag))
    ]
    numbers = "; ".join(cells) or "no run finished"
    return f"There is no pair of a method and {ask.arm_label(ask.baseline(results))} to compare: {numbers}."


def _from_to(results: Results, arm: str, language: str) -> tuple[str, str]:
    """(change in percent without sign, `408.7 → 333.7`)."""
    before, after = (ask.perplexity(results, name, language) for name in (ask.baseline(results), arm))
    assert before and after, "asked only for languages where both have a perplexity"
    row = ask.comparison(results, arm, language) or {}
    ratio = row.get("ratio") or after.value / before.value
    return f"{100 * abs(ratio - 1):.1f} %", f"{number(before.value)} → {number(after.value)}"


def _target_clause(results: Results, arm: str, language: str) -> str:
    change, values = _from_to(results, arm, language)
    what = f"{ask.language_label(language)} perplexity"
    return {
        "better": f"lowers {what} by {change} ({values})",
        "worse": f"does not help: it raises {what} by {change} ({values})",
        "unclear": f"makes no clear difference to {what} ({values}; the 95 % interval includes 0)",
        "untested": f"changes {what} by {change} ({values}), with no interval to test it",
    }[verdict(results, arm, language)]


def _source_clause(results: Results, arm: str, language: str) -> str:
    change, values = _from_to(results, arm, language)
    name = ask.language_label(language)
    return {
        "better": f"{name} perplexity falls too, by {change} ({values})"
        if any(verdict(results, arm, tag) == "better" for tag in ask.languages(results) if tag != language)
        else f"{name} perplexity falls by {change} ({values})",
        "worse": f"{name} pays for it: perplexity rises by {change} ({values})",
        "unclear": f"{name} shows no clear change ({values})",
        "untested": f"{name} changes by {change} ({values}), with no interval to test it",
    }[verdict(results, arm, language)]


def _differences(results: Results, arm: str, tags: list[str]) -> list[str]:
    rows = [(tag, row) for tag in tags if (row := ask.comparison(results, arm, tag))]
    return [f"{ask.language_label(tag)}: {_difference(row)}." for tag, row in rows]


def _difference(row: Row) -> str:
    size = f"difference {number(row['difference'])}{interval(row['low'], row['high'])}"
    return (
        size if row["p"] is None else f"{size}, p {_equals(p_value(row['p']))}, paired over {row.get('unit', 'items')}"
    )


def _equals(p: str) -> str:
    return p if p.startswith("<") else f"= {p}"


def _gaps(results: Results, arm: str, tags: list[str]) -> list[str]:
    found = {tag: ask.gap_closed(results, arm, tag) for tag in tags}
    return [
        f"{ask.language_label(tag)}: {with_interval(gap)} of the gap from joint to merged ids is closed."
        for tag, gap in found.items()
        if gap
    ]


def _best(results: Results, arm: str, language: str) -> list[str]:
    methods = [name for name in ask.arm_order(results) if name not in ask.REFERENCES]
    values = {name: found.value for name in methods if (found := ask.perplexity(results, name, language))}
    best = min(values, key=lambda name: values[name])
    if best == arm and len(values) < 3:
        return []
    lead = f"Lowest {ask.language_label(language)} perplexity of the {len(values)} methods"
    gap = ask.gap_closed(results, best, language)
    closed = f"; it closes {with_interval(gap)} of the gap" if gap else ""
    return [f"{lead}: {ask.arm_label(best)}, {number(values[best])}{closed}."]


def _applied(results: Results, arm: str) -> list[str]:
    """Transfer and knowledge of the main arm in each target language, a line for each kind."""
    scores, asked = results["scores"], []
    for (condition,), _ in ask.group(ask.select(scores, task="transfer"), "condition").items():
        asked += [("transfer", condition, f"Zero-shot transfer, {condition}")]
    by_names = {split_condition(row.get("condition"))[1] for row in ask.select(scores, task="knowledge")}
    for names in sorted(by_names, key=str):
        rows = [r for r in ask.select(scores, task="knowledge") if split_condition(r.get("condition"))[1] == names]
        if (condition := most_taught(rows)) is not None:
            of = f" (names: {names})" if names else ""
            asked += [("knowledge", condition, f"Knowledge at {split_condition(condition)[0]}{of}")]
    lines = []
    for task, condition, what in asked:
        keys = {"task": task, "metric": "accuracy", "condition": condition}
        for tag in ask.target_languages(results):
            before, after = (
                ask.estimate(ask.select(scores, arm=name, language=tag, **keys))
                for name in (ask.baseline(results), arm)
            )
            if before and after:
                row = ask.comparison(results, arm, tag, **keys)
                word = _WORDS[_verdict(row, lower_is_better=False)]
                size = f": {_difference(row)}" if row else ""
                values = f"accuracy {number(before.value)} → {number(after.value)}"
                lines.append(f"{what}, {ask.language_label(tag)}: {values}, {word}{size}.")
    return lines


_WORDS: dict[Verdict, str] = {
    "better": "better", "worse": "worse", "unclear": "no clear difference", "untested": "with no interval to test it",
}  # fmt: skip


def _limits(results: Results) -> list[str]:
    """What the reader must know before trusting the numbers."""
    unfinished = ask.unfinished_runs(results)
    other = Counter(row["task"] for row in results["scores"] if row["task"] not in _SHOWN_TASKS)
    limits = []
    if len({row["seed"] for row in results["scores"]}) == 1:
        limits.append("One seed: the intervals are over test items, and another seed may give another result.")
    if unfinished:
        runs = ", ".join(f"{ask.arm_label(arm)} (seed {seed})" for arm, seed in unfinished)
        limits.append(f"Without a complete set of finite scores: {runs}. Numbers are over what there is.")
    if other:
        tasks = ", ".join(f"{task} ({count} scores)" for task, count in other.items())
        limits.append(f"In results.json but not on this page: {tasks}.")
    return limits
