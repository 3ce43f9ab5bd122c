"""Word salad: the control of code-switching, in which known words are replaced by random target words.

1. The words to replace, and the language of each substitute, are those of code-switching with the same seed and settings
   (`switch` of the recipe).
2. The substitute is drawn uniformly from all words of the lexicon in that language, in the same case and context as the
   word that it replaces. A word's translation is among them, with the probability 1 / number of words.
3. Labels are those of code-switching in the same mode.

The dose and the share of each language equal those of code-switching, but the substitutes carry no information. The
difference between the two arms is the effect of translation. (Macaroni has this control.)

A lexicon with exchanged translations (`lexicon.wrong: 1`) is another control. There a word always gets the same wrong
translations, which a model can learn like correct ones.

One random number in 0..1 decides whether a word is replaced; its remainder selects the substitute
(`prealign.methods.switching.switch`). It has 24 bits: at ratio 0.05 the probabilities of 20,000 words differ by at most 3 %.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from prealign.lexicon import Lexicon
from prealign.methods.phase import Inputs, Method, Phase, main_phase
from prealign.methods.switching.rewriting import CodeSwitching
from prealign.methods.switching.switch import CodeSwitcher
from prealign.methods.switching.table import FORMS, SwitchTable, encode_writable
from prealign.recipe.methods import SwitchSection
from prealign.recipe.section import Section
from prealign.recipe.sections import LexiconSection, PretrainSection
from prealign.text.ragged import Ragged
from prealign.text.words import Tokenizer


def salad_table(tokenizer: Tokenizer, lexicon: Lexicon, table: SwitchTable) -> SwitchTable:
    """Return the lexicon's `table` with all words of a language, in the entry's form, as the translations of each slot."""
    form = np.repeat(table.forms, table.languages_of_entry)
    first, senses = np.zeros_like(table.first_sense), np.zeros_like(table.senses)
    rows: list[np.ndarray] = []
    for number, language in np.unique(np.stack([form, table.slot_language], axis=1), axis=0).tolist():
        (cased, context), target = FORMS[number], table.targets[language]
        words = dict.fromkeys(cased(sense, target) for group in lexicon for sense in group.translations.get(target, ()))
        pool = [ids for ids in encode_writable(tokenizer, [*words], target, context) if len(ids)]
        slots = (form == number) & (table.slot_language == language)
        first[slots], senses[slots] = len(rows), len(pool)
        rows += pool
    return replace(table, first_sense=first, senses=senses, translations=Ragged.of(rows))


class SaladSwitcher(CodeSwitcher):
    """Replaces the words that a `CodeSwitcher` of the same settings does, by random words of the same languages."""

    def __init__(self, tokenizer: Tokenizer, lexicon: Lexicon, **switching: Any) -> None:
        super().__init__(tokenizer, lexicon, **switching)
        self.table = salad_table(tokenizer, lexicon, self.table)


class WordSalad(CodeSwitching):
    """The rewriting of code-switching with random words."""

    name = "word salad"
    switcher = SaladSwitcher


class Salad(Method):
    """Joint training with known words replaced by random target words: the control of code-switching."""

    label: ClassVar[str] = "Word salad"
    description: ClassVar[str] = "known words replaced by random target words at the dose of code-switching"
    citation: ClassVar[str] = "Macaroni: the control with random target words. arXiv:2609.30535"

    class Settings(Section):
        """The dose and mode are those of code-switching: `switch` of the recipe, which variants may change."""

        switch: SwitchSection
        pretrain: PretrainSection
        lexicon: LexiconSection

    def phases(self, settings: Settings, inputs: Inputs) -> list[Phase]:
        """Return the main phase; with `switch.ratio` 0 it is that of joint training."""
        rewriting = WordSalad(settings.switch, inputs, maximum_senses=settings.lexicon.maximum_senses)
        return [main_phase(settings.pretrain, rewriting=rewriting if settings.switch.ratio else None)]
