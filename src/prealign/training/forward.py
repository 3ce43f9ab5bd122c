"""What a model's forward does while it trains, other than its class's.

1. `replace_forward` gives one instance another forward; name, signature and checkpoints stay those of its class.
2. `training_forward` puts a loss in parts in place (`prealign.training.loss`), or liger-kernel's fused one if the recipe
   asks for it, and lets a step return its loss alone. Of liger-kernel it takes nothing else: its other kernels are put into
   the modules of transformers, and so into every model of the process, also those that are measured on a CPU.
3. `with_objectives` encodes the batches of a phase's objectives in the same call, so that there is one wrapped forward, as
   data parallel and sharded training need it. For objectives that read the text, a hook keeps the input and the output of
   the output embedding: there is no second forward.
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
"""The setting of `trainer` that is followed here: the Trainer would put the forward over ours, and into classifiers too."""
_KERNELS = ("rope", "rms_norm", "layer_norm", "swiglu", "geglu", "cross_entropy")


def replace_forward(model: Any, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Any:
    """Give this instance the forward that `make` returns for the one it has, both with `self`. Returns the model.

    Its class becomes a subclass of the same name, so checkpoints are those of the class it was.
    """
    cls = type(model)
    own = vars(model).pop("forward", None)  # an instance's own would win over its class's
    assert own is None or isinstance(own, MethodType), "a forward that is no method would be lost"
    inner = own.__func__ if own else cls.forward
    # `wraps` keeps the signature, from which the Trainer learns about labels and loss arguments.
    forward = wraps(inner)(make(inner))
    model.__class__ = type(cls.__name__, (cls,), {"forward": forward, "__module__": cls.__module__})
    return model


def fused_loss(trainer: Mapping[str, Any]) -> bool:
    """Whether the loss of both stages is liger-kernel's."""
    return bool(trainer.get(LIGER))


def training_forward(model: Any, trainer: Mapping[str, Any]) -> Any:
    """Give this model the forward of a training stage. Returns the model.

    In training, and asked for a loss, it returns nothing else: nobody reads the logits, and under autocast Accelerate would
    convert them to float32. The loss is that of `token_loss`; if the recipe asks for liger-kernel's, which never has the
    logits of a whole batch, a model that it does not know is a RecipeError.
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
    """RecipeError if an objective reads the text's logits and the loss never computes them."""
    readers = [objective.name for objective in objectives if objective.reads_text]
    if readers and fused_loss(trainer):
        raise RecipeError(
            f"trainer.{LIGER}: liger-kernel's fused loss does not compute the logits that {' and '.join(readers)} needs. "
            f"Remove trainer.{LIGER}, or the arms with {' or '.join(readers)}."
        )


def with_objectives(model: Any, objectives: Mapping[str, Objective]) -> Any:
    """Give this model instance a forward that, called with `objectives` {name: batch}, also encodes these batches.

    What `Objective.encode` returns for each stands under the same key of the output. Calls without it are those of the
    forward it had, and calls with nothing else have no text. Returns the model.
    """
    kept: dict[str, Tensor] = {}

    def keep(module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        kept["text_states"], kept["text_logits"] = inputs[0], output

    if any(objective.reads_text for objective in objectives.values()):
        model.get_output_embeddings().register_forward_hook(keep)

    def make(inner: Callable[..., Any]) -> Callable[..., Any]:
        # Under `trainer.torch_compile` this frame is left as it is and the inner forward is compiled, whose text always
        # has the same shape: a graph that saw the objectives' batches would be compiled again for each new shape.
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
