"""Bilingual next word: predict the translation of the next word as well (the causal form of WEAM).

1. Find the labels of the text that have a translation, by tokens or by words (`translated_labels`). Keep a share of them.
2. Score the logits that predict such a label also on its translations t, with shares q(t):
       loss = -Σ_t q(t) · log softmax(logits within the translation's part of the vocabulary)(t)
   The part of a target language holds the tokens that its text has far more often than the source's. Labels of target
   text are scored within the rest.
3. The loss of a step is the mean over the labels of all ranks.

The ordinary softmax does not change, so the model does not learn to mix languages, as it does in vanilla code-switching.
The logits are those of L_LM: there is no further matrix multiplication. A draw depends only on the seed and the tokens of
its block.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
import xxhash
from numpy.typing import NDArray
from torch import Tensor

from prealign.methods.alignment.objective import mean_of_ranks
from prealign.methods.peers.text_rows import loss_memory, row_losses
from prealign.methods.peers.translated_labels import TokenTranslator, Translator, WordTranslator
from prealign.methods.phase import Cost, Inputs, Objective
from prealign.methods.vocabulary.links import REST, TokenLinks, vocabulary_parts
from prealign.recipe.methods import AnchorSection, NextWordSection

# B blocks, T tokens, V rows of the output embedding, M labels with a translation, k translations of a label, R of a part


class NextWord(Objective):
    """The loss on translations of the next word. Nothing is estimated before the first batch.

    section: level, share and number of translations. anchor: what the parts of the vocabulary and the token links are
    estimated by. maximum_senses: translations of a target word. text_tokens: tokens of text in a step on one device.
    """

    name = "next_word"
    reads_text = True

    def __init__(
        self,
        section: NextWordSection,
        inputs: Inputs,
        *,
        anchor: AnchorSection,
        maximum_senses: int = 4,
        text_tokens: int = 0,
    ) -> None:
        self.section, self.inputs, self.anchor = section, inputs, anchor
        self.maximum_senses, self.text_tokens = maximum_senses, text_tokens

    @cached_property
    def part(self) -> NDArray[Any]:
        """The part (V,) of the vocabulary that each token belongs to."""
        return vocabulary_parts(self.inputs.token_counts, self.inputs.languages, self.anchor.frequency_ratio)

    @cached_property
    def translator(self) -> Translator:
        """What finds the translations of labels. LexiconError if the lexicon has none."""
        section, inputs = self.section, self.inputs
        if section.level == "token":
            links = TokenLinks.estimate(inputs.words, self.part, em_rounds=self.anchor.em_rounds)
            return TokenTranslator(links, keep=section.translations, symmetric=section.symmetric)
        return WordTranslator(
            inputs.tokenizer,
            inputs.switching_lexicon,
            self.part,
            tuple(inputs.languages[1:]),
            maximum_senses=self.maximum_senses,
            symmetric=section.symmetric,
        )

    def of_text(self, input_ids: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return rows and part (M,), tokens and weights (M, k): the logits that predict, and what they are scored on."""
        ids, share = input_ids.numpy(), self.section.share
        draws = block_draws(ids, self.inputs.seed)
        found = self.translator.find(ids, labels.numpy(), draws < share, np.minimum(draws / share, 1 - 2.0**-53))
        return {
            "rows": torch.from_numpy(found.place - 1),
            "part": torch.from_numpy(found.part),
            "tokens": torch.from_numpy(found.tokens),
            "weights": torch.from_numpy(found.weights.astype(np.float32)),
        }

    # Compiled again for each number of labels otherwise.
    @torch.compiler.disable
    def encode(self, model: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return "losses" (M,)."""
        logits = batch["text_logits"].flatten(0, 1)
        vocabulary = logits.new_full(
            (logits.shape[1],), REST - 1, dtype=torch.long
        )  # rows that are no token: in no part
        vocabulary[: len(self.part)] = torch.from_numpy(self.part)
        return {"losses": row_losses(logits, batch["rows"], _score(batch, vocabulary))}

    def loss(self, encoded: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return "next_word": the mean over the labels of all ranks, 0 without any."""
        losses = encoded["losses"]
        return {"next_word": losses.sum() / mean_of_ranks(losses.new_tensor(float(len(losses)))).clamp(min=1)}

    def cost(self, model: Any, devices: int = 1, *, freeze_body: bool = False) -> Cost:
        """Return no cost: FLOPs are of products of matrices, and the logits are those of L_LM."""
        return Cost()

    def memory(self, model: Any, devices: int = 1, *, bf16: bool = False) -> float:
        """Return the bytes of a gradient of the logits."""
        return loss_memory(self.text_tokens, model.get_output_embeddings().weight.shape[0], bf16=bf16)

    def describe(self) -> dict[str, Any]:
        """Return the settings."""
        section = self.section
        of_level: dict[str, Any] = {"maximum_senses": self.maximum_senses}
        if section.level == "token":
            of_level = {"translations": section.translations, "em_rounds": self.anchor.em_rounds}
        return {
            "objective": "bilingual next word",
            "level": section.level,
            "symmetric": section.symmetric,
            "share": section.share,
            "frequency_ratio": self.anchor.frequency_ratio,
            **of_level,
        }


def block_draws(ids: NDArray[Any], seed: int) -> NDArray[np.float64]:
    """Return uniform numbers in [0, 1) for blocks (B, T), which depend on the seed and the tokens of the block alone."""
    streams = [xxhash.xxh64_intdigest(np.ascontiguousarray(block).tobytes(), seed=seed) for block in ids]
    return np.stack(
        [np.random.Generator(np.random.Philox(key=[stream, seed])).random(ids.shape[1]) for stream in streams]
    )


def _score(batch: Mapping[str, Tensor], vocabulary: Tensor) -> Any:
    def score(logits: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        tokens, weights = batch["tokens"][numbers], batch["weights"][numbers].to(logits.dtype)  # (R, k)
        outside = vocabulary != batch["part"][numbers, None]  # (R, V)
        log_shares = logits.masked_fill(outside, -torch.inf).log_softmax(1)
        losses = -(weights * log_shares.gather(1, tokens)).sum(1)
        return losses, log_shares.exp().scatter_add(1, tokens, -weights)

    return score
