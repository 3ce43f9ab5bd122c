"""Tables of what the model can do: zero-shot transfer and knowledge, each next to the baseline.

The `condition` of a score names its data: the task of a transfer score; of a knowledge score how often a fact was
taught and to whom, `k=64|names=lexicon`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from prealign.report import results as ask
from prealign.report.formats import span, with_interval
from prealign.report.results import Estimate, Results, Row
from prealign.report.tables.table import Table, chance, differences, interval_note, make_table, seed_counts, test_note


def gap_share(results: Results, arm: str, language: str, condition: str | None) -> Estimate | None:
    """Return 1 - transfer gap of the arm / that of the baseline, paired by seed; None where the baseline has no gap."""
    rows = ask.select(results["scores"], task="transfer", metric="transfer_gap", language=language, condition=condition)
    return ask.by_seed(rows, (ask.baseline(results), arm), lambda base, own: 1 - own / base if base > 0 else None)


def transfer(results: Results) -> list[Table]:
    """Return accuracy by language, gap and difference to the baseline of every arm, a table for each transfer task."""
    scores = ask.select(results["scores"], task="transfer")
    return [_transfer_table(results, condition, rows) for (condition,), rows in ask.group(scores, "condition").items()]


def _transfer_table(results: Results, condition: str | None, rows: list[Row]) -> Table:
    arms = [arm for arm in ask.arm_order(results) if ask.select(rows, arm=arm)]
    accuracies = ask.select(rows, metric="accuracy")
    found = {cell: ask.estimate(own) for cell, own in ask.group(rows, "metric", "language", "arm").items()}
    source, base = ask.source_language(results), ask.arm_label(ask.baseline(results))
    tags = list(dict.fromkeys(row["language"] for row in accuracies))
    tags.sort(key=lambda tag: (">" in tag, tag != source))
    targets = [tag for tag in tags if tag != source and ">" not in tag]
    cells = [[found.get(("accuracy", tag, arm)) for arm in arms] for tag in tags]
    columns = {"Arm": [ask.arm_label(arm) for arm in arms]}
    for tag, own in zip(tags, cells, strict=True):
        columns[ask.language_label(tag)] = [with_interval(estimate) for estimate in own]
    for tag in targets:
        of = f"{ask.language_label(tag)}: " if len(targets) > 1 else ""
        gaps = [found.get(("transfer_gap", tag, arm)) for arm in arms]
        closed = [gap_share(results, arm, tag, condition) for arm in arms]
        cells += [gaps]
        columns[f"{of}Gap"] = [with_interval(gap) for gap in gaps]
        if any(closed):
            columns[f"{of}Gap closed"] = [with_interval(share) for share in closed]
        columns |= differences(
            [accuracy_difference(results, "transfer", arm, tag, condition) for arm in arms], base, of=of
        )
    columns |= seed_counts(list(zip(*cells, strict=True)))
    unit = "documents" if all("over:documents" in str(row.get("signature")) for row in accuracies) else "items"
    note = [
        f"Accuracy, chance {chance(accuracies)}; fine-tuned on {ask.language_label(source)} alone. Gap: accuracy in "
        f"{ask.language_label(source)} less that in the target; gap closed: 1 − gap / gap of {base}, paired by seed.",
        *interval_note([estimate for own in cells for estimate in own], unit),
        *test_note(results, "transfer"),
        *_examples_note(results, condition),
    ]
    return make_table(f"Zero-shot transfer, {condition}" if condition else "Zero-shot transfer", columns, note)


def _examples_note(results: Results, task: str | None) -> list[str]:
    """Return sentences on examples that were left out or cut, over arms and seeds; none where there was no such."""
    rows = ask.select(results.get("transfer", []), task=task)
    tested = [row["tested"] for row in rows if "tested" in row]
    cut: dict[str, list[int]] = {}
    for row in rows:
        for part, count in row.get("truncated", {}).items():
            cut.setdefault("training" if part == "train" else f"test in {ask.language_label(part)}", []).append(count)
    parts = ", ".join(f"{span(counts)} of the {part}" for part, counts in cut.items() if any(counts))
    left_out = f"Training examples left out, as a test has them: {span(tested)}." if any(tested) else ""
    return [*([left_out] if left_out else []), *([f"Examples cut at the end: {parts}."] if parts else [])]


def accuracy_difference(results: Results, task: str, arm: str, language: str, condition: str | None) -> Row | None:
    """Return the row that compares an arm's accuracy with the baseline's."""
    return ask.comparison(results, arm, language, task=task, metric="accuracy", condition=condition)


# --- knowledge --------------------------------------------------------------------------------------------


def split_condition(condition: str | None) -> tuple[str, str | None]:
    """Return (what was taught, whose names): `k=64|names=lexicon` is ("k=64", "lexicon")."""
    parts = (condition or "").split("|")
    names = next((part.removeprefix("names=") for part in parts if part.startswith("names=")), None)
    return "|".join(part for part in parts if not part.startswith("names=")), names


def repetitions(taught: str) -> int:
    """Return how often facts were written, 0 for what is no such condition."""
    found = re.fullmatch(r"k=(\d+)", taught)
    return int(found[1]) if found else 0


def most_taught(rows: Sequence[Row]) -> str | None:
    """Return the condition with the largest k among the rows, None if none has a k."""
    conditions = {row.get("condition"): repetitions(split_condition(row.get("condition"))[0]) for row in rows}
    best = max(conditions, key=lambda condition: conditions[condition], default=None)
    return best if conditions.get(best) else None


def knowledge(results: Results) -> list[Table]:
    """Return accuracy by arm and asked language over how often a fact was taught, a table for each kind of names."""
    by_names: dict[str | None, list[Row]] = {}
    for row in ask.select(results["scores"], task="knowledge", metric="accuracy"):
        by_names.setdefault(split_condition(row.get("condition"))[1], []).append(row)
    return [_knowledge_table(results, names, rows) for names, rows in by_names.items()]


def _knowledge_table(results: Results, names: str | None, rows: list[Row]) -> Table:
    conditions = list(dict.fromkeys(row.get("condition") for row in rows))
    taught = {condition: split_condition(condition)[0] for condition in conditions}
    ordered = ["control", "two_hop"]
    conditions.sort(  # k = 1, 4, …, then the control, two hops, and what else there is
        key=lambda c: (
            repetitions(taught[c]) or 1_000_000 + (ordered.index(taught[c]) if taught[c] in ordered else len(ordered))
        )
    )
    found = {cell: ask.estimate(own) for cell, own in ask.group(rows, "condition", "arm", "language").items()}
    keys = [
        (arm, language)
        for arm in ask.arm_order(results)
        for language in dict.fromkeys(row["language"] for row in rows)
        if ask.select(rows, arm=arm, language=language)
    ]
    columns = {
        "Arm": [ask.arm_label(arm) for arm, _ in keys],
        "Asked in": [ask.language_label(language) for _, language in keys],
    }
    cells = [[found.get((condition, *key)) for key in keys] for condition in conditions]
    for condition, own in zip(conditions, cells, strict=True):
        columns[taught[condition].replace("_", " ")] = [with_interval(estimate) for estimate in own]
    note = [f"Accuracy, chance {chance(rows)}. k: how often a fact was written, in the source language alone."]
    largest = most_taught(rows)
    if largest is not None:
        compared = [accuracy_difference(results, "knowledge", arm, language, largest) for arm, language in keys]
        columns |= differences(compared, ask.arm_label(ask.baseline(results)))
        note += [f"Differences are at {taught[largest]}."] * any(compared)
    columns |= seed_counts(list(zip(*cells, strict=True)))
    note += [*interval_note([e for own in cells for e in own], "items"), *test_note(results, "knowledge")]
    return make_table(f"Knowledge, names: {names}" if names else "Knowledge", columns, note, 2)
