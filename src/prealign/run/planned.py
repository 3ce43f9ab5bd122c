"""The phases of an arm before there are any data: with sizes of words that are known or assumed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from prealign.lexicon import Lexicon
from prealign.methods.alignment.words import WordForms, WordSizes
from prealign.methods.phase import Phase
from prealign.recipe.sections import Recipe
from prealign.run.inputs import arm_phases
from prealign.text.ragged import Ragged


@dataclass(frozen=True)
class AssumedWords:
    """`WordSizes` before there is a lexicon: groups enough for any batch."""

    mean_forms_per_group: float
    mean_tokens_per_group: float
    groups: float = math.inf


TOKENS_PER_FORM = 2


def assumed_words(languages: int) -> AssumedWords:
    """Return sizes of words with a form in each language and `TOKENS_PER_FORM` tokens a form."""
    return AssumedWords(languages, languages * TOKENS_PER_FORM)


@dataclass(frozen=True)
class PlannedInputs:
    """`prealign.methods.phase.Inputs` without data: enough for costs and checks, not for training."""

    languages: Sequence[str]
    words: WordForms | WordSizes
    tokenizer: None = None
    seed: int = 0

    @property
    def training_lexicon(self) -> Lexicon:
        """A lexicon without words."""
        return Lexicon([], source=self.languages[0], targets=[])

    switching_lexicon = training_lexicon

    @property
    def bitext(self) -> Mapping[str, tuple[Ragged, Ragged]]:
        """No parallel text."""
        return {}

    @property
    def token_counts(self) -> Mapping[str, np.ndarray]:
        """No counts."""
        return {}


def planned_phases(recipe: Recipe, words: WordForms | WordSizes | None = None) -> list[Phase]:
    """Return the phases of an arm, whose recipe this is; the main one has no steps yet."""
    languages = [recipe.source.language, *(target.language for target in recipe.targets)]
    return arm_phases(recipe, PlannedInputs(languages, words or assumed_words(len(languages))))
