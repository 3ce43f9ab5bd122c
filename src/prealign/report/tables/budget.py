"""What training consumed: steps, tokens, FLOPs and time, switched words, rows that were set, and text by language."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from pandas import DataFrame, MultiIndex

from prealign.report.formats import NONE, duration, percent, quantity, times
from prealign.report.results import AMOUNTS, Results, language_label, select
from prealign.report.results_file import Row
from prealign.report.tables.table import Table, text_table

_STAGES = {"align": "1 · align", "pretrain": "2 · pretrain", "total": "total"}


def budget(results: Results) -> list[Table]:
    """Return steps, tokens, FLOPs and seconds of each arm by stage and in total, means over seeds."""
    rows = select(results.budget, arm=results.arms)
    if rows.empty:
        return []
    groups = rows.groupby(["arm", "stage"], observed=True)
    means, seeds = groups[AMOUNTS].mean(), [*groups.size()]
    columns = {
        "Steps": [NONE if math.isnan(steps) else f"{steps:,.0f}" for steps in means["steps"]],
        "Tokens": means["tokens"].map(quantity),
        "LM tokens": means["lm_tokens"].map(quantity),
        "FLOPs": means["flops"].map(quantity),
        "Time": means["seconds"].map(duration),
        f"FLOPs / {results.label(results.baseline)}": [
            times(results.budget_ratio(arm)) if stage == "total" else "" for arm, stage in means.index
        ],
    }
    if len(set(seeds)) > 1:
        columns["Seeds"] = [str(count) for count in seeds]
    index = means.index.set_levels([_STAGES.get(stage, stage) for stage in means.index.levels[1]], level="stage")
    note = [
        "Means over seeds. LM tokens: tokens of text; the others are words of an auxiliary loss.",
        *_frozen(results),
    ]
    return [text_table(results, "Training budget", index.set_names(["arm", "Stage"]), columns, note)]


def initial_rows(results: Results) -> list[Table]:
    """Return how many rows of the vocabulary each arm's initialisation has set, means over seeds and stages."""
    found = results.typed(
        DataFrame(results.section("initialisations")).reindex(columns=["arm", "initialisation", "rows"])
    )
    rows = select(found, arm=results.arms)
    if rows.empty:
        return []
    means = rows.groupby(["arm", "initialisation"], observed=True)["rows"].mean()
    columns = {"Rows": [f"{number:,.0f}" for number in means]}
    note = (
        "Embedding rows that start from other rows or vectors, or are computed from them. The others start at random."
    )
    index = means.index.set_names(["arm", "Initialisation"])
    return [text_table(results, "Rows of the vocabulary", index, columns, [note])]


def _frozen(results: Results) -> Iterator[str]:
    """Sentences on arms and stages in which only the embeddings were trained."""
    rows = results.budget[results.budget["frozen"].fillna(0) > 0]
    for (stage, frozen), own in rows.groupby(["stage", "frozen"], sort=False, observed=True):
        arms = "; ".join(map(results.label, own["arm"].unique()))
        name = _STAGES.get(stage, stage)
        yield f"{percent(frozen)} of the parameters, all but the embeddings, were frozen in {name} of {arms}."


def switching(results: Results) -> list[Table]:
    """Return the expected (ratio × coverage) and the realised share of switched words by arm, means over seeds."""
    names = ["arm", "ratio", "mode", "coverage", "expected", "realised", "realised_tokens", "switched_words"]
    found = results.typed(DataFrame(results.section("switching")).reindex(columns=names))
    rows = select(found, arm=results.arms)
    if rows.empty:
        return []
    groups = rows.groupby("arm", observed=True)
    modes = groups["mode"].agg(lambda own: " or ".join(sorted(set(own))).replace("_", "-"))
    means = groups[["ratio", "coverage", "realised_tokens"]].mean()
    shares = _shares([[row for row in results.section("switching") if row["arm"] == arm] for arm in means.index])
    columns = {
        "Ratio": means["ratio"].map(percent),
        "Coverage": means["coverage"].map(percent),
        **shares,
        "Of tokens": means["realised_tokens"].map(percent),
        "Switched words": groups["switched_words"].sum().map(quantity),
    }
    index = MultiIndex.from_arrays([means.index, modes], names=["arm", "Mode"])
    note = (
        "Expected is the ratio × the coverage of the training lexicon. Standard errors off: how far the number of switched "
        "words is from the expected number, in standard deviations of independent draws; several of them mean a bug. Words "
        "are summed over seeds."
    )
    if not all(row.get("independent", True) for row in results.section("switching")):
        note += (
            " They are left out where a schedule, or one draw for a whole sentence or document, decides on many words."
        )
    return [text_table(results, "Code-switching", index, columns, [note])]


