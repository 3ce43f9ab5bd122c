"""The share of tokens that a phase reads of each language, from the sizes of their texts.

1. Weights: in proportion to them.
2. Passes: a language with passes gets passes · size tokens. The others fill up the phase, each in proportion to its size.
   If all languages that an arm reads have passes (targets alone), they share the phase as passes · size.
3. Temperature: in proportion to size^(1/temperature), as in multilingual BERT (Devlin 2019) and XLM-R (Conneau et al.
   2020).
4. None of them: as much as there is, every document equally often.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from prealign.errors import RecipeError


@dataclass(frozen=True)
class Balance:
    """How the shares of languages are decided: by `weights` or `passes`, if there are any, else by `temperature`."""

    temperature: float = 1.0
    weights: Mapping[str, float] | None = None
    passes: Mapping[str, float] | None = None


def token_shares(sizes: Mapping[str, int], balance: Balance, total: int) -> dict[str, float] | None:
    """Return the share of tokens to read of each language; None: as much as there is.

    sizes: tokens of each language's text. total: tokens that the phase reads. RecipeError if passes need more than these.
    """
    if balance.passes:
        return _by_passes(sizes, balance.passes, total)
    if not balance.weights and balance.temperature == 1.0:
        return None
    weights = balance.weights or {language: size ** (1 / balance.temperature) for language, size in sizes.items()}
    return _normalised({language: weights[language] for language in sizes})


def _by_passes(sizes: Mapping[str, int], passes: Mapping[str, float], total: int) -> dict[str, float]:
    wanted = {language: passes[language] * size for language, size in sizes.items() if language in passes}
    others = {language: float(size) for language, size in sizes.items() if language not in passes}
    if not others:
        return _normalised(wanted)
    rest = total - sum(wanted.values())
    if rest <= 0:
        named = " + ".join(f"{language} {passes[language]:g} × {sizes[language]:,} tokens" for language in wanted)
        raise RecipeError(
            f"mixture.passes: {named} are {sum(wanted.values()):,.0f} tokens, and the arm reads {total:,} in all: lower "
            "mixture.passes or raise pretrain.steps"
        )
    filled = {language: rest * share for language, share in _normalised(others).items()}
    return _normalised({language: (wanted | filled)[language] for language in sizes})


def _normalised(parts: Mapping[str, float]) -> dict[str, float]:
    return {language: part / sum(parts.values()) for language, part in parts.items()}
