"""What a model's forward does while it trains, other than its class's.

1. `replace_forward` gives one instance a forward of its own; name, signature and checkpoints stay those of its class.
2. `training_forward` puts liger-kernel's in place, if the recipe asks for it, and lets a step return its loss alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from transformers.integrations.liger import apply_liger_kernel
from transformers.modeling_outputs import CausalLMOutput

LIGER = ("use_liger_kernel", "liger_kernel_config")
"""Settings of `trainer` that are followed here: the Trainer would put the forward over ours, and into classifiers too."""


def replace_forward(model: Any, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Any:
    """Give this instance the forward that `make` returns for the one it has, both with `self`. Returns the model.

    Its class becomes a subclass of the same name, so checkpoints are those of the class it was.
    """
    cls = type(model)
    own = vars(model).pop("forward", None)  # an instance's own would win over its class's
    inner = own.__func__ if own else cls.forward
    # `wraps` keeps the signature, from which the Trainer learns about labels and loss arguments.
    forward = wraps(inner)(make(inner))
    model.__class__ = type(cls.__name__, (cls,), {"forward": forward, "__module__": cls.__module__})
    return model


def training_forward(model: Any, trainer: Mapping[str, Any]) -> Any:
    """Give this model the forward of a training stage. Returns the model. trainer: the recipe's.

    In training, and asked for a loss, it returns nothing else: logits would be kept to the end of the step, and under
    autocast Accelerate would convert them to float32, for nobody.
    """
    if trainer.get("use_liger_kernel"):
        apply_liger_kernel(model, trainer.get("liger_kernel_config"))

    def loss_alone(inner: Callable[..., Any]) -> Callable[..., Any]:
        def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
            output = inner(self, *args, **kwargs)
            return CausalLMOutput(loss=output.loss) if self.training and output.loss is not None else output

        return forward

    return replace_forward(model, loss_alone)
