"""The cost of training, in FLOPs and tokens, of a step or of a whole phase."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """Cost of a step on one device: all FLOPs, the tokens read, and the part of the FLOPs that is always float32."""

    flops: float = 0
    tokens: float = 0
    float32_flops: float = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.flops + other.flops, self.tokens + other.tokens, self.float32_flops + other.float32_flops)

    def __mul__(self, steps: float) -> Cost:
        return Cost(self.flops * steps, self.tokens * steps, self.float32_flops * steps)

    def __truediv__(self, steps: float) -> Cost:
        return Cost(self.flops / steps, self.tokens / steps, self.float32_flops / steps)
