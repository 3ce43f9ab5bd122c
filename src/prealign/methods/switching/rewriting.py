"""Code-switching of the whole mixture: one switcher for source text and, optionally, one for each target language.

1. Source text is switched with the switching lexicon: the training words and their inflected forms.
2. Target text is switched (`switch.target_ratio` above 0) with the inverted switching lexicon. A target word may
   translate many source words; the most frequent ones are kept, at most `maximum_senses`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import xxhash

from prealign.methods.phase import Inputs, Rewriting
from prealign.methods.schedule import Schedule
from prealign.methods.switching.switch import CodeSwitcher
from prealign.recipe.methods import SwitchSection


class CodeSwitching(Rewriting):
    """Switches source documents and, with `switch.target_ratio`, target documents. `rewriters` builds the switchers.

    maximum_senses: translations kept for a word of target text. A subclass with another `name` and class of `switcher`
    replaces words by something else.
    """

    name: ClassVar[str] = "code-switching"
    switcher: ClassVar[type[CodeSwitcher]] = CodeSwitcher

    def __init__(self, section: SwitchSection, inputs: Inputs, *, maximum_senses: int) -> None:
        self.section, self.inputs, self.maximum_senses = section, inputs, maximum_senses

    def rewriters(self) -> Mapping[str, CodeSwitcher]:
        """Return the switchers by language of the text."""
        section, inputs = self.section, self.inputs
        source, *targets = inputs.languages
        lexicon, schedule = inputs.switching_lexicon, Schedule.of(section.schedule)
        common: dict[str, Any] = {"mode": section.mode, "schedule": schedule}
        switchers = {
            source: self.switcher(
                inputs.tokenizer,
                lexicon,
                ratio=section.ratio,
                source=source,
                weights=section.targets or None,
                seed=inputs.seed,
                **common,
            )
        }
        for target in targets if section.target_ratio else ():
            inverted = lexicon.inverted(target).limit_senses(self.maximum_senses)
            if len(inverted):
                # One seed per language: otherwise document i has the same draws in every language.
                seed = xxhash.xxh32_intdigest(target.encode(), seed=inputs.seed)
                switchers[target] = self.switcher(
                    inputs.tokenizer, inverted, ratio=section.target_ratio, source=target, seed=seed, **common
                )
        return switchers

    def describe(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return {"rewriting": self.name, **self.section.model_dump()}
