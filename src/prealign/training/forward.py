"""The forward of a model in training. It replaces the forward of one instance, not of its class.

1. `replace_forward` gives one instance another forward. Name, signature and checkpoints stay those of its class.
2. `training_forward` installs the loss of `prealign.training.loss`, or liger-kernel's fused loss if the recipe asks for
   it. A training step returns the loss alone. Other kernels of liger-kernel stay off: they patch the modules of
   transformers, and so every model of the process, also models measured on a CPU.
3. `with_objectives` encodes the batches of the phase's objectives in the same call. Data-parallel and sharded training
   need one wrapped forward. For objectives that read the text, a hook keeps the input and the output of the output
   embedding: there is no second forward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from types import MethodType
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import CausalLMOutput

from prealign.errors import RecipeError
from prealign.methods.phase import Objective
from prealign.training.loss import causal_lm_loss

LIGER = "use_liger_kernel"
"""The field of `trainer` handled here. The stock Trainer would replace our forward with it, and patch classifiers too."""
_KERNELS = ("rope", "rms_norm", "layer_norm", "swiglu", "geglu", "cross_entropy")


def replace_forward(model: Any, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Any:
    """Replace the forward of one instance by `make(forward)`, in place. Both take `self`. Returns the model.

    The class of the instance becomes a subclass with the same name, so checkpoints stay those of the original class.
    """
    cls = type(model)
    bound = vars(model).pop("forward", None)  # a forward set on the instance would hide the forward of the class
    assert bound is None or isinstance(bound, MethodType), "a forward that is no method would be lost"
    inner = bound.__func__ if bound else cls.forward
    # `wraps` keeps the signature: the Trainer reads from it which labels and loss arguments the model takes.
    forward = wraps(inner)(make(inner))
    model.__class__ = type(cls.__name__, (cls,), {"forward": forward, "__module__": cls.__module__})
    return model


def fused_loss(trainer: Mapping[str, Any]) -> bool:
    """Whether the recipe asks for liger-kernel's fused loss (`trainer.use_liger_kernel`)."""
    return bool(trainer.get(LIGER))


def training_forward(model: Any, trainer: Mapping[str, Any]) -> Any:
    """Replace the model's loss and forward for training, in place. Returns the model.

    In training mode, a call with labels returns the loss without logits: nobody reads them, and under autocast
    Accelerate would convert them to float32. The loss is `causal_lm_loss`, or liger-kernel's fused loss, which never
    holds the logits of a whole batch. Raises RecipeError if the recipe asks for the fused loss and liger-kernel does
    not support the model.
    """
    if fused_loss(trainer):
        _fuse_loss(model)
    else:
        model.loss_function = causal_lm_loss

    def loss_alone(inner: Callable[..., Any]) -> Callable[..., Any]:
        def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
            output = inner(self, *args, **kwargs)
            loss = output.get("loss") if isinstance(output, dict) else None
            return CausalLMOutput(loss=loss) if self.training and loss is not None else output

        return forward

    return replace_forward(model, loss_alone)


def _fuse_loss(model: Any) -> None:
    from transformers.integrations.liger import apply_liger_kernel

    apply_liger_kernel(model, dict.fromkeys(_KERNELS, False) | {"fused_linear_cross_entropy": True})
    if "forward" not in vars(model):
        raise RecipeError(
            f"trainer.{LIGER}: liger-kernel has no fused loss for models of type {model.config.model_type!r}. Leave it out."
        )


def check_fused_loss(objectives: Iterable[Objective], trainer: Mapping[str, Any]) -> None:
    """Raise RecipeError if an objective needs the text's logits, which liger-kernel's fused loss never computes."""
    readers = [objective.name for objective in objectives if objective.reads_text]
    if readers and fused_loss(trainer):
        raise RecipeError(
            f"trainer.{LIGER}: liger-kernel's fused loss does not compute the logits that {' and '.join(readers)} needs. "
            f"Remove trainer.{LIGER}, or the arms with {' or '.join(readers)}."
        )


def with_objectives(model: Any, objectives: Mapping[str, Objective]) -> Any:
    """Replace the model's forward, in place, by one that also takes `objectives` {name: batch}. Returns the model.

    The output holds under "objectives" {name: result of `Objective.encode`}. A call without `objectives` equals the
    previous forward. A call with `objectives` alone reads no text.
    """
    kept: dict[str, Tensor] = {}

    def keep(module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        kept["text_states"], kept["text_logits"] = inputs[0], output

    if any(objective.reads_text for objective in objectives.values()):
        model.get_output_embeddings().register_forward_hook(keep)

    def make(inner: Callable[..., Any]) -> Callable[..., Any]:
        # Under `trainer.torch_compile` only the inner forward is compiled: its text always has the same shape. A graph
        # with the objectives' batches would be compiled again for each new shape.
        @torch.compiler.disable(recursive=False)
        def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
            batches = kwargs.pop("objectives", None)
            if batches is None:
                output = inner(self, *args, **kwargs)
                kept.clear()
                return output
            output = dict(inner(self, *args, **kwargs)) if "input_ids" in kwargs else {}
            text = dict(kept)
            kept.clear()  # only this forward holds the text's tensors
            encoded = {
                name: objectives[name].encode(self, {**batch, **text} if objectives[name].reads_text else batch)
                for name, batch in batches.items()
            }
            return {**output, "objectives": encoded}

        return forward

    return replace_forward(model, make)
