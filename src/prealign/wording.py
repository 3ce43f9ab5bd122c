"""Numbers with their nouns, in the singular or the plural."""

from __future__ import annotations


def some(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun: `1 document`, `2,551 documents`, `3 entries` (plural: "entries")."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
