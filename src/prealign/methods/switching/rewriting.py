"""Code-switching of a whole mixture: a switcher for source text and, where asked, one for each language of target text.

1. Source text is switched by the words for training and their forms.
2. Target text is switched by the same words, inverted, with as many senses each: of a frequent target word that translates
   many source words, the most frequent alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import xxhash

from prealign.methods.phase import Inputs
from prealign.methods.schedule import Schedule
from prealign.methods.switching.switch import CodeSwitcher
from prealign.recipe.methods import SwitchSection


class CodeSwitching:
    """Rewrites the source's documents and, with `switch.target_ratio`, the targets'. Nothing is made before `rewriters`.

    Subclasses replace words by something else: they give another `name` and class of `switcher`.
    """

    name: ClassVar[str] = "code-switching"
    switcher: ClassVar[type[CodeSwitcher]] = CodeSwitcher

    def __init__(self, section: SwitchSection, inputs: Inputs, *, maximum_senses: int) -> None:
        self.section, self.inputs, self.maximum_senses = section, inputs, maximum_senses

    def rewriters(self) -> Mapping[str, CodeSwitcher]:
        """Return the switchers, by language of the text."""
        section, inputs = self.section, self.inputs
        source, *targets = inputs.languages
        lexicon, schedule = inputs.switching_lexicon, Schedule.of(section.schedule)
        common: dict[str, Any] = {"mode": section.mode, "schedule": schedule}
        made = {
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
                # A seed for each language, or row i of every language would be switched at the same words.
                seed = xxhash.xxh32_intdigest(target.encode(), seed=inputs.seed)
                made[target] = self.switcher(
                    inputs.tokenizer, inverted, ratio=section.target_ratio, source=target, seed=seed, **common
                )
        return made

    def describe(self) -> dict[str, Any]:
        """Return the settings."""
        return {"rewriting": self.name, **self.section.model_dump()}
