"""Embeddings that are computed from weights while a phase trains, and are plain weights again afterwards.

1. `parametrise` registers a module on the input and the output embedding (`torch.nn.utils.parametrize`). It maps the
   trained weights W (V, D) to the embedding E (V, D).
2. Tied embeddings share W and the module, so they stay one matrix.
3. `export_plain` writes E out and removes the module: the model computes the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from prealign.methods.alignment.states import tied
from prealign.methods.memory import FLOAT
from prealign.methods.phase import Initialisation

# V rows of the embedding, D width


def parametrise(model: Any, make: Callable[[Tensor], nn.Module]) -> Any:
    """Compute the embeddings of `model` from their weights. Returns the model.

    make: takes the weight (V, D) of an embedding, may change it in place, and returns the module that maps it to E.
    """
    shared, parametrisation = tied(model), None
    for module in (model.get_input_embeddings(), model.get_output_embeddings()):
        if parametrisation is None or not shared:
            with torch.no_grad():
                parametrisation = make(module.weight).to(module.weight.device)
        # A tied head still holds the same Parameter here, so registering the same module shares W as well.
        parametrize.register_parametrization(module, "weight", parametrisation)
    return model


def export_plain(model: Any) -> Any:
    """Write the embeddings out as ordinary weights and remove the parametrisation; the model computes the same."""
    shared = tied(model)
    parametrize.remove_parametrizations(model.get_input_embeddings(), "weight", leave_parametrized=True)
    # Removing it from the embedding wrote E into the W that a tied head shares.
    parametrize.remove_parametrizations(model.get_output_embeddings(), "weight", leave_parametrized=not shared)
    return model


class ParametrisedVocabulary(Initialisation):
    """An initialisation whose `apply` calls `parametrise`."""

    action: ClassVar[str]
    """The verb and object of "the arm 'X' …" in the message about FSDP, as in "anchors the vocabulary"."""

    def export(self, model: Any) -> None:
        """Write the embeddings out as ordinary weights; the model computes the same."""
        export_plain(model)

    def memory(self, model: Any) -> float:
        """Return the bytes of the rows that are computed from others, of the input and of the output embedding."""
        return 2.0 * FLOAT * model.get_input_embeddings().weight.numel()

    @property
    def unshardable(self) -> str | None:
        """FSDP cannot spread rows that are computed from other rows over devices."""
        return f"{self.action}, which FSDP cannot spread over devices"
