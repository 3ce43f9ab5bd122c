"""Tables of what went in: budgets, switched words, corpus, tokenizer, lexicon."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from prealign.report import results as ask
from prealign.report.formats import NONE, duration, number, quantity, share, times
from prealign.report.results import Results, Row
from prealign.report.tables.table import Table


def budget(results: Results) -> list[Table]:
    """Tokens, FLOPs, seconds and steps of each arm by stage and in total, means over seeds."""
    rows = results.get("budget", [])
    body: list[tuple[str, ...]] = []
    seeds: list[int] = []
    for arm in ask.arm_order(results):
        by_stage = {stage: own for (stage,), own in ask.group(ask.select(rows, arm=arm), "stage").items()}
        parts = [(name, by_stage[stage], "") for stage, name in _STAGES.items() if stage in by_stage]
        if parts:
            parts.append(("total", ask.finished(results, arm), times(ask.budget_ratio(results, arm))))
        body += [(ask.arm_label(arm), name, *_amounts(own), ratio) for name, own, ratio in parts]
        seeds += [len(ask.group(own, "seed")) for _, own, _ in parts]
    columns = ["Arm", "Stage", "Steps", "Tokens", "FLOPs", "Time", f"FLOPs / {ask.arm_label(ask.baseline(results))}"]
    note = " ".join(["Means over seeds.", *_frozen(results)])
    if len(set(seeds)) > 1:
        columns.append("Seeds")
        body = [(*cells, str(count)) for cells, count in zip(body, seeds, strict=True)]
    return [Table("Training budget", tuple(columns), tuple(body), note, 2)] if body else []


def _frozen(results: Results) -> Iterator[str]:
    """Say where only embeddings trained."""
    rows = [row for row in results.get("budget", []) if row.get("frozen")]
    for (stage, frozen), own in ask.group(rows, "stage", "frozen").items():
        arms = "; ".join(dict.fromkeys(ask.arm_label(row["arm"]) for row in own))
        yield f"{share(frozen)} of the parameters, all but the embeddings, did not train in {_STAGES[stage]} of {arms}."


_STAGES = {"align": "1 · align", "pretrain": "2 · pretrain"}


def _amounts(rows: Sequence[Row]) -> tuple[str, str, str, str]:
    """Sums over stages, then the mean over seeds."""
    by_seed = ask.group(rows, "seed").values()

    def mean_total(key: str) -> float | None:
        return ask.mean([math.fsum(row[key] for row in stages) for stages in by_seed])

    steps = mean_total("steps") if all("steps" in row for row in rows) else None
    shown = NONE if steps is None else f"{steps:,.0f}"
    return (shown, quantity(mean_total("tokens")), quantity(mean_total("flops")), duration(mean_total("seconds")))


def switching(results: Results) -> list[Table]:
    """Expected (ratio × coverage) against realised share of switched words, by arm; means over seeds."""
    body = []
    rows = results.get("switching", [])
    for arm in ask.arm_order(results):
        own = ask.select(rows, arm=arm)
        if not own:
            continue
        expected, realised, tokens = (
            ask.mean([row[key] for row in own if row.get(key) is not None])
            for key in ("expected", "realised", "realised_tokens")
        )
        body.append(
            (
                ask.arm_label(arm),
                " or ".join(sorted({row["mode"] for row in own})).replace("_", "-"),
                share(ask.mean([row["ratio"] for row in own])),
                share(ask.mean([row["coverage"] for row in own])),
                share(expected),
                share(realised),
                times(realised / expected if realised is not None and expected else None),
                _standard_errors(own),
                share(tokens),
                quantity(math.fsum(row.get("switched_words", 0) for row in own)),
            )
        )
    columns = (
        "Arm", "Mode", "Ratio", "Coverage", "Expected", "Realised", "Realised / expected", "Standard errors off",
        "Of tokens", "Switched words",
    )  # fmt: skip
    note = (
        "Expected is ratio × coverage by the words for training; a realised share some standard errors (of a share of so "
        "many words) off is a bug. Words are summed over seeds."
    )
    return [Table("Code-switching", columns, tuple(body), note, 2)] if body else []


def switching_by_language(results: Results) -> list[Table]:
    """Expected and realised share of a language's words replaced by another's; nothing where there is one way."""
    body: list[tuple[str, ...]] = []
    ways: set[tuple[str, str]] = set()
    for (arm,), rows in ask.group(results.get("switching", []), "arm").items():
        by_way: dict[tuple[str, str], list[Row]] = {}
        for row in rows:
            for source, rates in row.get("switched", {}).items():
                for target, rate in rates.items():
                    by_way.setdefault((source, target), []).append(rate)
        ways |= set(by_way)
        for (source, target), rates in by_way.items():
            expected, realised = (ask.mean([rate[key] for rate in rates]) for key in ("expected", "realised"))
            body.append(
                (
                    ask.arm_label(arm),
                    f"{ask.language_label(source)} → {ask.language_label(target)}",
                    share(expected),
                    share(realised),
                    times(realised / expected if realised is not None and expected else None),
                    _standard_errors(rates),
                    quantity(math.fsum(rate["switched_words"] for rate in rates)),
                )
            )
    columns = (
        "Arm", "Text → words of", "Expected", "Realised", "Realised / expected", "Standard errors off", "Switched words"
    )  # fmt: skip
    note = "Of all words of the text; expected is the ratio × the share of words drawn in that language."
    return [Table("Code-switching by language", columns, tuple(body), note, 2)] if len(ways) > 1 else []


def standard_errors(rates: Sequence[Row]) -> float | None:
    """Return how far the words switched are from those expected, in standard deviations of as many independent draws.

    None where none can be expected. Rows have "expected", "switched_words" and of how many words these are: "words",
    "source_words" or, in early results, "realised", their share. They are summed.
    """
    drawn = [(row["expected"], _words(row)) for row in rates if row.get("expected")]
    variance = math.fsum(words * expected * (1 - expected) for expected, words in drawn)
    if not variance:
        return None
    expected_words = math.fsum(words * expected for expected, words in drawn)
    return float((math.fsum(row["switched_words"] for row in rates) - expected_words) / math.sqrt(variance))


def _words(row: Row) -> float:
    counted = row.get("words", row.get("source_words"))
    return counted if counted is not None else row["switched_words"] / row["realised"] if row["realised"] else 0.0


def _standard_errors(rates: Sequence[Row]) -> str:
    off = standard_errors(rates)
    return "–" if off is None else f"{off:+.1f}"


def mixture(results: Results) -> list[Table]:
    """What stage 2 read of each language next to what was expected, and its passes over the text; means over seeds."""
    body = []
    groups = ask.group(results.get("mixture", []), "arm", "language")
    for arm in ask.arm_order(results):
        for (name, language), rows in groups.items():
            if name == arm:
                tokens, expected, read, passes = (
                    ask.mean([row[key] for row in rows]) for key in ("tokens", "expected", "share", "passes")
                )
                passed = f"{passes:,.2f}" if passes is not None else "–"
                cells = (quantity(tokens), share(expected), share(read), passed)
                body.append((ask.arm_label(arm), ask.language_label(language), *cells))
    columns = ("Arm", "Language", "Tokens read", "Expected share", "Share", "Passes over its text")
    note = "To the end of the last stretch of blocks: up to four million tokens more than the arm was trained on."
    return [Table("What stage 2 read", columns, tuple(body), note, 2)] if body else []


def corpus(results: Results) -> list[Table]:
    """Documents, tokens and bytes by language and split; coverage of the lexicon."""
    body = tuple(
        (
            ask.language_label(language),
            split,
            f"{counts['documents']:,}",
            f"{counts['tokens']:,}",
            f"{counts['bytes']:,}",
        )
        for language, splits in results.get("corpus", {}).items()
        for split, counts in splits.items()
    )
    columns = ("Language", "Split", "Documents", "Tokens", "Bytes")
    return [Table("Corpus", columns, body, labels=2)] if body else []


def tokenizer(results: Results) -> list[Table]:
    """Tokens of a word and bytes of a token, by language, of the run's tokenizer and of the one that it extends."""
    found = results.get("tokenizer")
    if not found:
        return []
    kinds = {"tokens": "", "base_tokens": ", before"} if found["new_tokens"] else {"tokens": ""}
    body = tuple(
        (
            ask.language_label(language),
            *(number(counts[kind] / counts["words"]) if counts.get("words") else NONE for kind in kinds),
            *(number(counts["bytes"] / counts[kind]) for kind in kinds),
        )
        for language, counts in found["held_out"].items()
    )
    columns = ("Language", *(f"{what}{when}" for what in ("Tokens a word", "Bytes a token") for when in kinds.values()))
    note = ["Of held-out text. Words are parted by white space; in scripts without spaces there are only bytes."]
    if found["new_tokens"]:
        note.append(f"{found['new_tokens']:,} tokens are new.")
    if rows := results.get("new_rows"):
        begun = {what: ask.mean([row[what] for row in rows]) for what in ("translations", "pieces")}
        note.append(
            f"Their rows begin as those of their translations ({begun['translations']:,.0f}) or, without any, as the mean "
            f"of the tokens they stand for ({begun['pieces']:,.0f}; means over arms and seeds)."
        )
    return [Table("Tokenizer", columns, body, " ".join(note))]


def lexicon(results: Results) -> list[Table]:
    """Groups of the lexicon, how many are held out, and the share of source tokens it covers per target."""
    found = results.get("lexicon")
    if not found:
        return []
    rows = tuple(
        (ask.language_label(target), f"{found['groups']:,}", f"{found['held_out']:,}", share(covered))
        for target, covered in found["coverage"].items()
    )
    columns = ("Target", "Translation groups", "Held out", "Coverage of source tokens")
    return [Table("Lexicon", columns, rows)]
