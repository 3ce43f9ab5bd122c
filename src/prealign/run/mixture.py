"""The training mixture of a phase: the shares of its languages, and the rewriters of their documents.

1. The shares of the languages follow from the text, or from the recipe (`prealign.run.reading`).
2. Add the rewriters of the phase; each changes the documents of one language.
3. For a rewriter that replaces words of a lexicon (`CountsWords`), count the expected rates on the whole text. The
   record shows expected and realised rates side by side.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, runtime_checkable

from prealign.methods.phase import Rewriting
from prealign.methods.switching.switch import Known, tally
from prealign.text.arrow import parts
from prealign.text.blocks import LanguageCounts, Mixture, MixtureCounts
from prealign.text.ragged import IntArray
from prealign.workers import Spread


@runtime_checkable
class CountsWords(Protocol):
    """A rewriter with a predictable rate of replaced words, such as code-switching.

    mode: "input_only" (labels are the replaced words) or "vanilla" (labels are the inputs).
    """

    mode: str

    @property
    def independent(self) -> bool:
        """Return whether each word is drawn by itself: then the number of replaced words is binomial."""

    @property
    def mean_ratio(self) -> float:
        """Return the mean probability, over the phase, that a word of the lexicon is replaced."""

    def tally(self, documents: Iterable[Any]) -> tuple[int, IntArray]:
        """Return the number of words of the documents, and the count of each word of the lexicon."""

    def total(self, tallies: Iterable[tuple[int, IntArray]]) -> Known:
        """Return the coverage of all documents together, from the results of `tally`."""


def rewritten_mixture(
    mixture: Mixture, rewriting: Rewriting | None, spread: Spread = map
) -> tuple[Mixture, dict[str, Known]]:
    """Return an arm's mixture with the rewriters of a phase, and by language the coverage of its text by the rewriter."""
    available: Mapping[str, Any] = rewriting.rewriters() if rewriting and mixture.source in mixture.tokens else {}
    rewriters = {language: rewriter for language, rewriter in available.items() if language in mixture.tokens}
    known = {}
    for language, rewriter in rewriters.items():
        if isinstance(rewriter, CountsWords):
            rows = mixture.tokens[language]
            known[language] = rewriter.total(spread(partial(tally, rewriter, rows), parts(rows)))
    return replace(mixture, rewriters=rewriters), known


def mixture_record(
    mixture: Mixture, counts: MixtureCounts, known: dict[str, Known], sizes: dict[str, int]
) -> dict[str, Any]:
    """Return the realised and expected shares and switch rates by language, for the record of an arm's blocks.

    counts: of the written blocks. known: coverage of each switched language. sizes: tokens of each language's text.
    Returns "languages" (documents, tokens, passes, shares), and "switched": for each switched language, the rates into
    each other language.
    """
    shares = mixture.shares or {language: size / sum(sizes.values()) for language, size in sizes.items()}
    total = sum(language_counts.tokens for language_counts in counts.languages.values())
    languages = {}
    # Loop over the shares: with a small budget, `counts` may lack a language.
    for language, share in shares.items():
        read = counts.languages.get(language, LanguageCounts())
        languages[language] = {
            "documents": read.documents,
            "tokens": read.tokens,
            "passes": read.passes,
            "share": read.tokens / max(1, total),
            "expected": share,
        }
    switched = {}
    for language, coverage in known.items():
        rewriter = mixture.rewriters[language]
        read = counts.languages.get(language, LanguageCounts())
        assert isinstance(rewriter, CountsWords)
        switched[language] = {
            target: {
                "expected": rewriter.mean_ratio * times / max(1, coverage.words),
                "realised": read.into.get(target, 0) / max(1, read.words),
                "switched_words": read.into.get(target, 0),
                "words": read.words,
                "independent": rewriter.independent,
            }
            for target, times in coverage.targets.items()
        }
    return {"languages": languages, "switched": switched} | _source_record(mixture, known)


def _source_record(mixture: Mixture, known: dict[str, Known]) -> dict[str, Any]:
    """Return how the source text is switched: its ratio, over the whole phase, mode and coverage; None where it is not."""
    found, rewriter = known.get(mixture.source), mixture.rewriters.get(mixture.source)
    if found is None:
        return dict.fromkeys(("ratio", "mode", "coverage", "independent"))
    assert isinstance(rewriter, CountsWords)
    return {
        "ratio": rewriter.mean_ratio,
        "mode": rewriter.mode,
        "coverage": found.coverage,
        "independent": rewriter.independent,
    }
