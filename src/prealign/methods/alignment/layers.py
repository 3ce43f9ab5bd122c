"""The layers of words' states that a loss or a measure is about, by name."""

from __future__ import annotations

import math

from prealign.recipe.methods import Layers


def layer_slice(layers: Layers, blocks: int) -> slice:
    """Return the slice of the states of all layers. blocks: of the model.

    "output" is the last layer: with tied embeddings, where the states end with the blocks, it does not exist.
    """
    return {
        "all": slice(None),
        "embedding": slice(0, 1),
        "blocks": slice(1, blocks + 1),
        "lower_blocks": slice(1, math.ceil(blocks / 2) + 1),
        "output": slice(-1, None),
    }[layers]


def layer_count(layers: Layers, blocks: int) -> int:
    """Return the number of layers of a model with untied embeddings."""
    return len(range(blocks + 2)[layer_slice(layers, blocks)])
