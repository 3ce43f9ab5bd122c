"""Losses of some rows of the text's logits, with their gradients, a few rows at a time.

1. Convert some of the rows to float32. The score returns their losses and the gradients of the losses by the logits.
2. Write the gradients into one tensor of the logits' precision, then release the float32 tensors.
3. The backward pass multiplies each row by the gradient of its loss.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# N positions of the text, V rows of the output embedding, M positions with a loss, R of a part

PART = 2**22
"""Logits of a part: 16 MiB in float32."""

Score = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(logits (R, V) in float32, numbers (R,) of the rows among the M) -> (losses (R,), gradients (R, V))."""


def row_losses(logits: Tensor, rows: Tensor, score: Score) -> Tensor:
    """Return the losses (M,) of the distinct rows (M,) of logits (N, V)."""
    losses: Tensor = _RowLosses.apply(logits, rows, score)
    return losses


def loss_memory(tokens: int, rows: int, *, bf16: bool) -> float:
    """Return the bytes for a text of `tokens` tokens and an output embedding of `rows` rows: gradient and float32 parts."""
    return tokens * rows * (2 if bf16 else 4) + 4 * 4 * min(max(PART, rows), tokens * rows)


class _RowLosses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, rows: Tensor, score: Score) -> Tensor:
        precise = torch.promote_types(logits.dtype, torch.float32)
        losses = torch.empty(len(rows), dtype=precise, device=logits.device)
        gradient = torch.zeros_like(logits)
        size = max(1, PART // logits.shape[1])
        for numbers in torch.arange(len(rows), device=logits.device).split(size):
            own = rows[numbers]
            losses[numbers], slope = score(logits[own].to(precise), numbers)
            gradient[own] = slope.to(gradient.dtype)
        ctx.save_for_backward(gradient, rows)
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        gradient, rows = ctx.saved_tensors
        factor = gradient.new_zeros(len(gradient), dtype=outer[0].dtype).index_copy(0, rows, outer[0])
        return (gradient * factor[:, None]).to(gradient.dtype), None, None
