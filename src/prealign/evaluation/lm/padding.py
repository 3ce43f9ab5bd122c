"""Batches of sequences, padded on the right: no position of a causal model sees the padding after it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor


def right_padded(sequences: Sequence[ArrayLike], device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Return ids and attention mask (B, T), T the longest. Padding has id 0; no scored position sees it."""
    rows = [np.asarray(ids, dtype=np.int64) for ids in sequences]
    ids = np.zeros((len(rows), max(map(len, rows))), dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, sequence in enumerate(rows):
        ids[row, : len(sequence)] = sequence
        mask[row, : len(sequence)] = 1
    return torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)
