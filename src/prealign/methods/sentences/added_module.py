"""A module that an objective adds to the model while a phase trains.

1. `apply` registers the module under a name. Its parameters are trained with the model's; its buffers are state.
2. Checkpoints within the phase hold both, so a resumed run continues with the same state.
3. `export` removes the module: the checkpoint of the phase is plain.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from prealign.methods.memory import FLOAT
from prealign.methods.phase import Cost, Initialisation


class AddedModule(Initialisation):
    """Adds `make(model)` to the model as the attribute `name`.

    start: returns the cost of what the module needs before the first step; None for none.
    """

    def __init__(self, name: str, make: Callable[[Any], nn.Module], start: Callable[[Any], Cost] | None = None) -> None:
        self.name, self.make, self.start = name, make, start

    def apply(self, model: Any, *, fresh: bool) -> None:
        """Register the module. The model's outputs do not change."""
        assert not hasattr(model, self.name), f"the model has an attribute {self.name!r} of its own"
        model.add_module(self.name, self.make(model))

    def export(self, model: Any) -> None:
        """Remove the module."""
        delattr(model, self.name)

    def cost(self, model: Any) -> Cost:
        """Return the cost of what the module needs before the first step."""
        return self.start(model) if self.start else Cost()

    def memory(self, model: Any) -> float:
        """Return the bytes of the module, with the gradients and optimiser states of its parameters."""
        module = self.make(model)
        trained = sum(parameter.numel() for parameter in module.parameters())
        return float(FLOAT * (4 * trained + sum(buffer.numel() for buffer in module.buffers())))

    def describe(self) -> dict[str, Any]:
        """Return the name; the objective describes the settings."""
        return {"initialisation": f"module {self.name}"}

    @property
    def unshardable(self) -> str | None:
        """FSDP cannot spread the module."""
        return f"adds the module {self.name}, which FSDP cannot spread over devices"
