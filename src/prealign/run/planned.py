"""The phases of an arm before there are any data: with sizes of words and sentences that are known or assumed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from prealign.lexicon import Lexicon
from prealign.methods.alignment.words import WordForms, WordSizes
from prealign.methods.phase import Phase
from prealign.recipe.sections import BitextSection, Recipe
from prealign.run.inputs import arm_phases
from prealign.text.bitext import TokenPairs
from prealign.text.ragged import Ragged


@dataclass(frozen=True)
class AssumedWords:
    """`WordSizes` before there is a lexicon: groups enough for any batch."""

    mean_forms_per_group: float
    mean_tokens_per_group: float
    groups: float = math.inf


TOKENS_PER_FORM = 2
TOKENS_PER_SENTENCE, PAIRS_PER_LANGUAGE = 24, 2**20


def assumed_words(languages: int) -> AssumedWords:
    """Return sizes of words with a form in each language and `TOKENS_PER_FORM` tokens a form."""
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
    """`prealign.methods.phase.Inputs` without data: enough for costs and checks, not for training."""

    languages: Sequence[str]
    words: WordForms | WordSizes
    bitext: Mapping[str, TokenPairs]
    tokenizer: None = None
    seed: int = 0

    @property
    def training_lexicon(self) -> Lexicon:
        """A lexicon without words."""
        return Lexicon([], source=self.languages[0], targets=[])

    switching_lexicon = training_lexicon

    @property
    def token_counts(self) -> Mapping[str, np.ndarray]:
        """No counts."""
        return {}


def planned_phases(
    recipe: Recipe, words: WordForms | WordSizes | None = None, bitext: Mapping[str, TokenPairs] | None = None
) -> list[Phase]:
    """Return the phases of an arm, whose recipe this is; the main one has no steps yet. Sizes are assumed if not given."""
    languages = [recipe.source.language, *(target.language for target in recipe.targets)]
    words = words or assumed_words(len(languages))
    return arm_phases(recipe, PlannedInputs(languages, words, assumed_bitext(recipe) if bitext is None else bitext))
