"""Zero-shot transfer and knowledge: accuracy of every arm next to the baseline.

The `condition` of a score names its data set. For transfer it is the task; for knowledge it says how often a fact was in the
training text, and which names the fact has: `k=64|names=lexicon`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
from pandas import Categorical, DataFrame, MultiIndex, isna

from prealign.report.estimates import Estimate, by_seed, estimates
from prealign.report.formats import span
from prealign.report.results import Results, language_label, select
from prealign.report.tables.table import (
    Table,
    chance,
    differences,
    interval_note,
    of_language,
    seed_column,
    test_note,
    text_table,
)  # fmt: skip


def gap_share(results: Results, arm: str, language: str, condition: str | None) -> Estimate | None:
    """Return 1 − transfer gap of the arm / that of the baseline, paired by seed; None where the baseline has no gap."""
    keys = {"task": "transfer", "metric": "transfer_gap", "language": language, "condition": condition}
    rows = select(results.scores, **keys)
    return by_seed(rows, (results.baseline, arm), lambda base, own: 1 - own / base if base > 0 else None)


def transfer(results: Results) -> list[Table]:
    """Return accuracy by language, gap and difference to the baseline of every arm, a table for each transfer task."""
    return [_transfer_table(results, task, rows) for task, rows in transfer_tasks(results)]


def transfer_tasks(results: Results) -> list[tuple[str | None, DataFrame]]:
    """Return the scores of each transfer task that has accuracies, in order of first appearance."""
    rows = select(results.scores, arm=results.arms, task="transfer")
    groups = rows.groupby("condition", sort=False, dropna=False)
    return [(None if isna(task) else task, own) for task, own in groups if "accuracy" in set(own["metric"])]


def _transfer_table(results: Results, task: str | None, rows: DataFrame) -> Table:
    accuracies = select(rows, metric="accuracy")
    source, base = results.source, results.label(results.baseline)
    tags = sorted(accuracies["language"].unique(), key=lambda tag: (">" in tag, tag != source))
    targets = [tag for tag in tags if tag != source and ">" not in tag]
    wanted = [*(("accuracy", tag) for tag in tags), *(("transfer_gap", tag) for tag in targets)]
    found = estimates(rows, "arm", "metric", "language").unstack(["metric", "language"])
    found = found.reindex(columns=MultiIndex.from_tuples(wanted))
    columns = {language_label(tag): [*found["accuracy", tag]] for tag in tags}
    compared = results.compared(task="transfer", metric="accuracy", condition=task)
    for tag in targets:
        of = f"{language_label(tag)}: " if len(targets) > 1 else ""
        closed = [gap_share(results, arm, tag, task) for arm in found.index]
        columns[f"{of}Gap"] = [*found["transfer_gap", tag]]
        columns |= {f"{of}Gap closed": closed} if any(closed) else {}
        columns |= differences(compared, of_language(tag, found.index), base, of=of)
    documents = accuracies["signature"].astype(str).str.contains("over:documents", regex=False).all()
    note = [
        f"Accuracy, chance {chance(accuracies)}; fine-tuned on {language_label(source)} alone. Gap: accuracy in "
        f"{language_label(source)} minus accuracy in the target; gap closed: 1 − gap / gap of {base}, paired by seed.",
        *interval_note(found, "documents" if documents else "items"),
        *test_note(results, "transfer"),
        *_examples_note(results, task),
    ]
    title = f"Zero-shot transfer, {task}" if task else "Zero-shot transfer"
    return text_table(results, title, found.index, columns | seed_column(found), note)


def _examples_note(results: Results, task: str | None) -> list[str]:
    """Sentences on examples that were left out or cut, over arms and seeds; none if there are no such examples."""
    rows = [row for row in results.section("transfer") if row.get("task") == task]
    tested = [row["tested"] for row in rows if "tested" in row]
    cut: dict[str, list[int]] = {}
    for row in rows:
        for part, count in row.get("truncated", {}).items():
            cut.setdefault("training" if part == "train" else f"test in {language_label(part)}", []).append(count)
    parts = ", ".join(f"{span(counts)} of the {part}" for part, counts in cut.items() if any(counts))
    left_out = f"Training examples left out because a test set has them: {span(tested)}." if any(tested) else ""
    return [*([left_out] if left_out else []), *([f"Truncated examples: {parts}."] if parts else [])]


# --- knowledge --------------------------------------------------------------------------------------------


def split_condition(condition: Any) -> tuple[str, str | None]:
    """Return (how the fact was taught, which names it has): `k=64|names=lexicon` is ("k=64", "lexicon")."""
    parts = ("" if isna(condition) else str(condition)).split("|")
    names = next((part.removeprefix("names=") for part in parts if part.startswith("names=")), None)
    return "|".join(part for part in parts if not part.startswith("names=")), names


def repetitions(taught: str) -> int:
    """Return k, how often a fact is in the training text; 0 for other conditions (control, two_hop)."""
    found = re.fullmatch(r"k=(\d+)", taught)
    return int(found[1]) if found else 0


def most_taught(conditions: Iterable[Any]) -> str | None:
    """Return the condition with the largest k, None if none has a k."""
    counts = {condition: repetitions(split_condition(condition)[0]) for condition in conditions}
    best = max(counts, key=lambda condition: counts[condition], default=None)
    return best if counts.get(best) else None


def by_names(results: Results) -> list[tuple[str | None, DataFrame]]:
    """Return knowledge accuracies by the kind of names in the facts, in order of first appearance."""
    rows = select(results.scores, arm=results.arms, task="knowledge", metric="accuracy")
    names = [split_condition(condition)[1] for condition in rows["condition"]]
    return [(kind, rows[np.array([name == kind for name in names])]) for kind in dict.fromkeys(names)]


def knowledge(results: Results) -> list[Table]:
    """Return accuracy by arm and question language over how often a fact was taught, a table for each kind of names."""
    return [_knowledge_table(results, names, rows) for names, rows in by_names(results)]


def _order(taught: str) -> int:
    """k = 1, 4, …, then the control, two hops, and others."""
    others = ["control", "two_hop", taught]
    return repetitions(taught) or 1_000_000 + others.index(taught)


def _knowledge_table(results: Results, names: str | None, rows: DataFrame) -> Table:
    conditions = sorted(rows["condition"].unique(), key=lambda condition: _order(split_condition(condition)[0]))
    taught = {condition: split_condition(condition)[0] for condition in conditions}
    language = Categorical(rows["language"], list(dict.fromkeys(rows["language"])), ordered=True)
    found = estimates(rows.assign(language=language), "arm", "language", "condition").unstack("condition")[conditions]
    columns = {taught[c].replace("_", " "): [*found[c]] for c in conditions}
    note = [
        f"Accuracy, chance {chance(rows)}. k: how often a fact is in the training text, in the source language alone."
    ]
    if (largest := most_taught(conditions)) is not None:
        compared = results.compared(task="knowledge", metric="accuracy", condition=largest)
        added = differences(compared, found.index.swaplevel(), results.label(results.baseline))
        columns |= added
        note += [f"Differences are at {taught[largest]}."] * bool(added)
    note += [*interval_note(found, "items"), *test_note(results, "knowledge")]
    title = f"Knowledge, names: {names}" if names else "Knowledge"
    return text_table(results, title, found.index, columns | seed_column(found), note, language="Asked in")
