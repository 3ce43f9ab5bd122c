"""Numbers as text, the same in tables, figures and sentences; what is missing is a dash."""

from __future__ import annotations

import math
from collections.abc import Collection

from prealign.report.results import Estimate

NONE = "–"


def number(value: float | None) -> str:
    """Four significant digits, at most three decimals, a true minus sign: 75.64, 1,234, −0.120."""
    if value is None or not math.isfinite(value):
        return NONE
    rounded = float(f"{value:.4g}")
    magnitude = math.floor(math.log10(abs(rounded))) if rounded else 0
    return f"{rounded:,.{min(max(3 - magnitude, 0), 3)}f}".replace("-", "−")


def with_interval(estimate: Estimate | None) -> str:
    """`349.2 [330.1, 368.4]`; without an interval the value alone."""
    if estimate is None:
        return NONE
    return number(estimate.value) + interval(estimate.low, estimate.high)


def interval(low: float | None, high: float | None) -> str:
    """` [low, high]`, or nothing where there is no interval."""
    return "" if low is None or high is None else f" [{number(low)}, {number(high)}]"


def quantity(value: float | None) -> str:
    """Three significant digits with an SI prefix: 1.23e13 -> `12.3 T`."""
    if value is None:
        return NONE
    rounded = float(f"{value:.3g}")
    for scale, prefix in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if rounded >= scale:
            return f"{rounded / scale:#.3g}".rstrip(".") + f" {prefix}"
    return f"{rounded:.3g}"


def duration(seconds: float | None) -> str:
    """`35.2 s`, `2 min 35 s`, `1 h 05 min`."""
    if seconds is None:
        return NONE
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    if round(seconds) < 3600:
        return f"{round(seconds) // 60} min {round(seconds) % 60:02d} s"
    return f"{round(seconds / 60) // 60} h {round(seconds / 60) % 60:02d} min"


def p_value(p: float | None) -> str:
    """Three decimals, `<0.001` below that."""
    if p is None or not math.isfinite(p):
        return NONE
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def share(value: float | None) -> str:
    """Percent with two decimals: switch shares are small."""
    return NONE if value is None else f"{100 * value:.2f} %"


def times(ratio: float | None) -> str:
    """`0.85×`."""
    return NONE if ratio is None else f"{ratio:.2f}×"


def span(counts: Collection[int]) -> str:
    """`3`, or `3 to 1,205` where they differ."""
    least, most = min(counts), max(counts)
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"
