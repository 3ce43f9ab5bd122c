"""States of sentences at one layer of a causal LM, for the losses on sentences and their translations.

1. Run the first `layer` blocks of the body on sentences that are padded on the right: no position of a causal model sees the
   padding after it. Later blocks do not run.
2. A hook keeps the output of block `layer`, the state of Hugging Face's `hidden_states[layer]`: 0 is the embedding, the last
   one comes after the final norm.
3. The state of a sentence is the mean over its tokens, or that of its last token. BOS is no token of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prealign.errors import RecipeError
from prealign.methods.flops import forward_flops_per_token, training_flops
from prealign.methods.memory import saved_bytes
from prealign.methods.phase import Inputs
from prealign.recipe.section import Count, Positive, Section
from prealign.recipe.sections import PretrainSection, TokenizerSection
from prealign.text.tokenizers import document_start

# S sentences, n tokens of the longest, D width, L blocks

Pooling = Literal["mean", "last"]


class SentenceSettings(Section):
    """How sentences are encoded, and the sections of the recipe that this needs."""

    pretrain: PretrainSection
    tokenizer: TokenizerSection
    pairs: Positive = 64
    """Pairs of sentences per device and step."""
    layer: Count | None = None
    """Number of the block whose output is the state of a token; 0: the input embedding. null: the method's own."""


@dataclass(frozen=True)
class SentenceEncoder:
    """Encodes sentences.

    layer: number of a block, None for round(depth · L). bos: token id before each sentence, None for none. method: its name
    in messages. normalised: whether the state of a token is layer-normalised, as after a block of a post-norm encoder.
    """

    method: str
    layer: int | None = None
    depth: float = 1.0
    pooling: Pooling = "mean"
    bos: int | None = None
    normalised: bool = False

    @classmethod
    def of(cls, method: str, settings: SentenceSettings, inputs: Inputs, **more: Any) -> SentenceEncoder:
        """Return the encoder of a method with these settings; more: other fields."""
        bos = document_start(inputs.tokenizer, settings.tokenizer.bos) if inputs.tokenizer else None
        return cls(method, settings.layer, bos=bos, **more)

    def number(self, model: Any) -> int:
        """Return the number of the layer. RecipeError if the model has too few blocks."""
        blocks: int = model.config.num_hidden_layers
        if self.layer is None:
            return round(self.depth * blocks)
        if self.layer > blocks:
            raise RecipeError(
                f"methods.{self.method}.layer is {self.layer}, and the model has {blocks} blocks: lower it"
            )
        return self.layer

    def tokens(self, model: Any, ids: Tensor, weights: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return the states (S, n, D) of tokens (S, n), float32 or above. weights: of the body, in place of its own."""
        layer, skipped = self.number(model), 0 if self.bos is None else 1
        if self.bos is not None:
            ids = F.pad(ids, (1, 0), value=self.bos)
        call = {"input_ids": ids, "use_cache": False}
        with shallow(model, layer) as (body, kept):
            output = body(**call) if weights is None else torch.func.functional_call(body, dict(weights), (), call)
        states: Tensor = (output.last_hidden_state if layer == model.config.num_hidden_layers else kept[0])[:, skipped:]
        states = states.to(torch.promote_types(states.dtype, torch.float32))
        return F.layer_norm(states, states.shape[2:]) if self.normalised else states

    def sentences(
        self, model: Any, ids: Tensor, lengths: Tensor, weights: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Return the states (S, D) of sentences. lengths (S,): their numbers of tokens."""
        return pooled(self.tokens(model, ids, weights), lengths, self.pooling)

    def forward_flops(self, model: Any, tokens: float, length: float) -> float:
        """Return the FLOPs of encoding `tokens` tokens in sentences of `length` tokens."""
        share = max(1, self.number(model)) / model.config.num_hidden_layers
        return share * tokens * forward_flops_per_token(model, length, logits=False)

    def flops(self, model: Any, tokens: float, length: float, *, freeze_body: bool) -> float:
        """Return the FLOPs of encoding and of the backward pass, which begins after block `layer`."""
        whole = training_flops(model, tokens, length, logits=False, freeze_body=freeze_body)
        backward = whole - tokens * forward_flops_per_token(model, length, logits=False)
        share = self.number(model) / model.config.num_hidden_layers
        return self.forward_flops(model, tokens, length) + share * backward

    def memory(self, model: Any, sentences: int, length: float, *, bf16: bool) -> float:
        """Return the bytes of activations that the backward pass needs. model: on the meta device."""
        ids = torch.zeros(sentences, max(1, round(length)), dtype=torch.long)
        return float(saved_bytes(model, lambda fake: self.tokens(fake, ids), bf16=bf16))

    def describe(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        layer = {"depth": round(self.depth, 6)} if self.layer is None else {"layer": self.layer}
        own = {"pooling": self.pooling, "bos": self.bos is not None}
        return {**layer, **own, **({"normalised": True} if self.normalised else {})}


def pooled(states: Tensor, lengths: Tensor, pooling: Pooling) -> Tensor:
    """Return the mean or the last (S, D) of the tokens' states (S, n, D); lengths (S,): the tokens of each sentence."""
    if pooling == "last":
        return states[torch.arange(len(states), device=states.device), lengths - 1]
    own = torch.arange(states.shape[1], device=states.device) < lengths[:, None]  # (S, n), False on padding
    return (states * own[..., None]).sum(1) / lengths[:, None]


@contextmanager
def shallow(model: Any, layer: int) -> Iterator[tuple[Any, list[Tensor]]]:
    """Return the body of `model`, which within the context has only its first `layer` blocks, and a list.

    A forward of the body appends the states (S, n, D) after block `layer` to the list. Layer 0, the input embedding, takes
    one block, whose input it is.
    """
    body, number = model.base_model, model.config.num_hidden_layers
    owner, name, whole = next(
        (module, name, child)
        for module in body.modules()
        for name, child in module.named_children()
        if isinstance(child, nn.ModuleList) and len(child) == number
    )
    blocks, kept = whole[: max(1, layer)], list[Tensor]()

    def keep(block: Any, inputs: tuple[Any, ...], output: Any) -> None:
        kept.append(inputs[0] if layer == 0 else output[0] if isinstance(output, tuple) else output)

    hook = blocks[-1].register_forward_hook(keep)
    setattr(owner, name, blocks)
    try:
        yield body, kept
    finally:
        setattr(owner, name, whole)
        hook.remove()
