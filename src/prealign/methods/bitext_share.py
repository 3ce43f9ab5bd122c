"""The steps of a phase that read parallel text instead of the mixture, and their places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class BitextShare:
    """Steps of a phase that read parallel text instead of the mixture: each pair of sentences is a document.

    share: of the steps, at least one of them. place: where they are. "spread": as many blocks, evenly over the phase. The
    blocks of parallel text and those of the mixture are the same in all three places; their order differs.
    """

    share: float = 1.0
    place: Literal["first", "spread", "last"] = "spread"

    def positions(self, steps: int, blocks_per_step: int) -> np.ndarray:
        """Return the numbers (n,) of the phase's blocks that are parallel text, in ascending order."""
        total, taken = steps * blocks_per_step, min(steps, max(1, round(self.share * steps))) * blocks_per_step
        number = np.arange(taken)
        if self.place == "spread":
            return (2 * number + 1) * total // (2 * taken)
        return number if self.place == "first" else total - taken + number
