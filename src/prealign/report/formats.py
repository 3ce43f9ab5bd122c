"""Numbers as text, the same in tables, figures and sentences. A missing number (None or NaN) is a dash.

Every function rounds the exact value once.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import TypeGuard

from prealign.report.estimates import Estimate

NONE = "–"


def is_number(value: float | None) -> TypeGuard[float]:
    """Whether a value is a finite number."""
    return value is not None and math.isfinite(value)


def number(value: float | None) -> str:
    """Four significant digits, at most three decimals, a true minus sign: 75.64, 1,234, −0.120."""
    if not is_number(value):
        return NONE
    magnitude = int(f"{value:.3e}".partition("e")[2])  # the power of ten after rounding: 9.9999 counts as 10
    digits = min(3 - magnitude, 3)
    return f"{round(value, digits):,.{max(digits, 0)}f}".replace("-", "−")


def with_interval(estimate: Estimate | None) -> str:
    """`349.2 [330.1, 368.4]`; without an interval the value alone."""
    return number(estimate.value) + interval(estimate.low, estimate.high) if isinstance(estimate, Estimate) else NONE


def interval(low: float | None, high: float | None) -> str:
    """` [low, high]`, or nothing without an interval."""
    return f" [{number(low)}, {number(high)}]" if is_number(low) and is_number(high) else ""


def ratio_of(value: float | None, low: float | None, high: float | None) -> str:
    """`0.870 [0.845, 0.896]`: a ratio near 1 with its interval, three decimals."""
    if not is_number(value):
        return NONE
    ends = f" [{low:.3f}, {high:.3f}]" if is_number(low) and is_number(high) else ""
    return f"{value:.3f}{ends}"


def ratio(estimate: Estimate | None) -> str:
    """An estimate of a ratio near 1, as `ratio_of`."""
    return ratio_of(estimate.value, estimate.low, estimate.high) if isinstance(estimate, Estimate) else NONE


def quantity(value: float | None) -> str:
    """Three significant digits with an SI prefix: 1.23e13 -> `12.3 T`."""
    if not is_number(value):
        return NONE
    rounded = float(f"{value:.3g}")  # decides the prefix alone
    for scale, prefix in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if rounded >= scale:
            return f"{value / scale:#.3g}".rstrip(".") + f" {prefix}"
    return f"{value:.3g}"


def duration(seconds: float | None) -> str:
    """`35.2 s`, `2 min 35 s`, `1 h 05 min`."""
    if not is_number(seconds):
        return NONE
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    if round(seconds) < 3600:
        return f"{round(seconds) // 60} min {round(seconds) % 60:02d} s"
    return f"{round(seconds / 60) // 60} h {round(seconds / 60) % 60:02d} min"


def p_value(p: float | None) -> str:
    """Three decimals, `<0.001` below that."""
    if not is_number(p):
        return NONE
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def percent(value: float | None) -> str:
    """A share as a percentage with two decimals: shares of switched words are small."""
    return f"{100 * value:.2f} %" if is_number(value) else NONE


def times(ratio: float | None) -> str:
    """`0.85×`."""
    return f"{ratio:.2f}×" if is_number(ratio) else NONE


def two_decimals(estimate: Estimate | None) -> str:
    """`0.85`: the value of an estimate, for tables with many cells."""
    return f"{estimate.value:.2f}" if isinstance(estimate, Estimate) else NONE


def span(counts: Collection[int]) -> str:
    """`3`, or `3 to 1,205` where they differ."""
    least, most = min(counts), max(counts)
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"
