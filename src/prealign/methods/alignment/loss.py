"""The multi-positive contrastive loss over word states, layer by layer, in tiles.

With unit-normalised h and s(i,j) = h_i · h_j / tau:

    term(i, p) = -log( exp s(i,p) / (exp s(i,p) + sum over negatives n of exp s(i,n)) )
    loss_l     = mean over anchors i with a positive ( mean over positives p of i ( term(i, p) ) )

1. Positives of i are the other forms of its group; negatives are all forms of other groups.
2. Excluded from both: i itself, and every pair marked in `excluded` (same surface, related groups).
3. term(i, p) = softplus(logsumexp_n s(i,n) - s(i,p)), computed without the quotient.
4. A tile holds the similarities of a few anchors to all forms. It is enough for their part of the loss and of the
   gradient. Both are computed at once, then the tile is freed: no (W, W) tensor is kept, and no similarity is computed
   twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

# L layers, W word forms, M members (all forms of the groups), D width, R anchors of a tile, P positive pairs of a tile,
# G groups, g groups of a tile

TILE = 2**22
"""Similarities in a tile: 16 MiB in float32, small beside any model, large enough for full matrix-multiply speed."""


_LEAST_LENGTH = 1e-12  # of `torch.nn.functional.normalize`


class ExcludedPairs:
    """Pairs with the same surface, and pairs from *related* groups (groups that share a surface), a few rows at a time.

    groups, surfaces (W,) int. Such pairs may be translations of each other, so they must not serve as negatives.
    members: groups (M,) and surfaces (M,) of *all* forms of these groups, if the W forms are only some of them: groups are
    related by any form they share. None: the W forms are all.
    """

    def __init__(self, groups: Tensor, surfaces: Tensor, members: tuple[Tensor, Tensor] | None = None) -> None:
        member_groups, member_surfaces = (groups, surfaces) if members is None else members
        self._groups, self._member_group = member_groups.unique(return_inverse=True)  # (G,), (M,)
        self._surfaces, self._member_surface = member_surfaces.unique(return_inverse=True)
        self._group, self._surface = torch.searchsorted(self._groups, groups), surfaces  # (W,)

    def __getitem__(self, rows: slice) -> Tensor:
        """Return the given rows (R, W) of the bool matrix of excluded pairs."""
        group, surface = self._group, self._surface
        member_group, member_surface = self._member_group, self._member_surface
        tile, row = group[rows].unique(return_inverse=True)  # (g,), (R,)
        numbers = torch.arange(len(tile), device=group.device)
        number = torch.full_like(self._groups, -1).index_copy(0, tile, numbers)[member_group]  # (M,), -1: not in tile
        in_tile = number >= 0
        has_surface = torch.zeros(len(tile), len(self._surfaces), dtype=torch.bool, device=group.device)
        has_surface[number[in_tile], member_surface[in_tile]] = True
        # All (group of the tile, member) whose group has the surface of the member:
        tile_group, member = has_surface[:, member_surface].nonzero(as_tuple=True)
        related = torch.zeros(len(tile), len(self._groups), dtype=torch.bool, device=group.device)
        related[tile_group, member_group[member]] = True
        related[numbers, tile] = False
        return related[row][:, group] | (surface[rows, None] == surface)


class WordAlignmentLoss(nn.Module):
    """L_align (docs/method.md): the mean of loss_l (see the module) over the layers.

    temperature: tau, above 0, else ValueError. tile: similarities in memory at once, approximately.
    """

    def __init__(self, temperature: float = 0.1, *, tile: int = TILE) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        self.temperature, self.tile = temperature, tile

    def forward(self, states: Tensor, groups: Tensor, excluded: Tensor | ExcludedPairs | None = None) -> Tensor:
        """Return the scalar loss of word states, in float32 or above.

        states (L, W, D): float. groups (W,): int, equal for forms that translate each other. excluded: (W, W) bool or
        `ExcludedPairs`, the pairs that are neither positive nor negative. Without a positive pair the loss is 0 and
        still has a graph. Other shapes of states or groups are a ValueError.
        """
        if states.ndim != 3 or groups.shape != states.shape[1:2]:
            raise ValueError(f"expected states (L, W, D) and groups (W,), got {states.shape} and {groups.shape}")
        states = states.to(torch.promote_types(states.dtype, torch.float32))
        with torch.autocast(states.device.type, enabled=False):
            loss: Tensor = _Contrast.apply(states, groups, excluded, self.temperature, self.tile)
        return loss


class _Contrast(torch.autograd.Function):
    """The loss of states (L, W, D). The forward pass also computes its gradient, tile by tile, for the backward pass."""

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
                anchor_states = h[rows] / temperature  # (R, D)
                part, slope = pairs.score(anchor_states @ h.T)  # (), (R, W)
                loss += part
                if gradient is None:
                    continue
                if size >= len(groups):
                    # One tile holds all: anchors and forms are the same, so one product replaces two.
                    torch.mm(slope + slope.T, anchor_states, out=gradient[layer])
                else:
                    _add_product(gradient[layer], slope.T, anchor_states)
                    _add_product(gradient[layer, rows], slope, h, 1 / temperature)
        scale = 1 / (len(unit) * anchors.clamp(min=1).to(unit.dtype))
        if gradient is not None:
            # In place, to allocate the extra memory of one layer only.
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
    # `torch.utils.flop_counter` does not count the FLOPs of `addmm_`.
    torch.addmm(total, a, b, alpha=factor, out=total)


@dataclass(frozen=True)
class _Pairs:
    """Positive and negative pairs of a tile's anchors with all forms; they are the same in every layer."""

    anchor: Tensor  # (P,) row of the anchor in the tile
    partner: Tensor  # (P,) number of the positive form
    positives: Tensor  # (P,) number of positives of the anchor; the pair's weight is 1 / positives
    not_negative: Tensor  # (R, W) bool
    anchors: Tensor  # () number of anchors with a positive

    @classmethod
    def of(cls, groups: Tensor, excluded: Any, rows: slice) -> _Pairs:
        """Classify the pairs of the given rows as positive, negative or excluded."""
        same_group = groups[rows, None] == groups  # (R, W)
        forms = torch.arange(len(groups), device=groups.device)
        omitted = forms[rows, None] == forms
        if excluded is not None:
            omitted |= excluded[rows]
        positive = same_group & ~omitted
        anchor, partner = positive.nonzero(as_tuple=True)
        number = positive.sum(1)  # (R,)
        return cls(anchor, partner, number[anchor], same_group | omitted, (number > 0).sum())

    def score(self, similarity: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum of the anchors' losses and its derivative (R, W) by `similarity` (R, W), which is overwritten."""
        weight = 1 / self.positives.to(similarity.dtype)  # (P,)
        positive = similarity[self.anchor, self.partner]  # (P,)
        similarity.masked_fill_(self.not_negative, torch.finfo(similarity.dtype).min)
        top = similarity.amax(1, keepdim=True)
        exponentials = similarity.sub_(top).exp_()
        total = exponentials.sum(1)  # (R,)
        margin = (top[:, 0] + total.log())[self.anchor] - positive  # (P,)
        pull = weight * margin.sigmoid()
        # softplus' = sigmoid, logsumexp' = softmax. Without negatives the margins are near -inf, so `push` is 0.
        push = torch.zeros_like(total).index_add(0, self.anchor, pull)
        slope = exponentials.mul_((push / total)[:, None])
        slope[self.anchor, self.partner] = -pull
        return (weight * F.softplus(margin)).sum(), slope
