"""Zero-shot transfer and knowledge: accuracy of every arm next to the baseline.

The `condition` of a score names its data set. For transfer it is the task; for knowledge it says how often a fact was in the
training text, and which names the fact has: `k=64|names=lexicon`.
"""

from __future__ import annotations

from pandas import Categorical, DataFrame, MultiIndex, isna, to_numeric

from prealign.report.estimates import Estimate, by_seed, estimates
from prealign.report.formats import span
from prealign.report.results import Results, language_label, select
from prealign.report.tables.table import (
    Table,
    chance,
    differences,
    interval_note,
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
        columns |= differences(compared, MultiIndex.from_product([[tag], found.index]), base, of=of)
    over = accuracies["signature"].astype(str).str.extract(r"over:(\w+)")[0].fillna("items").unique()
    note = [
        f"Accuracy, chance {chance(accuracies)}; fine-tuned on {language_label(source)} alone. Gap: accuracy in "
        f"{language_label(source)} minus accuracy in the target; gap closed: 1 − gap / gap of {base}, paired by seed.",
        *interval_note(found, over[0] if len(over) == 1 else "items"),
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


def knowledge_scores(results: Results) -> list[tuple[str | None, DataFrame]]:
    """Return knowledge accuracies by the kind of names in the facts, in order of first appearance.

    Column `taught` is how the facts were taught (`k=64`, `control`, `two_hop`), `k` how often, NaN without a number.
    """
    rows = select(results.scores, arm=results.arms, task="knowledge", metric="accuracy")
    parts = rows["condition"].astype(str).str.extract(r"^(?P<taught>.*?)(?:\|names=(?P<names>.*))?$")
    rows = rows.join(parts.assign(k=to_numeric(parts["taught"].str.extract(r"^k=(\d+)$")[0])))
    groups = rows.groupby("names", sort=False, dropna=False)
    return [(None if isna(names) else names, own) for names, own in groups]


def most_taught(rows: DataFrame) -> DataFrame:
    """Return the rows of the facts that were taught most often; none if no row has a k."""
    return rows[rows["k"] == rows["k"].max()]


def knowledge(results: Results) -> list[Table]:
    """Return accuracy by arm and question language over how often a fact was taught, a table for each kind of names."""
    return [_knowledge_table(results, names, rows) for names, rows in knowledge_scores(results)]


def _knowledge_table(results: Results, names: str | None, rows: DataFrame) -> Table:
    language = Categorical(rows["language"], list(dict.fromkeys(rows["language"])), ordered=True)
    other = rows["taught"].map({"control": 1, "two_hop": 2}).fillna(3)  # after k = 1, 4, …
    rows = rows.assign(language=language, other=other).sort_values(["k", "other"])
    found = estimates(rows, "arm", "language", "taught").unstack("taught")
    columns = {taught.replace("_", " "): [*found[taught]] for taught in rows["taught"].unique()}
    note = [
        f"Accuracy, chance {chance(rows)}. k: how often a fact is in the training text, in the source language alone."
    ]
    for condition, taught in most_taught(rows)[["condition", "taught"]].drop_duplicates().itertuples(index=False):
        compared = results.compared(task="knowledge", metric="accuracy", condition=condition)
        added = differences(compared, found.index.swaplevel(), results.label(results.baseline))
        columns |= added
        note += [f"Differences are at {taught}."] * bool(added)
    note += [*interval_note(found, "items"), *test_note(results, "knowledge")]
    title = f"Knowledge, names: {names}" if names else "Knowledge"
    return text_table(results, title, found.index, columns | seed_column(found), note, language="Asked in")
