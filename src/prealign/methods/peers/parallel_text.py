"""Parallel text as documents, at the beginning, throughout or at the end of pretraining (Just Go Parallel).

1. A document is a sentence, a newline and its translation. The source sentence comes first in every second document.
2. `share` of the steps read blocks of such documents. The other steps read the mixture of joint training.
3. `place` decides which steps read them: the first, the last, or blocks spread evenly over all steps (`spread`).

All steps share one learning-rate schedule. Arms that differ only in `place` read the same blocks in another order. A step
has the FLOPs of joint training, so the arm has as many steps as joint training.

[choice] `place: last` was best in the paper. `share: 0.1` is the paper's last tenth of the steps.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from prealign.methods.phase import BitextShare, Inputs, Method, Phase, main_phase, required_bitext
from prealign.recipe.section import Section
from prealign.recipe.sections import PretrainSection


class ParallelText(Method):
    """Joint training that reads parallel text in a share of its steps."""

    label: ClassVar[str] = "Parallel text"
    description: ClassVar[str] = "joint training, sentences and their translations as documents in a share of the steps"
    citation: ClassVar[str] = (
        "Qorib, Li, Ng: Just Go Parallel: Improving the Multilingual Capabilities of Large Language Models. ACL 2025. "
        "arXiv:2506.13044"
    )

    class Settings(Section):
        """How much parallel text is read, and when."""

        pretrain: PretrainSection
        share: Annotated[float, Field(gt=0, le=1)] = 0.1
        """Share of the steps that read parallel text, rounded to whole steps, at least one."""
        place: Literal["first", "spread", "last"] = "last"
        """Which steps read it: the first, the last, or steps spread evenly over the phase."""

    def phases(self, settings: Settings, inputs: Inputs) -> list[Phase]:
        """Return the main phase. RecipeError for a recipe without parallel text."""
        required_bitext(inputs, "parallel_text")
        return [main_phase(settings.pretrain, bitext=BitextShare(settings.share, settings.place))]
