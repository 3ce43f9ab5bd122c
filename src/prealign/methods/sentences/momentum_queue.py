"""A slow copy of weights, and a queue of the keys that it has computed: the state of a momentum contrast (MoCo).

1. The slow copy follows the weights: slow = m · slow + (1 - m) · weights.
2. The queue holds the newest `size` keys. New keys replace the oldest.
3. Both are buffers, so they are part of checkpoints. They are float32 even if the model is not: in bf16 the small steps of
   the slow copy would be lost.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

# K keys in the queue, D width, P numbers of all weights, S new keys


class MomentumQueue(nn.Module):
    """Starts with a copy of `weights` and an empty queue of `size` keys of width D."""

    slow: Tensor
    queue: Tensor
    pushed: Tensor

    def __init__(self, weights: Mapping[str, Tensor], *, width: int, size: int, momentum: float) -> None:
        super().__init__()
        self.momentum, self.shapes = momentum, {name: weight.shape for name, weight in weights.items()}
        parts = [weight.detach().reshape(-1) for weight in weights.values()]
        flat = torch.cat([part.to(torch.promote_types(part.dtype, torch.float32)) for part in parts])
        self.register_buffer("slow", flat)  # (P,)
        self.register_buffer("queue", flat.new_zeros(size, width))  # (K, D)
        self.register_buffer("pushed", torch.zeros((), dtype=torch.int64))

    @property
    def full(self) -> bool:
        """Whether the queue has been filled."""
        return int(self.pushed) >= len(self.queue)

    @property
    def weights(self) -> dict[str, Tensor]:
        """The slow copy by the names of the weights: views of one tensor."""
        parts = self.slow.split([shape.numel() for shape in self.shapes.values()])
        return {name: part.view(shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}

    @torch.no_grad()
    def follow(self, weights: Mapping[str, Tensor]) -> None:
        """Move the slow copy towards the weights."""
        for name, part in self.weights.items():
            part.lerp_(weights[name].to(part), 1 - self.momentum)

    @torch.no_grad()
    def push(self, keys: Tensor) -> None:
        """Put keys (S, D) into the queue; of more than K, the last."""
        keys = keys[-len(self.queue) :]
        places = (self.pushed + torch.arange(len(keys), device=self.pushed.device)) % len(self.queue)
        self.queue[places] = keys.to(self.queue)
        self.pushed += len(keys)
