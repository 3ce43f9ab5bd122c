"""Training loss of a causal LM: cross-entropy of logits (N, V), computed with its gradient a few rows at a time.

1. For each part of R rows: compute float32 probabilities, add the losses of the labels to the sum, write the gradient
   in the precision of the logits, and free the probabilities.
2. The backward pass returns the stored gradient.

float32 tensors thus have R rows and stay in the processor's cache; the stock loss holds several with all N rows. The
value equals that of `transformers.loss.loss_utils.ForCausalLMLoss`. The stock loss itself is used in three cases:
without gradients; under torch.compile, which fuses its steps; and for float16, where the gradient is scaled before its
conversion.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from transformers.loss.loss_utils import ForCausalLMLoss

# N tokens, V rows of the output embedding, R tokens of a part

PART = 2**20
"""Logits in a part on a CPU: 4 MiB in float32, which fits into the cache."""
_DEVICE_PART = 2**25
"""Logits in a part on other devices: 128 MiB in float32, enough to keep the device busy."""


def causal_lm_loss(
    logits: Tensor,
    labels: Tensor | None,
    vocab_size: int,
    num_items_in_batch: Tensor | int | None = None,
    ignore_index: int = -100,
    shift_labels: Tensor | None = None,
    **kwargs: Any,
) -> Tensor:
    """Return the loss of all labels, summed and divided by `num_items_in_batch`; None divides by the number of labels.
    Without any label it is 0 (but NaN where the stock loss computes it without `num_items_in_batch`).

    The signature is that of a model's `loss_function` in transformers. logits (B, T, V). labels (B, T): the label at
    position j is predicted from position j - 1. shift_labels (B, T): labels already moved by one position; they replace
    `labels`.
    """
    if num_items_in_batch is not None:  # 0 in a step whose labels are all ignored, such as later tokens of substitutes
        num_items_in_batch = torch.as_tensor(num_items_in_batch).clamp(min=1)
    if not logits.requires_grad or logits.dtype == torch.float16 or torch.compiler.is_compiling():
        loss: Tensor = ForCausalLMLoss(
            logits, labels, vocab_size, num_items_in_batch, ignore_index, shift_labels, **kwargs
        )
        return loss
    if shift_labels is None:
        assert labels is not None, "the loss needs labels or shift_labels"
        shift_labels = F.pad(labels, (0, 1), value=ignore_index)[..., 1:]
    targets = shift_labels.reshape(-1).to(logits.device)
    items = (targets != ignore_index).sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch
    items = items.to(logits.device)
    return _TokenLoss.apply(logits.reshape(-1, vocab_size), targets, items, ignore_index)


class _TokenLoss(torch.autograd.Function):
    """Cross-entropy of logits (N, V) and targets (N,), summed and divided by `items`."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, items: Any, ignore_index: int) -> Tensor:
        gradient = torch.empty_like(logits)
        precise = torch.promote_types(logits.dtype, torch.float32)
        total = torch.zeros((), dtype=precise, device=logits.device)
        counts = targets != ignore_index
        target = torch.where(counts, targets, 0)[:, None]  # (N, 1)
        for part, slope, place, counted in zip(
            *(t.split(_rows(logits)) for t in (logits, gradient, target, counts)), strict=True
        ):
            p = part.to(precise, copy=True)  # (R, V)
            p -= p.amax(1, keepdim=True)
            margin = p.gather(1, place).masked_fill_(~counted[:, None], 0)
            sums = p.exp_().sum(1, keepdim=True)
            weight = counted[:, None].to(precise) / items
            total += ((sums.log() - margin) * weight).sum()
            p.mul_(weight / sums).scatter_add_(1, place, -weight)
            slope.copy_(p)
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        # The factor is mostly 1. On a CPU testing for 1 is cheaper than scaling; on other devices it would synchronise.
        if outer[0].device.type == "cpu" and bool(outer[0] == 1):
            return gradient, None, None, None
        scaled = torch.empty_like(gradient)
        for part, slope in zip(gradient.split(_rows(gradient)), scaled.split(_rows(gradient)), strict=True):
            slope.copy_(part.to(outer[0].dtype) * outer[0])
        return scaled, None, None, None


def _rows(logits: Tensor) -> int:
    return max(1, (PART if logits.device.type == "cpu" else _DEVICE_PART) // logits.shape[1])
