"""The interface of a coupled optimiser: rows of the embeddings that share what AdamW keeps of them."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Protocol

import numpy as np


class Coupling(Protocol):
    """Rows of the embeddings that share their second moment in AdamW."""

    @abstractmethod
    def groups(self, rows: int) -> np.ndarray:
        """Return the group (V,) of each of the `rows` rows of an embedding, numbers below V."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return the coupling's settings as JSON values."""
