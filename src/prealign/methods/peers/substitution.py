"""Dictionary substitution (LINK): a part of the source text has many of its words replaced by translations.

1. Draw a share of the source documents, or of the sentences of each document, by (seed, epoch, document).
2. In the drawn text, replace each word of the lexicon with probability `ratio`, as code-switching does
   (`prealign.methods.switching.switch`). The other text does not change.
3. Labels are the inputs (`vanilla`), as in the paper, or those of input-only switching.

A sentence ends with a token that ends in a full stop, question mark, exclamation mark or line break. Quotation marks and
brackets that follow without a space belong to it.

[choice] Share and ratio: their product is the default of `switch.ratio`, 0.05.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from prealign.methods.phase import Inputs, Method, Phase, Rewriting, main_phase
from prealign.methods.switching.switch import CodeSwitcher, Mode, generator_of
from prealign.recipe.section import Section
from prealign.recipe.sections import PretrainSection
from prealign.text.ragged import IntArray

Unit = Literal["documents", "sentences"]
_ENDS = (".", "!", "?", "…", "。", "！", "？", "।", "؟", "\n")
_CLOSING = "\"'”’»)]」』）"


class Substituter(CodeSwitcher):
    """Switches a `share` of the documents, or of each document's sentences; other settings are those of `CodeSwitcher`."""

    def __init__(
        self, tokenizer: Any, lexicon: Any, *, share: float, unit: Unit = "documents", **switching: Any
    ) -> None:
        super().__init__(tokenizer, lexicon, **switching)
        self.share, self.unit = share, unit
        surfaces = self.words.surfaces
        self._ends = np.array([surface.rstrip(_CLOSING).endswith(_ENDS) for surface in surfaces])
        self._closing = np.array([surface != "" and not surface.strip(_CLOSING) for surface in surfaces])

    @property
    def independent(self) -> bool:
        """Whether each word is drawn by itself: only if the whole text is drawn."""
        return self.share == 1 and super().independent

    @property
    def mean_ratio(self) -> float:
        """The probability that a known word is replaced, over the whole text."""
        return self.share * super().mean_ratio

    def draws(self, ids: IntArray, starts: IntArray, epoch: int, document: int) -> NDArray[np.float32]:
        """Return the numbers of `CodeSwitcher.draws`, and 1, which no ratio exceeds, for words of text that is not drawn."""
        unit = np.zeros_like(starts) if self.unit == "documents" else self._sentences(ids)[starts]
        drawn = generator_of(f"{self.seed}/{epoch}/substitution", document).random(len(ids)) < self.share
        return np.where(drawn[unit], super().draws(ids, starts, epoch, document), np.float32(1))

    def _sentences(self, ids: IntArray) -> IntArray:
        """Return the number of the sentence that each token is in."""
        closing = self._closing[ids]
        before = np.maximum.accumulate(np.where(closing, 0, np.arange(len(ids))))  # the last token that closes nothing
        begins = self._ends[ids[before]][:-1] & ~closing[1:]
        return np.append(np.zeros(len(ids[:1]), dtype=np.int64), np.cumsum(begins))


class Substitution(Rewriting):
    """Rewrites source documents. Nothing is made before `rewriters`."""

    def __init__(self, settings: LexicalSubstitution.Settings, inputs: Inputs) -> None:
        self.settings, self.inputs = settings, inputs

    def rewriters(self) -> Mapping[str, Substituter]:
        """Return the rewriter of source text."""
        inputs, source = self.inputs, self.inputs.languages[0]
        knobs = self.settings.model_dump(exclude={"pretrain"})
        return {
            source: Substituter(inputs.tokenizer, inputs.switching_lexicon, source=source, seed=inputs.seed, **knobs)
        }

    def describe(self) -> dict[str, Any]:
        """Return the settings."""
        return {"rewriting": "dictionary substitution", **self.settings.model_dump(exclude={"pretrain"})}


class LexicalSubstitution(Method):
    """Joint training on text of which a part has many words replaced by translations."""

    label: ClassVar[str] = "Dictionary substitution"
    description: ClassVar[str] = "words of a part of the source text replaced by translations, labels too"
    citation: ClassVar[str] = (
        "Sedova, Schluter, Seto, ter Hoeve: Multilingual Knowledge Transfer under Data Constraints via Lexical "
        "Interventions (LINK). 2026. arXiv:2605.23885"
    )

    class Settings(Section):
        """How much of the text is drawn, and how much of that is replaced."""

        pretrain: PretrainSection
        share: Annotated[float, Field(gt=0, le=1)] = 0.25
        """Share of the documents, or sentences, in which words are replaced."""
        unit: Unit = "documents"
        """What is drawn. Short documents, or sentences, keep the realised share near `share`."""
        ratio: Annotated[float, Field(gt=0, le=1)] = 0.2
        """Probability that a known word of these is replaced."""
        mode: Mode = "vanilla"
        """Labels, as in `switch.mode`."""

    def phases(self, settings: Settings, inputs: Inputs) -> list[Phase]:
        """Return the main phase."""
        return [main_phase(settings.pretrain, rewriting=Substitution(settings, inputs))]
