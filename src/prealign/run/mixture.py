"""The training mixture of a phase: which languages it reads how much of, and what rewrites their documents.

1. The shares of tokens by language are those of the text, or those that the recipe sets
   (`prealign.text.blocks.token_shares`).
2. The phase's rewriters, if it has any, change the documents of their languages.
3. Of a rewriter that replaces known words (`CountsWords`) the expected rates are counted on the whole text; what was read
   and switched stands beside them in the record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, runtime_checkable

from prealign.methods.phase import Rewriting
from prealign.methods.switching.switch import Known, tally
from prealign.recipe.sections import Recipe
from prealign.run.data import Prepared
from prealign.text.arrow import parts
from prealign.text.blocks import LanguageCounts, Mixture, MixtureCounts
from prealign.text.ragged import IntArray
from prealign.workers import Spread


@runtime_checkable
class CountsWords(Protocol):
    """A rewriter whose rate of replaced words can be expected, as that of code-switching.

    mode: "input_only" (labels are the words that were replaced) or "vanilla" (labels are the inputs).
    """

    mode: str

    @property
    def independent(self) -> bool:
        """Return whether each word is drawn by itself: then the number of replaced words is binomial."""

    @property
    def mean_ratio(self) -> float:
        """Return the probability that a known word is replaced, over the whole phase."""

    def tally(self, documents: Iterable[Any]) -> tuple[int, IntArray]:
        """Return how many words documents have, and how often each known one."""

    def total(self, tallies: Iterable[tuple[int, IntArray]]) -> Known:
        """Add tallies up."""


def rewritten_mixture(
    prepared: Prepared, recipe: Recipe, rewriting: Rewriting | None, spread: Spread = map
) -> tuple[Mixture, dict[str, Known]]:
    """Return an arm's mixture with the rewriters of a phase, and what each of these knows of its language's text."""
    mixture = prepared.mixture(recipe)
    made: Mapping[str, Any] = rewriting.rewriters() if rewriting and mixture.source in mixture.tokens else {}
    rewriters = {language: rewriter for language, rewriter in made.items() if language in mixture.tokens}
    found = {}
    for language, rewriter in rewriters.items():
        if isinstance(rewriter, CountsWords):
            rows = mixture.tokens[language]
            found[language] = rewriter.total(spread(partial(tally, rewriter, rows), parts(rows)))
    return replace(mixture, rewriters=rewriters), found


def mixture_record(
    mixture: Mixture, counts: MixtureCounts, known: dict[str, Known], sizes: dict[str, int]
) -> dict[str, Any]:
    """Return what was read of each language beside what was expected, and how it was switched, for the record of an arm's
    blocks.

    sizes: tokens of each language's text. "switched": for each language whose text is switched, the rates of its words into
    each other language.
    """
    shares = mixture.shares or {language: size / sum(sizes.values()) for language, size in sizes.items()}
    read = sum(own.tokens for own in counts.languages.values())
    languages = {}
    # By the shares, not by what was read: a small budget may end before a language's first document.
    for language, share in shares.items():
        own = counts.languages.get(language, LanguageCounts())
        languages[language] = {
            "documents": own.documents,
            "tokens": own.tokens,
            "passes": own.passes,
            "share": own.tokens / max(1, read),
            "expected": share,
        }
    switched = {}
    for language, found in known.items():
        rewriter = mixture.rewriters[language]
        own = counts.languages.get(language, LanguageCounts())
        assert isinstance(rewriter, CountsWords)
        switched[language] = {
            target: {
                "expected": rewriter.mean_ratio * times / max(1, found.words),
                "realised": own.into.get(target, 0) / max(1, own.words),
                "switched_words": own.into.get(target, 0),
                "words": own.words,
                "independent": rewriter.independent,
            }
            for target, times in found.targets.items()
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
