"""FLOPs of a causal LM, counted from its modules, so that budgets of different arms can be matched.

Forward, per token: 2 FLOPs for each weight of a matrix multiplication (all linear layers; the output embedding only
where logits are computed) plus 4 · L · T · D for attention over a context of T, masked or not, as
`torch.utils.flop_counter` counts it. Backward costs twice the forward: once for the gradients of activations, once for
the gradients of weights. A frozen body still passes the gradients of activations down to the input embedding; the
gradients of its weights are neither computed nor counted.

Letters: L layers, T tokens of context, D width.
"""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

BACKWARD = 2


def forward_flops_per_token(model: Any, context: float, *, logits: bool = True) -> float:
    """Return the forward FLOPs of one token in a sequence of `context` tokens. logits: count the output layer."""
    weights = _body_weights(model) + (model.get_output_embeddings().weight.numel() if logits else 0)
    config = model.config
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return 2 * weights + 4 * config.num_hidden_layers * context * config.num_attention_heads * width


def _body_weights(model: Any) -> int:
    head = model.get_output_embeddings()
    return sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Linear | Conv1D) and m is not head)


def training_flops(
    model: Any, tokens: float, context: float, *, logits: bool = True, freeze_body: bool = False
) -> float:
    """Return the FLOPs of forward and backward over `tokens` tokens in sequences of `context` tokens."""
    saved = 2 * _body_weights(model) if freeze_body else 0
    return (1 + BACKWARD) * tokens * forward_flops_per_token(model, context, logits=logits) - tokens * saved
