"""The phases of an arm without its data, from known or assumed sizes of words: for plans and checks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from prealign.lexicon import Lexicon
from prealign.methods.alignment.words import WordForms, WordSizes
from prealign.methods.phase import Phase
from prealign.recipe.sections import Recipe
from prealign.run.inputs import arm_phases
from prealign.text.ragged import Ragged


@dataclass(frozen=True)
class AssumedWords:
    """Assumed `WordSizes`, without a lexicon. The number of groups is enough for any batch."""

    mean_forms_per_group: float
    mean_tokens_per_group: float
    groups: float = math.inf


TOKENS_PER_FORM = 2


def assumed_words(languages: int) -> AssumedWords:
    """Return word sizes with one form per language and `TOKENS_PER_FORM` tokens per form."""
    return AssumedWords(languages, languages * TOKENS_PER_FORM)


@dataclass(frozen=True)
class PlannedInputs:
    """Inputs of a method (`prealign.methods.phase.Inputs`) without data: enough for costs and checks, not for training."""

    languages: Sequence[str]
    words: WordForms | WordSizes
    training_sizes: Mapping[str, int] = field(default_factory=dict)
    tokenizer: None = None
    seed: int = 0

    @property
    def training_lexicon(self) -> Lexicon:
        """An empty lexicon."""
        return Lexicon([], source=self.languages[0], targets=[])

    switching_lexicon = training_lexicon

    @property
    def bitext(self) -> Mapping[str, tuple[Ragged, Ragged]]:
        """No parallel text."""
        return {}

    @property
    def token_counts(self) -> Mapping[str, np.ndarray]:
        """An empty mapping."""
        return {}

    def training_ids(self, language: str) -> Iterator[np.ndarray]:
        """No documents."""
        return iter(())


def planned_phases(
    recipe: Recipe, words: WordForms | WordSizes | None = None, sizes: Mapping[str, int] | None = None
) -> list[Phase]:
    """Return the phases of the arm with this recipe. The main phase has no steps yet.

    words: assumed if None. sizes: the number of tokens in each language's training text, if it is known.
    """
    languages = [recipe.source.language, *(target.language for target in recipe.targets)]
    return arm_phases(recipe, PlannedInputs(languages, words or assumed_words(len(languages)), sizes or {}))
