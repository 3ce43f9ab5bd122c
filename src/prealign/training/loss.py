"""The loss of a causal LM in training: cross-entropy of logits (N, V) and its gradient, a few rows at a time.

1. Of some rows make float32 probabilities, add up the losses of their labels, and write the gradient in the precision of the
   logits. Then forget them.
2. The backward pass has the gradient ready.

So float32 tensors have some rows each and stay in the processor's cache, where the stock loss has several of all rows. The
value is that of `transformers.loss.loss_utils.ForCausalLMLoss`, which is called where this does not do: without gradients;
compiled, as the compiler joins the stock loss's steps itself; and for float16, whose gradients are scaled only later.
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
"""Logits of a part: 4 MiB in float32, which a processor's cache holds."""
_DEVICE_PART = 2**25
"""The same on other devices: 128 MiB, enough to keep one busy."""


def causal_lm_loss(
    logits: Tensor,
    labels: Tensor | None,
    vocab_size: int,
    num_items_in_batch: Tensor | int | None = None,
    ignore_index: int = -100,
    shift_labels: Tensor | None = None,
    **kwargs: Any,
) -> Tensor:
    """Return the sum of the losses of all labels over `num_items_in_batch`, or their mean: a model's `loss_function`.

    logits (B, T, V), labels (B, T): the label at position j is predicted from j - 1. shift_labels: those that are so moved.
    """
    if not logits.requires_grad or logits.dtype == torch.float16 or torch.compiler.is_compiling():
        loss: Tensor = ForCausalLMLoss(
            logits, labels, vocab_size, num_items_in_batch, ignore_index, shift_labels, **kwargs
        )
        return loss
    if shift_labels is None:
        assert labels is not None, "a loss without labels is asked for"
        shift_labels = F.pad(labels, (0, 1), value=ignore_index)[..., 1:]
    targets = shift_labels.reshape(-1).to(logits.device)
    items = (targets != ignore_index).sum() if num_items_in_batch is None else num_items_in_batch
    if isinstance(items, Tensor):
        items = items.to(logits.device)
    return _TokenLoss.apply(logits.reshape(-1, vocab_size), targets, items, ignore_index)


class _TokenLoss(torch.autograd.Function):
    """Cross-entropy of logits (N, V) and targets (N,), summed and divided by a number of items."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, items: Any, ignore_index: int) -> Tensor:
        gradient = torch.empty_like(logits)
        precise = torch.promote_types(logits.dtype, torch.float32)
        total = torch.zeros((), dtype=precise, device=logits.device)
        counts = targets != ignore_index
        target = torch.where(counts, targets, 0)[:, None]  # (N, 1)
        for own, slope, place, counted in zip(
            *(t.split(_rows(logits)) for t in (logits, gradient, target, counts)), strict=True
        ):
            p = own.to(precise, copy=True)  # (R, V)
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
        # Mostly there is nothing to scale, and on a CPU it costs less to look than to do it.
        if outer[0].device.type == "cpu" and bool(outer[0] == 1):
            return gradient, None, None, None
        scaled = torch.empty_like(gradient)
        for own, slope in zip(gradient.split(_rows(gradient)), scaled.split(_rows(gradient)), strict=True):
            slope.copy_(own.to(outer[0].dtype) * outer[0])
        return scaled, None, None, None


def _rows(logits: Tensor) -> int:
    return max(1, (PART if logits.device.type == "cpu" else _DEVICE_PART) // logits.shape[1])
