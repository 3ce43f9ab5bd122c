"""The multi-positive contrastive loss over word states, layer by layer.

With unit-normalised h and s(i,j) = h_i · h_j / tau:

    loss_l = mean over anchors i that have a positive of
             mean over positives p of i of  -log( exp s(i,p) / (exp s(i,p) + sum over negatives n of i of exp s(i,n)) )

1. Positives of i are the other forms of its group; negatives are all forms of other groups.
2. Excluded from both: i itself, and every pair marked in `excluded` (same surface, related groups).
3. -log(e^p / (e^p + sum e^n)) = softplus(logsumexp_n s(i,n) - s(i,p)), which never forms the quotient.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# L layers, W word forms, D width


class WordAlignmentLoss(nn.Module):
    """L_align of METHOD.md: the mean over layers of the loss above. temperature: tau > 0, else ValueError."""

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        self.temperature = temperature

    def forward(self, states: Tensor, groups: Tensor, excluded: Tensor | None = None) -> Tensor:
        """Return the scalar loss of word states.

        states (L, W, D), float; groups (W,) int, equal for forms that translate each other; excluded (W, W) bool, pairs
        that are neither positive nor negative. Without any positive pair the loss is 0, with a graph.
        """
        if states.ndim != 3 or groups.shape != states.shape[1:2]:
            raise ValueError(f"expected states (L, W, D) and groups (W,), got {states.shape} and {groups.shape}")
        states = states.to(torch.promote_types(states.dtype, torch.float32))
        same_group = groups[:, None] == groups[None, :]  # (W, W)
        left_out = torch.eye(len(groups), dtype=torch.bool, device=groups.device)
        if excluded is not None:
            left_out = left_out | excluded
        positive = same_group & ~left_out
        if not positive.any():
            return states.sum() * 0
        anchor, partner = positive.nonzero(as_tuple=True)  # (P,)
        # Every anchor counts once, however many positives it has.
        weight = 1 / (positive.sum(1)[anchor] * positive.any(1).sum()).to(states.dtype)  # (P,)
        not_negative = same_group | left_out
        with torch.autocast(states.device.type, enabled=False):
            losses = [self._layer(h, anchor, partner, weight, not_negative) for h in states]
        return torch.stack(losses).mean()

    def _layer(self, h: Tensor, anchor: Tensor, partner: Tensor, weight: Tensor, not_negative: Tensor) -> Tensor:
        h = F.normalize(h, dim=-1)  # (W, D)
        similarity = h @ h.T / self.temperature  # (W, W)
        lowest = torch.finfo(similarity.dtype).min
        negatives = similarity.masked_fill(not_negative, lowest).logsumexp(1)  # (W,)
        return (weight * F.softplus(negatives[anchor] - similarity[anchor, partner])).sum()


def excluded_pairs(groups: Tensor, surfaces: Tensor) -> Tensor:
    """Return (W, W) bool: pairs with the same surface, and pairs of *related* groups (groups that share a surface).

    groups, surfaces (W,) int. Such pairs may well be translations of each other, so they are no evidence against it.
    """
    same_surface = surfaces[:, None] == surfaces[None, :]  # (W, W)
    members = F.one_hot(groups.unique(return_inverse=True)[1]).to(torch.float32)  # (W, G)
    related = (members.T @ same_surface.to(members.dtype) @ members) > 0  # (G, G)
    related_pair = (members @ related.to(members.dtype) @ members.T) > 0  # (W, W)
    different = groups[:, None] != groups[None, :]
    return same_surface | (related_pair & different)
