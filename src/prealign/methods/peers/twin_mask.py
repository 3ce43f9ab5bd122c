"""Twin-masked softmax: the translations of a label do not count as wrong answers.

1. The *twins* of a token are the tokens that the lexicon links it to (`prealign.methods.vocabulary.links`), the heaviest
   `twins` of them. A token and its twins belong to different languages.
2. At a label with twins, the denominator of the softmax has each twin scaled by gamma:
       correction = log(1 - (1 - gamma) · Σ p(twin)) = logsumexp(logits, log gamma added to twins) - logsumexp(logits)
   This term is added to L_LM, and is at most 0. gamma 0 takes the twins out of the denominator; 1 is the plain softmax.
3. The sum over the labels of all ranks is divided by the number that L_LM is divided by.

Stage 1 excludes translations from the negatives. This is the same rule for L_LM, whose softmax would push twins apart. The
logits are those of L_LM: there is no further matrix multiplication.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prealign.errors import RecipeError
from prealign.methods.alignment.objective import mean_of_ranks
from prealign.methods.peers.text_rows import loss_memory, row_losses
from prealign.methods.phase import Cost, Inputs, Objective
from prealign.methods.vocabulary.links import TokenLinks, padded, vocabulary_parts
from prealign.recipe.methods import AnchorSection, TwinMaskSection

# B blocks, T tokens, V rows of the output embedding, M labels with twins, k twins of a label, R of a part

_CHANGES_LOGITS = {"final_logit_softcapping": None, "logit_scale": 1, "logits_scaling": 1}
"""Settings by which models change their logits after the output embedding, and the value that leaves them."""


class TwinMask(Objective):
    """The correction of L_LM for twins. Nothing is estimated before the first batch.

    section: gamma and number of twins. anchor: what the parts of the vocabulary and the token links are estimated by.
    text_tokens: tokens of text in a step on one device.
    """

    name = "twin_mask"
    reads_text = True

    def __init__(
        self, section: TwinMaskSection, inputs: Inputs, *, anchor: AnchorSection, text_tokens: int = 0
    ) -> None:
        self.section, self.inputs, self.anchor, self.text_tokens = section, inputs, anchor, text_tokens

    @cached_property
    def twins(self) -> NDArray[Any]:
        """The twins (V, k) of each token, a row of -1 for one without. LexiconError if no token has any."""
        counts, languages = self.inputs.token_counts, self.inputs.languages
        part = vocabulary_parts(counts, languages, self.anchor.frequency_ratio)
        links = TokenLinks.estimate(self.inputs.words, part, em_rounds=self.anchor.em_rounds)
        return padded(links.both_ways, self.section.twins)[0]

    def of_text(self, input_ids: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return rows (M,) of the logits that predict labels with twins, twins (M, k), and the number of labels."""
        predicted = labels.numpy() >= 0
        predicted[:, 0] = False  # predicted from nothing
        place = np.flatnonzero(predicted)
        twins = self.twins[labels.numpy().ravel()[place]]
        known = twins[:, 0] >= 0
        return {
            "rows": torch.from_numpy(place[known] - 1),
            "twins": torch.from_numpy(twins[known]),
            "labels": torch.tensor(float(len(place))),
        }

    # Compiled again for each number of labels otherwise.
    @torch.compiler.disable
    def encode(self, model: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return "corrections" (M,)."""
        logits = batch["text_logits"].flatten(0, 1)
        return {"corrections": row_losses(logits, batch["rows"], _score(batch, self.section.gamma))}

    def loss(self, encoded: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return "twin_mask": the sum of the corrections over the number of labels of L_LM."""
        corrections = encoded["corrections"]
        labels = mean_of_ranks(batch["labels"].to(corrections)).clamp(min=1)
        return {"twin_mask": corrections.sum() / labels}

    def cost(self, model: Any, devices: int = 1, *, freeze_body: bool = False) -> Cost:
        """Return no cost: FLOPs are of products of matrices, and the logits are those of L_LM."""
        return Cost()

    def memory(self, model: Any, devices: int = 1, *, bf16: bool = False) -> float:
        """Return the bytes of a gradient of the logits."""
        return loss_memory(self.text_tokens, model.get_output_embeddings().weight.shape[0], bf16=bf16)

    def check(self, model: Any) -> None:
        """RecipeError if the model changes its logits after the output embedding: the correction would not be exact."""
        for setting, neutral in _CHANGES_LOGITS.items():
            value = getattr(model.config, setting, neutral)
            if value not in (None, neutral):
                raise RecipeError(
                    f"twin_mask needs the logits of the output embedding as they are, and this model changes them: its "
                    f"config has {setting} {value}. Leave out the arms with twin_mask, or choose another model."
                )

    def describe(self) -> dict[str, Any]:
        """Return the settings."""
        own = {"gamma": self.section.gamma, "twins": self.section.twins}
        links = {"frequency_ratio": self.anchor.frequency_ratio, "em_rounds": self.anchor.em_rounds}
        return {"objective": "twin-masked softmax", **own, **links}


def _score(batch: Mapping[str, Tensor], gamma: float) -> Any:
    change = float(np.log(gamma)) if gamma else -torch.inf

    def score(logits: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        twins = batch["twins"][numbers]  # (R, k), a twin perhaps several times: scattered, not added
        masked = logits.scatter(1, twins, logits.gather(1, twins) + change)
        plain, without = logits.logsumexp(1, keepdim=True), masked.logsumexp(1, keepdim=True)
        return (without - plain)[:, 0], (masked - without).exp() - (logits - plain).exp()

    return score