def switching_by_language(results: Results) -> list[Table]:
    """Return the expected and realised share of one language's words replaced by another's; no table for a single pair."""
    rates: dict[tuple[str, str], list[Row]] = {}
    for row in results.section("switching"):
        for source, targets in row.get("switched", {}).items():
            for target, rate in targets.items():
                pair = f"{language_label(source)} → {language_label(target)}"
                rates.setdefault((row["arm"], pair), []).append(rate)
    if len({pair for _, pair in rates}) < 2:
        return []
    index = MultiIndex.from_tuples(rates, names=["arm", "Text → words of"])
    switched = [quantity(sum(rate["switched_words"] for rate in own)) for own in rates.values()]
    columns = _shares([*rates.values()]) | {"Switched words": switched}
    note = "Of all words of the text. Expected is the ratio × the share of words drawn in that language."
    return [text_table(results, "Code-switching by language", index, columns, [note])]


def _shares(groups: Sequence[Sequence[Row]]) -> dict[str, list[str]]:
    """Columns of the expected and the realised share of switched words, means over the rows of each group."""
    means = DataFrame([DataFrame(rows)[["expected", "realised"]].mean() for rows in groups])
    off = [standard_errors(rows) for rows in groups]
    return {
        "Expected": means["expected"].map(percent),
        "Realised": means["realised"].map(percent),
        "Realised / expected": [*(means["realised"] / means["expected"]).map(times)],
        "Standard errors off": [NONE if errors is None else f"{errors:+.1f}" for errors in off],
    }


def standard_errors(rates: Sequence[Row]) -> float | None:
    """Return how far the switched words are from the expected number, in standard deviations of as many independent draws.

    None where none can be expected, or where draws are not independent. Rows have "expected", "switched_words" and the
    number of words that could be switched: "words", "source_words" or, in early results, only the share "realised". Rows
    are summed.
    """
    if not all(row.get("independent", True) for row in rates):
        return None
    drawn = [(row["expected"], _words(row)) for row in rates if row.get("expected")]
    variance = math.fsum(words * expected * (1 - expected) for expected, words in drawn)
    if not variance:
        return None
    expected_words = math.fsum(words * expected for expected, words in drawn)
    return float((math.fsum(row["switched_words"] for row in rates) - expected_words) / math.sqrt(variance))


def _words(row: Row) -> float:
    counted = row.get("words", row.get("source_words"))
    if counted is None:
        return row["switched_words"] / row["realised"] if row["realised"] else 0.0
    return counted


def mixture(results: Results) -> list[Table]:
    """Return what stage 2 read of each language, what was expected, and passes over the text; means over seeds."""
    names = ["arm", "seed", "language", "tokens", "expected", "share", "passes"]
    rows = select(DataFrame(results.section("mixture")).reindex(columns=names), arm=results.arms)
    if rows.empty:
        return []
    rows = _as_trained(results, rows)
    rows = rows.sort_values("arm", key=lambda arms: arms.map(results.arms.index), kind="stable")
    means = rows.groupby(["arm", "language"], sort=False)[names[3:]].mean()
    columns = {
        "Tokens read": means["tokens"].map(quantity),
        "Expected share": means["expected"].map(percent),
        "Share": means["share"].map(percent),
        "Passes over its text": [NONE if math.isnan(passes) else f"{passes:,.2f}" for passes in means["passes"]],
    }
    note = "Of the blocks that the arm was trained on, by the shares of the text that was made into blocks."
    return [text_table(results, "What stage 2 read", means.index, columns, [note])]


def parallel_text(results: Results) -> list[Table]:
    """Return how much parallel text stage 2 read as documents, half of it in the source language; means over seeds."""
    names = ["arm", "language", "documents", "tokens", "passes"]
    rows = select(results.typed(DataFrame(results.section("bitext")).reindex(columns=names)), arm=results.arms)
    if rows.empty:
        return []
    means = rows.groupby(["arm", "language"], observed=True)[names[2:]].mean()
    columns = {
        "Pairs read": means["documents"].map(quantity),
        "Tokens read": means["tokens"].map(quantity),
        "Passes over its pairs": [f"{passes:,.2f}" for passes in means["passes"]],
    }
    note = "A pair is a document; its tokens are those of both languages. Pairs that a loss on sentences reads do not count."
    return [text_table(results, "Parallel text read", means.index, columns, [note])]


def _as_trained(results: Results, rows: DataFrame) -> DataFrame:
    """Scale what was read to the blocks of stage 2. Text is counted in stretches, which reach up to four million tokens
    further than the blocks."""
    settings = results.content["recipe"]["pretrain"]
    per_step = settings["batch_size"] * settings["context"] * (results.content["environment"].get("devices") or 1)
    steps = {(row["arm"], row["seed"]): row["steps"] for row in results.section("budget") if row["stage"] == "pretrain"}
    made = rows.groupby(["arm", "seed"])["tokens"].sum()
    factors = [
        min(1.0, per_step * steps[pair] / made[pair]) if pair in steps and made[pair] else 1.0
        for pair in zip(rows["arm"], rows["seed"], strict=True)
    ]
    return rows.assign(tokens=rows["tokens"] * factors, passes=rows["passes"] * factors)
