"""The multi-positive contrastive loss over word states, layer by layer, in tiles.

With unit-normalised h and s(i,j) = h_i · h_j / tau:

    loss_l = mean over anchors i that have a positive of
             mean over positives p of i of  -log( exp s(i,p) / (exp s(i,p) + sum over negatives n of i of exp s(i,n)) )

1. Positives of i are the other forms of its group; negatives are all forms of other groups.
2. Excluded from both: i itself, and every pair marked in `excluded` (same surface, related groups).
3. -log(e^p / (e^p + sum e^n)) = softplus(logsumexp_n s(i,n) - s(i,p)), which never forms the quotient.
4. A tile is a few anchors against all forms. It holds all that its anchors need, so it yields its part of the loss and of
   the gradient at once and is forgotten: nothing (W, W) is ever kept, and no similarity is computed twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

# L layers, W word forms, D width, R anchors of a tile, P positive pairs of a tile, G groups, g groups of a tile

TILE = 2**22
"""Similarities of a tile: 16 MiB in float32, few beside any model and enough to be multiplied at full speed."""


_LEAST_LENGTH = 1e-12  # of `torch.nn.functional.normalize`


class ExcludedPairs:
    """Pairs with the same surface, and pairs of *related* groups (groups that share a surface), a few rows at a time.

    groups, surfaces (W,) int. Such pairs may well be translations of each other, so they are no evidence against it.
    """

    def __init__(self, groups: Tensor, surfaces: Tensor) -> None:
        self._groups, self._group = groups.unique(return_inverse=True)  # (G,), (W,)
        self._surfaces, self._surface = surfaces.unique(return_inverse=True)

    def __getitem__(self, rows: slice) -> Tensor:
        """Return these rows (R, W) of the bool matrix of all pairs."""
        group, surface = self._group, self._surface
        tile, row = group[rows].unique(return_inverse=True)  # (g,), (R,)
        numbers = torch.arange(len(tile), device=group.device)
        number = torch.full_like(self._groups, -1).index_copy(0, tile, numbers)[group]  # (W,), -1: not of this tile
        mine = number >= 0
        has = torch.zeros(len(tile), len(self._surfaces), dtype=torch.bool, device=group.device)
        has[number[mine], surface[mine]] = True
        # A group of the tile, and a form that is written like its own:
        one, form = has[:, surface].nonzero(as_tuple=True)
        related = torch.zeros(len(tile), len(self._groups), dtype=torch.bool, device=group.device)
        related[one, group[form]] = True
        related[numbers, tile] = False
        return related[row][:, group] | (surface[rows, None] == surface)


class WordAlignmentLoss(nn.Module):
    """L_align (docs/method.md): the mean over layers of the loss above. temperature: tau > 0, else ValueError.

    tile: about how many similarities exist at once.
    """

    def __init__(self, temperature: float = 0.1, *, tile: int = TILE) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        self.temperature, self.tile = temperature, tile

    def forward(self, states: Tensor, groups: Tensor, excluded: Tensor | ExcludedPairs | None = None) -> Tensor:
        """Return the scalar loss of word states.

        states (L, W, D), float; groups (W,) int, equal for forms that translate each other; excluded (W, W) bool or
        `ExcludedPairs`, pairs that are neither positive nor negative. Without any positive pair the loss is 0, with a graph.
        """
        if states.ndim != 3 or groups.shape != states.shape[1:2]:
            raise ValueError(f"expected states (L, W, D) and groups (W,), got {states.shape} and {groups.shape}")
        states = states.to(torch.promote_types(states.dtype, torch.float32))
        with torch.autocast(states.device.type, enabled=False):
            loss: Tensor = _Contrast.apply(states, groups, excluded, self.temperature, self.tile)
        return loss


class _Contrast(torch.autograd.Function):
    """The loss of states (L, W, D); its gradient is made with it, tile by tile, and is all that the backward pass needs."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, groups: Tensor, excluded: Any, temperature: float, tile: int) -> Tensor:
        length = states.norm(dim=-1, keepdim=True).clamp_min(_LEAST_LENGTH)  # (L, W, 1)
        unit = states / length
        loss, anchors = states.new_zeros(()), groups.new_zeros(())
        gradient = torch.zeros_like(unit) if ctx.needs_input_grad[0] else None
        size = max(1, tile // max(1, len(groups)))
        for begin in range(0, len(groups), size):
            rows = slice(begin, begin + size)
            pairs = _Pairs.of(groups, excluded, rows)
            anchors += pairs.anchors
            for layer, h in enumerate(unit):
                own = h[rows] / temperature  # (R, D)
                part, slope = pairs.score(own @ h.T)  # (), (R, W)
                loss += part
                if gradient is None:
                    continue
                if size >= len(groups):
                    # Anchors and forms are the same: one product instead of two.
                    torch.mm(slope + slope.T, own, out=gradient[layer])
                else:
                    _add_product(gradient[layer], slope.T, own)
                    _add_product(gradient[layer, rows], slope, h, 1 / temperature)
        scale = 1 / (len(unit) * anchors.clamp(min=1).to(unit.dtype))
        if gradient is not None:
            # In place: one layer's worth of extra memory.
            for g, h, norm in zip(gradient, unit, length, strict=True):  # (W, D)
                g.sub_(h * (g * h).sum(-1, keepdim=True)).mul_(scale / norm)
            ctx.save_for_backward(gradient)
        return loss * scale

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return outer[0] * gradient, None, None, None, None


def _add_product(total: Tensor, a: Tensor, b: Tensor, factor: float = 1.0) -> None:
    # Not `addmm_`, whose FLOPs `torch.utils.flop_counter` passes over.
    torch.addmm(total, a, b, alpha=factor, out=total)


@dataclass(frozen=True)
class _Pairs:
    """What the forms are to the anchors of a tile, the same in every layer."""

    anchor: Tensor  # (P,) row of the tile
    partner: Tensor  # (P,) form
    positives: Tensor  # (P,) number of positives of its anchor, by which each counts less
    not_negative: Tensor  # (R, W)
    anchors: Tensor  # () number of rows that have a positive

    @classmethod
    def of(cls, groups: Tensor, excluded: Any, rows: slice) -> _Pairs:
        """Tell the pairs of these rows apart."""
        same_group = groups[rows, None] == groups  # (R, W)
        forms = torch.arange(len(groups), device=groups.device)
        left_out = forms[rows, None] == forms
        if excluded is not None:
            left_out |= excluded[rows]
        positive = same_group & ~left_out
        anchor, partner = positive.nonzero(as_tuple=True)
        number = positive.sum(1)  # (R,)
        return cls(anchor, partner, number[anchor], same_group | left_out, (number > 0).sum())

    def score(self, similarity: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum of the anchors' losses and its derivative by the similarities (R, W), which takes their place."""
        weight = 1 / self.positives.to(similarity.dtype)  # (P,)
        own = similarity[self.anchor, self.partner]  # (P,)
        similarity.masked_fill_(self.not_negative, torch.finfo(similarity.dtype).min)
        top = similarity.amax(1, keepdim=True)
        exponentials = similarity.sub_(top).exp_()
        total = exponentials.sum(1)  # (R,)
        margin = (top[:, 0] + total.log())[self.anchor] - own  # (P,)
        pull = weight * margin.sigmoid()
        # softplus' = sigmoid, logsumexp' = softmax. A row without negatives has margins so low that it pushes nothing.
        push = torch.zeros_like(total).index_add(0, self.anchor, pull)
        slope = exponentials.mul_((push / total)[:, None])
        slope[self.anchor, self.partner] = -pull
        return (weight * F.softplus(margin)).sum(), slope
