"""What the main phase of an arm reads of each language: tokens, share and passes, known before any training.

1. Text tokens of the phase: steps · blocks a step · context, without its blocks of parallel text.
2. Shares of the languages, by `mixture.weights`, `mixture.passes` or `mixture.temperature` (`prealign.text.shares`).
3. Passes: tokens read of a language over the tokens of its text. Above `MANY_PASSES` there is a warning.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from prealign.methods.phase import Phase
from prealign.recipe.sections import MixtureSection, Recipe
from prealign.text.shares import Balance, token_shares

MANY_PASSES = 20
"""Passes above which another pass brings little. Muennighoff et al. (2023, "Scaling data-constrained language models"): 4
passes are nearly as good as new text, the value of a pass decays from about 16 on, and is gone at 40."""


@dataclass(frozen=True)
class Reading:
    """What is read of a language: tokens, their share of the phase, and passes over its text (None: size not known)."""

    tokens: float
    share: float
    passes: float | None


def mixture_languages(recipe: Recipe) -> list[str]:
    """Return the languages of an arm's mixture."""
    targets = [target.language for target in recipe.targets]
    return targets if recipe.mixture.languages == "targets" else [recipe.source.language, *targets]


def balance(section: MixtureSection) -> Balance:
    """Return how a recipe decides the shares."""
    return Balance(section.temperature, section.weights or None, section.passes or None)


def text_tokens(phase: Phase, devices: int) -> int:
    """Return the tokens of text that a phase reads over all devices; its steps are known."""
    assert phase.steps is not None
    per_step = phase.batch_size * devices
    parallel = len(phase.bitext.positions(phase.steps, per_step)) if phase.bitext else 0
    return (phase.steps * per_step - parallel) * phase.context


def main_reading(recipe: Recipe, sizes: Mapping[str, int], total: int) -> dict[str, Reading]:
    """Return by language what an arm reads in `total` tokens of text. RecipeError if passes need more.

    recipe: the arm's. sizes: tokens of each language's training text; if they are empty, shares are known by weights only,
    and without weights there is nothing to return.
    """
    languages = mixture_languages(recipe)
    if not sizes and not recipe.mixture.weights:
        return {}
    known = {language: sizes.get(language, 1) for language in languages}
    shares = token_shares(known, balance(recipe.mixture), total)
    shares = shares or {language: size / sum(known.values()) for language, size in known.items()}
    return {
        language: Reading(share * total, share, share * total / sizes[language] if sizes else None)
        for language, share in shares.items()
    }


def many_passes(readings: Mapping[str, Mapping[str, Reading]]) -> Iterator[str]:
    """Yield a warning for each language that some arm reads more than `MANY_PASSES` times. readings: by arm, language."""
    for language in dict.fromkeys(language for own in readings.values() for language in own):
        passes = {arm: own[language].passes or 0 for arm, own in readings.items() if language in own}
        if over := [arm for arm, times in passes.items() if times > MANY_PASSES]:
            yield (
                f"warning: {language} is read {max(passes.values()):,.0f} times over in {', '.join(over)}: above "
                f"{MANY_PASSES} passes another one brings little. Add {language} text, or lower its weight or passes."
            )


def reading_lines(readings: Mapping[str, Mapping[str, Reading]]) -> Iterator[str]:
    """Yield a line for all arms that read alike, and the warnings. readings: by arm, language."""
    alike: dict[str, list[str]] = {}
    for arm, own in readings.items():
        alike.setdefault(_told(own.items()), []).append(arm)
    for told, arms in alike.items():
        yield f"{', '.join(arms)}: {told}"
    yield from many_passes(readings)


def _told(own: Iterable[tuple[str, Reading]]) -> str:
    return "; ".join(
        f"{language} {reading.tokens:,.0f} tokens, {reading.share:.1%}"
        + ("" if reading.passes is None else f", {reading.passes:.2f} passes")
        for language, reading in own
    )
