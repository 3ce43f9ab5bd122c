"""Tokens to parity: how much of the baseline's training an arm needs to be as good as the baseline at its end.

1. A run's validation perplexity is followed over all tokens since the start of training, stage 1 included.
2. The goal is the last validation perplexity of the baseline's run of the same seed.
3. Between the two measurements around the goal, log perplexity is taken to be linear in tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from prealign.report import results as ask
from prealign.report.formats import with_interval
from prealign.report.results import Results
from prealign.report.tables.table import Table, make_table, seed_counts

Course = Sequence[tuple[float, float]]
"""(tokens since the start of training, perplexity), in order."""


def crossing(course: Course, goal: float) -> float | None:
    """Return the tokens at which a course first comes down to the goal; None if it never does."""
    before: tuple[float, float] | None = None
    for tokens, value in course:
        if value <= goal:
            if before is None:
                return tokens
            part = math.log(before[1] / goal) / math.log(before[1] / value)
            return before[0] + part * (tokens - before[0])
        before = tokens, value
    return None


def validation_course(results: Results, arm: str, seed: int, language: str) -> Course:
    """Return a run's validation perplexity in a language over all its training tokens; empty if it is unfinished."""
    if (arm, seed) in ask.unfinished_runs(results):
        return []
    return sorted(
        (ask.tokens_before(results, run) + point["tokens"], value)
        for run in ask.select(results.get("history", []), arm=arm, seed=seed)
        for point in run["points"]
        if ask.finite(value := point.get("validation", {}).get(language)) and "tokens" in point
    )


def shares(results: Results, arm: str, language: str) -> list[float | None]:
    """Return for each seed the share of the baseline's tokens after which the arm has reached it, None if never."""
    found = []
    for seed in dict.fromkeys(run["seed"] for run in ask.select(results.get("history", []), arm=arm)):
        own, base = (validation_course(results, name, seed, language) for name in (arm, ask.baseline(results)))
        if own and base:
            total, goal = base[-1]
            tokens = crossing(own, goal)
            found.append(None if tokens is None else tokens / total)
    return found


def tokens_to_parity(results: Results) -> list[Table]:
    """Return the share of the baseline's tokens that each arm needs to match it, by target language."""
    found = {
        (language, arm): own
        for language in ask.target_languages(results)
        for arm in ask.arm_order(results)
        if (own := shares(results, arm, language))
    }
    if not set(found) - {(language, ask.baseline(results)) for language, _ in found}:
        return []
    reached = {key: ask.over_seeds([share for share in own if share is not None]) for key, own in found.items()}
    base = ask.arm_label(ask.baseline(results))
    columns = {
        "Language": [ask.language_label(language) for language, _ in found],
        "Arm": [ask.arm_label(arm) for _, arm in found],
        f"Share of {base}'s tokens": [with_interval(reached[key]) for key in found],
        "Not reached": [f"{own.count(None)} of {len(own)}" for own in found.values()],
        **seed_counts([[reached[key]] for key in found]),
    }
    note = [
        f"When an arm's validation perplexity first comes down to that of {base} at the end of its training, in shares of "
        f"the tokens {base} was trained on; stage 1 counts. Mean and 95 % t-interval over the seeds that reach it."
    ]
    return [make_table(f"Tokens to parity with {base}", columns, note, 2)]
