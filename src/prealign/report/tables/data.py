"""What went into a run: corpus, tokenizer and lexicon."""

from __future__ import annotations

from typing import Any

from pandas import DataFrame

from prealign.report.formats import NONE, number, percent
from prealign.report.results import language_label
from prealign.report.results_file import Content
from prealign.report.tables.table import Table


def corpus(content: Content) -> list[Table]:
    """Return documents, tokens and bytes by language and split."""
    rows = tuple(
        (language_label(language), split, *(f"{counts[unit]:,}" for unit in ("documents", "tokens", "bytes")))
        for language, splits in content.get("corpus", {}).items()
        for split, counts in splits.items()
    )
    return [Table("Corpus", ("Language", "Split", "Documents", "Tokens", "Bytes"), rows, labels=2)] if rows else []


def tokenizer(content: Content) -> list[Table]:
    """Return tokens per word and bytes per token by language, of the run's tokenizer and of the one that it extends.

    content: a results.json or a record of prepared data; both have `tokenizer`.
    """
    found = content.get("tokenizer")
    if not found:
        return []
    kinds = {"tokens": "", "base_tokens": ", before"} if found["new_tokens"] else {"tokens": ""}
    rows = tuple(
        (
            language_label(language),
            *(number(counts[kind] / counts["words"]) if counts.get("words") else NONE for kind in kinds),
            *(number(counts["bytes"] / counts[kind]) for kind in kinds),
        )
        for language, counts in found["held_out"].items()
    )
    columns = (
        "Language",
        *(f"{ratio}{when}" for ratio in ("Tokens a word", "Bytes a token") for when in kinds.values()),
    )
    note = ["Of held-out text. Words are separated by white space; scripts without spaces have bytes per token only."]
    note += [f"{found['new_tokens']:,} tokens are new."] if found["new_tokens"] else []
    note += _new_rows(content.get("new_rows"))
    return [Table("Tokenizer", columns, rows, " ".join(note))]


def _new_rows(rows: Any) -> list[str]:
    if not rows:
        return []
    means = DataFrame(rows)[["translations", "pieces"]].mean()
    return [
        f"Their embeddings start from those of their translations ({means['translations']:,.0f} tokens) or, without any, "
        f"from the mean of the tokens that they replace ({means['pieces']:,.0f}; means over arms and seeds)."
    ]


def lexicon(content: Content) -> list[Table]:
    """Return groups of the lexicon, how many are held out, and the share of source tokens that it covers per target."""
    found = content.get("lexicon")
    if not found:
        return []
    rows = tuple(
        (language_label(target), f"{found['groups']:,}", f"{found['held_out']:,}", percent(covered))
        for target, covered in found["coverage"].items()
    )
    return [Table("Lexicon", ("Target", "Translation groups", "Held out", "Coverage of source tokens"), rows)]
