"""The phases of an arm without its data, from known or assumed sizes of words and sentences: for plans and checks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from prealign.errors import RecipeError
from prealign.lexicon import Lexicon
from prealign.methods.alignment.words import WordForms, WordSizes
from prealign.methods.phase import Phase
from prealign.recipe.arms import resolve_arm
from prealign.recipe.bitext import BitextSection
from prealign.recipe.sections import Recipe
from prealign.run.inputs import arm_phases
from prealign.text.bitext import TokenPairs
from prealign.text.ragged import Ragged


@dataclass(frozen=True)
class AssumedWords:
    """Assumed `WordSizes`, without a lexicon. The number of groups is enough for any batch."""

    mean_forms_per_group: float
    mean_tokens_per_group: float
    groups: float = math.inf

    @property
    def source_tokens_per_group(self) -> float:
        """The tokens of one form."""
        return self.mean_tokens_per_group / self.mean_forms_per_group

    def one_sense(self) -> AssumedWords:
        """Return itself: one form per language is assumed."""
        return self


TOKENS_PER_FORM = 2
TOKENS_PER_SENTENCE, PAIRS_PER_LANGUAGE = 24, 2**20


def assumed_words(languages: int) -> AssumedWords:
    """Return word sizes with one form per language and `TOKENS_PER_FORM` tokens per form."""
    return AssumedWords(languages, languages * TOKENS_PER_FORM)


def sentence_tokens(section: BitextSection, context: int) -> int:
    """Return the tokens of a sentence that are assumed: `TOKENS_PER_SENTENCE`, or fewer if longer ones are left out."""
    return min(TOKENS_PER_SENTENCE, section.longest(context))


def assumed_bitext(recipe: Recipe) -> Mapping[str, TokenPairs]:
    """Return the sizes of the recipe's parallel text: its languages, with pairs of `sentence_tokens` a side.

    Without `bitext.limit` there are `PAIRS_PER_LANGUAGE`, enough for any batch or queue. All ids are 0, and take no memory.
    """
    section = recipe.bitext
    if section is None:
        return {}
    known = {file.target for file in section.files}
    offsets = np.arange((section.limit or PAIRS_PER_LANGUAGE) + 1) * sentence_tokens(section, recipe.pretrain.context)
    side = Ragged(np.broadcast_to(np.int32(0), (int(offsets[-1]),)), offsets)
    return {target.language: (side, side) for target in recipe.targets if target.is_clone or target.language in known}


@dataclass(frozen=True)
class PlannedInputs:
    """Inputs of a method (`prealign.methods.phase.Inputs`) without data: enough for costs and checks, not for training."""

    languages: Sequence[str]
    words: WordForms | WordSizes
    bitext: Mapping[str, TokenPairs]
    training_sizes: Mapping[str, int] = field(default_factory=dict)
    tokenizer: None = None
    seed: int = 0

    @property
    def training_lexicon(self) -> Lexicon:
        """An empty lexicon."""
        return Lexicon([], source=self.languages[0], targets=[])

    switching_lexicon = training_lexicon

    @property
    def token_counts(self) -> Mapping[str, np.ndarray]:
        """An empty mapping."""
        return {}

    def training_ids(self, language: str) -> Iterator[np.ndarray]:
        """No documents."""
        return iter(())


def planned_phases(
    recipe: Recipe,
    words: WordForms | WordSizes | None = None,
    sizes: Mapping[str, int] | None = None,
    bitext: Mapping[str, TokenPairs] | None = None,
) -> list[Phase]:
    """Return the phases of the arm with this recipe. The main phase has no steps yet.

    words, bitext: assumed if None. sizes: the number of tokens in each language's training text, if it is known.
    """
    languages = [recipe.source.language, *(target.language for target in recipe.targets)]
    words = words or assumed_words(len(languages))
    bitext = assumed_bitext(recipe) if bitext is None else bitext
    return arm_phases(recipe, PlannedInputs(languages, words, bitext, sizes or {}))


def check_phases(recipe: Recipe) -> None:
    """Raise RecipeError if arms cannot be trained with this recipe, whatever its data: a line for each reason."""
    reasons: dict[str, list[str]] = {}
    for arm in recipe.arms:
        try:
            planned_phases(resolve_arm(recipe, arm))
        except RecipeError as error:
            reasons.setdefault(str(error), []).append(arm)
    if reasons:
        raise RecipeError("\n".join(f"arms: {', '.join(arms)}: {reason}" for reason, arms in reasons.items()))
